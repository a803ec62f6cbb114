package vrrp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Packet is what a Port heard: a VRRP packet, or the announcement of an address
// (a gratuitous ARP or an unsolicited neighbour advertisement).
type Packet struct {
	// Interface is where it arrived.
	Interface string
	// At is when the kernel received it, with a monotonic reading.
	At time.Time
	// Source and Destination are those of the IP header. In an announcement
	// Source is the announced address and Destination is not valid.
	Source, Destination netip.Addr
	// TTL is that of the IPv4 header, the hop limit of the IPv6 header.
	TTL uint8
	// Payload is the VRRP packet, cut to the length that the IP header says. It is
	// valid until the Port is asked again.
	Payload []byte
	// MAC is the announced hardware address, and not set in a VRRP packet.
	MAC [6]byte
	// Announcement tells an announcement from a VRRP packet.
	Announcement bool
}

// vrid is the virtual router a VRRP packet is for, if it gets that far.
func (p *Packet) vrid() (uint8, bool) {
	if len(p.Payload) < 2 {
		return 0, false
	}
	return p.Payload[1], true
}

// Form is the form of the checksum a packet came with.
type Form uint8

// The forms. A sum can fit both, when the pseudo-header adds up to nothing.
const (
	_ Form = iota
	// FormPlain covers the VRRP packet only (RFC 9568, and version 2).
	FormPlain
	// FormPseudo covers a pseudo-header too (RFC 5798 as many read it).
	FormPseudo
)

// Decode tests a packet in the order of V3-RX (version 3) or V2-RX-04 (version
// 2) up to the checksum, and decodes it into a, whose address slice is reused.
// Version 0 takes either version. It never fails in another way than by its
// reason, whatever the octets are.
func (a *Advertisement) Decode(p *Packet, version uint8, accept Checksum) (Form, Reason) {
	b := p.Payload
	if p.TTL != 255 {
		return 0, BadTTL
	}
	if len(b) < headerLen {
		return 0, BadLength
	}
	v := b[0] >> 4
	if (version != 0 && v != version) || v < 2 || v > 3 {
		return 0, BadVersion
	}
	if b[0]&0x0f != advertisementType {
		return 0, BadType
	}
	if b[3] == 0 {
		return 0, BadCount
	}
	size, trailer := 4, 0
	if !p.Source.Is4() {
		size = 16
	}
	if v == 2 {
		// Version 2 is for IPv4 only, and its authentication octets are there
		// even without authentication (RFC 3768 section 5.1).
		if size != 4 {
			return 0, BadVersion
		}
		trailer = authLen
	}
	// The payload was cut to the IP total length, so that link padding is gone
	// and what is left over is a trailer nobody told us about (V3-RX-13).
	if len(b) != headerLen+int(b[3])*size+trailer {
		return 0, BadLength
	}
	form := a.checksumForm(p, v, accept)
	if form == 0 {
		return 0, BadChecksum
	}
	a.decode(b, size)
	return form, Accepted
}

// checksumForm is the form in which the packet's checksum is right; 0 is none.
func (a *Advertisement) checksumForm(p *Packet, version uint8, accept Checksum) Form {
	got := binary.BigEndian.Uint16(p.Payload[6:])
	pseudo := func() bool {
		return got == checksum(pseudoSum(p.Source, p.Destination, len(p.Payload)), p.Payload)
	}
	plain := func() bool { return got == checksum(0, p.Payload) }
	switch {
	case version == 2:
		accept = ChecksumRFC9568
	case !p.Source.Is4():
		accept = ChecksumPseudo
	}
	switch {
	case accept != ChecksumRFC9568 && pseudo():
		return FormPseudo
	case accept != ChecksumPseudo && plain():
		return FormPlain
	}
	return 0
}

// admit goes on where Decode ends: the tests that need the virtual router
// (V3-RX-08 to 18 without those that only count).
func (a *Advertisement) admit(p *Packet, cfg *Config, local netip.Addr) Reason {
	if p.Source == local {
		return OwnPacket
	}
	if p.Destination.IsMulticast() != (len(cfg.Unicast) == 0) {
		return WrongMode
	}
	if len(cfg.Unicast) > 0 && !slices.Contains(cfg.Unicast, p.Source) {
		return UnknownPeer
	}
	if a.AuthType != 0 {
		return BadAuth
	}
	if !p.Source.Is4() && !a.Addresses[0].IsLinkLocalUnicast() {
		return BadFirstAddress
	}
	if a.Interval == 0 || (a.Version == 2 && a.Interval != cfg.Interval) {
		return BadInterval
	}
	return Accepted
}

// sameAddresses compares the advertised list with the configured one as sets
// (V3-RX-12).
func (a *Advertisement) sameAddresses(cfg *Config) bool {
	if len(a.Addresses) != len(cfg.Addresses) {
		return false
	}
	for i, c := range cfg.Addresses {
		// The usual case is the same order (RFC 9568 section 5.2.9).
		if a.Addresses[i] != c.Prefix.Addr() && !slices.Contains(a.Addresses, c.Prefix.Addr()) {
			return false
		}
	}
	return true
}
