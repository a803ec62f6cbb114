package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// Offsets in an Ethernet frame with ARP for IPv4 (RFC 826).
const (
	arpHeader = 14
	arpMAC    = arpHeader + 8
	arpSender = arpHeader + 14
	arpTarget = arpHeader + 24
	arpLen    = arpHeader + 28
)

// parseIPv4 reads the IP header in front of a VRRP packet, as a raw socket
// delivers it. It says whether there is one.
func parseIPv4(p *Packet, b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	header, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > total || total > len(b) || b[9] != protocolNumber {
		return false
	}
	p.TTL = b[8]
	p.Source = netip.AddrFrom4([4]byte(b[12:16]))
	p.Destination = netip.AddrFrom4([4]byte(b[16:20]))
	// What is behind the total length is link padding (V3-RX-13).
	p.Payload = b[header:total]
	return true
}

// parseARP reads a gratuitous ARP: request or reply, with the same protocol
// address as sender and target. It says whether it is one.
func parseARP(p *Packet, b []byte) bool {
	if len(b) < arpLen || binary.BigEndian.Uint16(b[12:]) != 0x0806 ||
		binary.BigEndian.Uint32(b[arpHeader+2:]) != 0x0800_0604 {
		return false
	}
	sender := netip.AddrFrom4([4]byte(b[arpSender : arpSender+4]))
	if sender != netip.AddrFrom4([4]byte(b[arpTarget:arpTarget+4])) {
		return false
	}
	p.Announcement = true
	p.Source = sender
	p.MAC = [6]byte(b[arpMAC : arpMAC+6])
	return true
}
