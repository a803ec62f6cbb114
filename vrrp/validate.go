package vrrp

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
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
	form, _, reason := a.decodeBy(p, rules{version: version, checksum: accept, ttl: 255})
	return form, reason
}

// rules are what a packet is tested against as far as it is decoded.
type rules struct {
	// version is 2 or 3; 0 is either.
	version  uint8
	checksum Checksum
	// ttl is the least TTL.
	ttl uint8
	// trailer says that an HMAC trailer may follow.
	trailer bool
}

// rulesFor are the rules for a packet to a virtual router.
func (c *Config) rulesFor(p *Packet) rules {
	r := rules{version: c.Version, checksum: c.checksumWith(p.Source), ttl: 255, trailer: c.Auth.trailers()}
	if len(c.Unicast) > 0 && c.MinTTL != 0 && !p.Destination.IsMulticast() {
		r.ttl = c.MinTTL
	}
	return r
}

// decodeBy is Decode for rules. signed says that there is a trailer.
func (a *Advertisement) decodeBy(p *Packet, r rules) (form Form, signed bool, reason Reason) {
	b := p.Payload
	if p.TTL < r.ttl {
		return 0, false, BadTTL
	}
	if len(b) < headerLen {
		return 0, false, BadLength
	}
	v := b[0] >> 4
	if (r.version != 0 && v != r.version) || v < 2 || v > 3 {
		return 0, false, BadVersion
	}
	if b[0]&0x0f != advertisementType {
		return 0, false, BadType
	}
	if b[3] == 0 {
		return 0, false, BadCount
	}
	size, auth := 4, 0
	if !p.Source.Is4() {
		size = 16
	}
	if v == 2 {
		// Version 2 is for IPv4 only, and its authentication octets are there
		// even without authentication (RFC 3768 section 5.1).
		if size != 4 {
			return 0, false, BadVersion
		}
		auth = authLen
	}
	// The payload was cut to the IP total length, so that link padding is gone
	// and what is left over is a trailer nobody told us about (V3-RX-13).
	end := headerLen + int(b[3])*size + auth
	switch {
	case len(b) == end:
	case len(b) == end+trailerLen && r.trailer:
		signed = true
	case len(b) > end && looksSigned(b[end:]):
		// More helpful than the length to whoever forgot a key.
		return 0, false, BadAuth
	default:
		return 0, false, BadLength
	}
	if form = a.checksumForm(p, b[:end], r.checksum); form == 0 {
		return 0, false, BadChecksum
	}
	a.decode(b, size)
	return form, signed, Accepted
}

// checksumForm is the form in which the packet's checksum is right; 0 is none. In
// IPv4 a trailer is not covered; in IPv6, where the kernel may compute the sum of
// whatever is sent, it is.
func (a *Advertisement) checksumForm(p *Packet, b []byte, accept Checksum) Form {
	got := binary.BigEndian.Uint16(b[6:])
	switch {
	case b[0]>>4 == 2:
		accept = ChecksumRFC9568
	case !p.Source.Is4():
		b, accept = p.Payload, ChecksumPseudo
	}
	switch {
	case accept != ChecksumRFC9568 && got == checksum(pseudoSum(p.Source, p.Destination, len(b)), b):
		return FormPseudo
	case accept != ChecksumPseudo && got == checksum(0, b):
		return FormPlain
	}
	return 0
}

// admits decodes a packet for a virtual router into the scratch, and says
// whether it is acceptable. One that is not has changed nothing but a counter
// (V3-RX-19).
func (e *Engine) admits(m *member, p *Packet, now time.Time) bool {
	cfg, adv := &m.router.cfg, &e.scratch.Advertisement
	_, signed, reason := adv.decodeBy(p, cfg.rulesFor(p))
	if reason == Accepted {
		reason = adv.admit(p, cfg, m.router.Source())
	}
	var offset time.Duration
	if reason == Accepted && cfg.Auth.trailers() {
		// Last, because it remembers. A process that slept reads old packets: they
		// were in time if they arrived in time.
		reason, offset = m.authentic(p, signed, e.opt.Wallclock().Add(-max(0, now.Sub(p.At))))
	}
	if reason != Accepted {
		detail := ""
		if reason == AuthStale {
			detail = fmt.Sprintf(" (%s, window %s)", apart(offset), m.auth.window)
		}
		if reason == BadInterval && cfg.Version == 2 {
			detail = fmt.Sprintf(" (every %s, and every %s here: in version 2 all need the same)", adv.Interval, cfg.Interval)
		}
		m.router.counters.drop(reason)
		if reason != OwnPacket {
			m.router.refuse(p.Source, reason.String()+detail, p.At)
		}
		e.complain(m, p, m.router.key.VRID, reason, detail)
		return false
	}
	if signed && !cfg.Auth.Monotonic && offset.Abs() > m.auth.window/2 {
		e.complainOfClock(m, p, offset)
	}
	return true
}

// authentic tests the trailer (KA-HMAC-05, KA-HMAC-07). wall is the time of day
// when the packet arrived.
func (m *member) authentic(p *Packet, signed bool, wall time.Time) (Reason, time.Duration) {
	m.auth.configure(&m.router.cfg)
	switch {
	case signed:
		return m.auth.verify(wall, p)
	case m.router.cfg.Auth.Mode == AuthEnforce:
		return AuthMissing, 0
	}
	return Accepted, 0
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
	if reason := a.checkPassword(cfg); reason != Accepted {
		return reason
	}
	if !p.Source.Is4() && !a.Addresses[0].IsLinkLocalUnicast() {
		return BadFirstAddress
	}
	if a.Interval == 0 || (a.Version == 2 && a.Interval != cfg.Interval) {
		return BadInterval
	}
	return Accepted
}

// checkPassword tests version 2's authentication (V2-AUTH-01, V2-AUTH-03). The
// data of a packet without any is not looked at (V2-PKT-04).
func (a *Advertisement) checkPassword(cfg *Config) Reason {
	if cfg.Auth == nil || cfg.Auth.Password == "" {
		if a.AuthType != 0 {
			return BadAuth
		}
		return Accepted
	}
	if a.AuthType != passwordAuth {
		return BadAuth
	}
	want := password(cfg.Auth)
	if subtle.ConstantTimeCompare(a.AuthData[:], want[:]) != 1 {
		return BadPassword
	}
	return Accepted
}

// password is the password as it travels, padded with zeros.
func password(auth *Auth) (data [authLen]byte) {
	copy(data[:], auth.Password)
	return data
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
