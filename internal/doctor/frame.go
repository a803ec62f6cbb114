package doctor

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// mac is a hardware address that can be compared.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protocolICMP   = 1
	protocolICMPv6 = 58
	protocolVRRP   = 112

	ttl = 64
)

// ethernet puts a payload into a frame.
func ethernet(to, from mac, kind uint16, payload []byte) []byte {
	b := append(append(make([]byte, 0, 14+len(payload)), to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// echo is an IP packet with an ICMP echo request, of a length where that is not zero.
// None may fragment it on its way.
func echo(from, to netip.Addr, id, seq uint16, length int) []byte {
	header := 20
	if to.Is6() {
		header = 40
	}
	var kind icmp.Type = ipv4.ICMPTypeEcho
	var pseudo []byte
	if to.Is6() {
		kind = ipv6.ICMPTypeEchoRequest
		pseudo = icmp.IPv6PseudoHeader(from.AsSlice(), to.AsSlice())
	}
	message := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(id), Seq: int(seq), Data: make([]byte, max(0, length-header-8))}}
	body, err := message.Marshal(pseudo)
	if err != nil {
		panic("doctor: an echo request that cannot be encoded: " + err.Error())
	}
	if to.Is6() {
		return append(header6(from, to, protocolICMPv6, ttl, len(body)), body...)
	}
	return append(header4(from, to, protocolICMP, len(body)), body...)
}

// header4 is an IPv4 header (RFC 791) with the flag DF.
func header4(from, to netip.Addr, protocol byte, payload int) []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, ttl, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+payload))
	binary.BigEndian.PutUint16(b[6:], 0x4000)
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return b
}

// header6 is an IPv6 header (RFC 8200 section 3).
func header6(from, to netip.Addr, protocol, hops byte, payload int) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, protocol, hops
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	return b
}

// checksum is that of the Internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// whoHas is a frame that asks who has an address: ARP, or a neighbour solicitation.
func whoHas(a netip.Addr, own netip.Addr, from mac) []byte {
	if a.Is4() {
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, from[:]...), own.AsSlice()...)
		b = append(append(b, make([]byte, 6)...), a.AsSlice()...)
		return ethernet(mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from, etherARP, b)
	}
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	target := a.As16()
	copy(group[13:], target[13:])
	to := netip.AddrFrom16(group)
	body := append(append(make([]byte, 4), target[:]...), 1, 1) // the source's address follows
	message := icmp.Message{Type: ipv6.ICMPTypeNeighborSolicitation, Body: &icmp.RawBody{Data: append(body, from[:]...)}}
	payload, err := message.Marshal(icmp.IPv6PseudoHeader(own.AsSlice(), to.AsSlice()))
	if err != nil {
		panic("doctor: a neighbour solicitation that cannot be encoded: " + err.Error())
	}
	packet := append(header6(own, to, protocolICMPv6, 255, len(payload)), payload...)
	return ethernet(mac{0x33, 0x33, group[12], group[13], group[14], group[15]}, from, etherIPv6, packet)
}

// heard is a frame that says something.
type heard struct {
	iface string
	from  mac
	// owner is the address that the sender says it has; otherwise invalid.
	owner netip.Addr
	// reply is where an echo reply comes from, to whom, and which.
	reply, to netip.Addr
	id, seq   uint16
	// router is where an advertisement of VRRP comes from, and of which router.
	router netip.Addr
	vrid   uint8
	// tooBig is to whom a packet was too big for a router.
	tooBig netip.Addr
}

// parse reads a frame; ok is whether it says something.
func parse(b []byte) (h heard, ok bool) {
	if len(b) < 14 {
		return h, false
	}
	copy(h.from[:], b[6:12])
	kind, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	switch {
	case kind == etherARP && len(b) >= 28 && b[7] == 2:
		h.owner = netip.AddrFrom4([4]byte(b[14:18]))
		return h, true
	case kind == etherIPv4 && len(b) >= 20:
		header := int(b[0]&0xf) * 4
		if header < 20 || len(b) < header {
			return h, false
		}
		return h.parseIP(b[9], netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[header:])
	case kind == etherIPv6 && len(b) >= 40:
		return h.parseIP(b[6], netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[40:])
	}
	return h, false
}

func (h heard) parseIP(protocol byte, from, to netip.Addr, b []byte) (heard, bool) {
	switch {
	case protocol == protocolVRRP && len(b) >= 2:
		h.router, h.vrid = from, b[1]
		return h, true
	case protocol == protocolICMPv6 && len(b) >= 24 && b[0] == byte(ipv6.ICMPTypeNeighborAdvertisement):
		h.owner = netip.AddrFrom16([16]byte(b[8:24]))
		return h, true
	case protocol == protocolICMP && len(b) >= 28 && b[0] == byte(ipv4.ICMPTypeDestinationUnreachable) && b[1] == 4:
		h.tooBig = netip.AddrFrom4([4]byte(b[24:28]))
		return h, true
	case protocol == protocolICMPv6 && len(b) >= 48 && b[0] == byte(ipv6.ICMPTypePacketTooBig):
		h.tooBig = netip.AddrFrom16([16]byte(b[32:48]))
		return h, true
	case len(b) >= 8 && (protocol == protocolICMP && b[0] == byte(ipv4.ICMPTypeEchoReply) || protocol == protocolICMPv6 && b[0] == byte(ipv6.ICMPTypeEchoReply)):
		h.reply, h.to = from, to
		h.id, h.seq = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
		return h, true
	}
	return h, false
}
