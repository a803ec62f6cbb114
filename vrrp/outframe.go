package vrrp

import (
	"encoding/binary"
	"net/netip"
)

// What every VRRP packet carries.
const (
	// ttl is RFC 9568 section 5.1.1.3's.
	ttl = 255
	// tos is DSCP CS6, network control, as keepalived and FRR send (V3-PKT-15).
	tos = 0xc0
)

// appendFrame makes the Ethernet frame of a packet to the group of its family,
// from a hardware address that is not the interface's (RFC 9568 section 7.2).
func appendFrame(b []byte, mac [6]byte, src, dst netip.Addr, payload []byte) []byte {
	if src.Is4() {
		group := dst.As4()
		// RFC 1112 section 6.4: the low 23 bits of the group.
		b = append(b, 0x01, 0x00, 0x5e, group[1]&0x7f, group[2], group[3])
		b = append(b, mac[:]...)
		b = append(b, 0x08, 0x00)
		return append(appendIPv4(b, src, dst, len(payload)), payload...)
	}
	group := dst.As16()
	// RFC 2464 section 7: the low 32 bits of the group.
	b = append(b, 0x33, 0x33, group[12], group[13], group[14], group[15])
	b = append(b, mac[:]...)
	b = append(b, 0x86, 0xdd)
	b = binary.BigEndian.AppendUint32(b, 6<<28|tos<<20)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, protocolNumber, ttl)
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	return append(b, payload...)
}

// appendIPv4 appends a header without options (RFC 791 section 3.1), which is
// never to be fragmented and needs no identification (RFC 6864 section 4.1).
func appendIPv4(b []byte, src, dst netip.Addr, payload int) []byte {
	start := len(b)
	b = append(b, 0x45, tos)
	b = binary.BigEndian.AppendUint16(b, uint16(20+payload))
	b = append(b, 0, 0, 0x40, 0, ttl, protocolNumber, 0, 0)
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[start+10:], ^fold(addWords(0, b[start:])))
	return b
}
