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

// parseIPv6 takes a VRRP packet over IPv6, of which a raw socket delivers the
// payload alone; addresses and hop limit came beside it.
func parseIPv6(p *Packet, b []byte) bool {
	p.Payload = b
	return p.Source.Is6() && p.Destination.Is6()
}

// Offsets in an Ethernet frame with an ICMPv6 neighbour advertisement (RFC 4861
// section 4.4) right behind the IPv6 header.
const (
	ip6Header = 14
	ip6Next   = ip6Header + 6
	ip6Hops   = ip6Header + 7
	naHeader  = ip6Header + 40
	naFlags   = naHeader + 4
	naTarget  = naHeader + 8
	naOptions = naHeader + 24

	protocolICMPv6 = 58
	naType         = 136
	// naSolicited is set in answers, which are no announcement.
	naSolicited = 0x40
	// naTargetMAC is the option with the target's hardware address.
	naTargetMAC = 2
)

// parseNA reads an unsolicited neighbour advertisement that passes the tests of
// RFC 4861 section 7.1.2. It says whether it is one.
func parseNA(p *Packet, b []byte) bool {
	if len(b) < naOptions || binary.BigEndian.Uint16(b[12:]) != 0x86dd || b[ip6Header]>>4 != 6 ||
		b[ip6Next] != protocolICMPv6 || b[ip6Hops] != 255 || b[naHeader] != naType || b[naHeader+1] != 0 || b[naFlags]&naSolicited != 0 {
		return false
	}
	end := naHeader + int(binary.BigEndian.Uint16(b[ip6Header+4:]))
	if end < naOptions || end > len(b) {
		return false
	}
	src, dst := netip.AddrFrom16([16]byte(b[ip6Header+8:][:16])), netip.AddrFrom16([16]byte(b[ip6Header+24:][:16]))
	if fold(addWords(pseudoSumOf(protocolICMPv6, src, dst, end-naHeader), b[naHeader:end])) != 0xffff {
		return false
	}
	p.MAC = [6]byte(b[6:12])
	for options := b[naOptions:end]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return false
		}
		if options[0] == naTargetMAC {
			p.MAC = [6]byte(options[2:8])
		}
		options = options[int(options[1])*8:]
	}
	p.Announcement = true
	p.Source = netip.AddrFrom16([16]byte(b[naTarget:][:16]))
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
