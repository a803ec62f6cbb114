package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Sizes of the parts of a packet in octets (RFC 9568 section 5.1, RFC 3768
// section 5.1).
const (
	headerLen = 8
	authLen   = 8
	// advertisementType is the only type there is (RFC 9568 section 5.2.2).
	advertisementType = 1
	// protocolNumber is VRRP's IP protocol number (RFC 9568 section 5.1.1.4).
	protocolNumber = 112
)

// The group addresses (RFC 9568 sections 5.1.1.2 and 5.1.2.2).
var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

// GroupAddress is the multicast address advertisements of a family are sent to.
func GroupAddress(f Family) netip.Addr {
	if f == IPv6 {
		return group6
	}
	return group4
}

// Advertisement is the content of one VRRP packet.
type Advertisement struct {
	// Version is 2 or 3.
	Version uint8
	// VRID is 1 to 255.
	VRID uint8
	// Priority is 1 to 254, 255 from the owner, 0 to release the addresses.
	Priority uint8
	// Interval is the sender's Advertisement_Interval, in whole centiseconds
	// (version 3, up to 4095) or seconds (version 2, up to 255).
	Interval time.Duration
	// Addresses are the virtual addresses, 1 to 255 of one family.
	Addresses []netip.Addr
	// AuthType is version 2's authentication type: 0 none, 1 the plain
	// password of RFC 2338. It is 0 in version 3.
	AuthType uint8
	// AuthData is version 2's authentication data, padded with zeros.
	AuthData [authLen]byte
}

// AppendTo appends the packet to b, with the checksum as it has to be for
// these IP addresses. ChecksumAuto sends the form with pseudo-header.
func (a *Advertisement) AppendTo(b []byte, src, dst netip.Addr, form Checksum) ([]byte, error) {
	if a.VRID == 0 {
		return b, fmt.Errorf("encoding advertisement: vrid 0")
	}
	if n := len(a.Addresses); n < 1 || n > maxAddresses {
		return b, fmt.Errorf("encoding advertisement: %d addresses", n)
	}
	start := len(b)
	switch a.Version {
	case 2:
		s := a.Interval / time.Second
		if s < 1 || s > 255 {
			return b, fmt.Errorf("encoding advertisement: interval %s in version 2", a.Interval)
		}
		b = append(b, 2<<4|advertisementType, a.VRID, a.Priority, uint8(len(a.Addresses)), a.AuthType, uint8(s), 0, 0)
	case 3:
		cs := a.Interval / minInterval
		if cs < 1 || cs > 4095 {
			return b, fmt.Errorf("encoding advertisement: interval %s", a.Interval)
		}
		b = append(b, 3<<4|advertisementType, a.VRID, a.Priority, uint8(len(a.Addresses)), uint8(cs>>8), uint8(cs), 0, 0)
	default:
		return b[:start], fmt.Errorf("encoding advertisement: version %d", a.Version)
	}
	for _, addr := range a.Addresses {
		if addr.Is4() != src.Is4() || (a.Version == 2 && !addr.Is4()) {
			return b[:start], fmt.Errorf("encoding advertisement: address %s from %s in version %d", addr, src, a.Version)
		}
		if addr.Is4() {
			v4 := addr.As4()
			b = append(b, v4[:]...)
		} else {
			v6 := addr.As16()
			b = append(b, v6[:]...)
		}
	}
	if a.Version == 2 {
		b = append(b, a.AuthData[:]...)
	}
	packet := b[start:]
	sum := checksum(0, packet)
	if a.Version == 3 && (!src.Is4() || form != ChecksumRFC9568) {
		sum = checksum(pseudoSum(src, dst, len(packet)), packet)
	}
	binary.BigEndian.PutUint16(packet[6:], sum)
	return b, nil
}

// decode reads a packet whose length and version have been checked into a,
// reusing its address slice.
func (a *Advertisement) decode(b []byte, size int) {
	a.Version, a.VRID, a.Priority = b[0]>>4, b[1], b[2]
	a.AuthType, a.AuthData = 0, [authLen]byte{}
	n := int(b[3])
	if a.Version == 2 {
		a.AuthType = b[4]
		a.Interval = time.Duration(b[5]) * time.Second
		copy(a.AuthData[:], b[headerLen+n*size:])
	} else {
		// The reserved nibble is ignored (RFC 9568 section 5.2.6).
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&0x0fff) * minInterval
	}
	a.Addresses = a.Addresses[:0]
	for i := range n {
		addr, _ := netip.AddrFromSlice(b[headerLen+i*size:][:size])
		a.Addresses = append(a.Addresses, addr)
	}
}

// pseudoSum is the one's complement sum of the pseudo-header of a VRRP packet:
// RFC 8200 section 8.1 for IPv6, and the one of TCP and UDP for IPv4. Both come to
// the same formula, because the fields differ only in width.
func pseudoSum(src, dst netip.Addr, length int) uint32 {
	return pseudoSumOf(protocolNumber, src, dst, length)
}

// pseudoSumOf is pseudoSum for any protocol.
func pseudoSumOf(protocol uint32, src, dst netip.Addr, length int) uint32 {
	sum := protocol + uint32(length)
	for _, addr := range [2]netip.Addr{src, dst} {
		if addr.Is4() {
			v4 := addr.As4()
			sum = addWords(sum, v4[:])
		} else {
			v6 := addr.As16()
			sum = addWords(sum, v6[:])
		}
	}
	return sum
}

// addWords adds 16-bit words. A packet has at most 4 KiB, so that the sum
// cannot overflow before it is folded.
func addWords(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// checksum is the Internet checksum (RFC 1071) of a packet on top of a
// pseudo-header sum, with the packet's own checksum field taken as zero.
func checksum(sum uint32, packet []byte) uint16 {
	sum = addWords(sum, packet[:6])
	sum = addWords(sum, packet[8:])
	return ^fold(sum)
}

// fold adds the carries back in.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
