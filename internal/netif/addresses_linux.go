package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// address is one on an interface, as RTM_GETADDR tells of it.
type address struct {
	index int
	// prefix is the local one, which differs from the other on a point-to-point
	// interface.
	prefix netip.Prefix
	scope  uint8
	label  string
	flags  uint32
	// valid is for how many seconds it stays, forever with math.MaxUint32.
	valid uint32
}

// usable reports whether the kernel sends from an address: not while it looks for
// duplicates of an IPv6 address, nor after it found one.
func (a address) usable() bool { return a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 }

// listAddresses are the addresses of a family, or of both with AF_UNSPEC, on the
// interface of an index, or on all with 0. With nlconn.ErrInterrupted some of them
// may be left out.
func listAddresses(c *kernel, family byte, index int) ([]address, error) {
	return addressesBy(c.Dump, family, index)
}

func addressesBy(ask func(netlink.Message) ([]netlink.Message, error), family byte, index int) ([]address, error) {
	answers, failed := ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETADDR},
		Data:   binary.NativeEndian.AppendUint32([]byte{family, 0, 0, 0}, uint32(index)), // struct ifaddrmsg
	})
	if failed != nil {
		failed = fmt.Errorf("listing addresses: %w", failed)
	}
	out := make([]address, 0, len(answers))
	for _, m := range answers {
		a, ok, err := parseAddress(m.Data)
		if err != nil {
			return nil, err
		}
		if ok && (index == 0 || a.index == index) {
			out = append(out, a)
		}
	}
	return out, failed
}

// getAddress asks for one IPv6 address on an interface alone: of IPv4 the kernel only
// has lists. ok is false if it is not there.
func getAddress(c *kernel, index int, addr netip.Addr) (a address, ok bool, err error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFA_ADDRESS, addr.AsSlice())
	encoded, err := attributes.Encode()
	if err != nil {
		return a, false, err
	}
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETADDR, Flags: netlink.Request},
		Data:   append(binary.NativeEndian.AppendUint32([]byte{unix.AF_INET6, 0, 0, 0}, uint32(index)), encoded...),
	})
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV):
		return a, false, nil
	case err != nil:
		return a, false, fmt.Errorf("looking for %s: %w", addr, err)
	case len(answers) != 1:
		return a, false, fmt.Errorf("looking for %s: %d answers", addr, len(answers))
	}
	return parseAddress(answers[0].Data)
}

// parseAddress reads a struct ifaddrmsg with attributes. ok is false for one without
// an address.
func parseAddress(b []byte) (a address, ok bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, false, errors.New("the kernel's answer is too short")
	}
	a = address{index: int(binary.NativeEndian.Uint32(b[4:])), scope: b[3], flags: uint32(b[2]), valid: math.MaxUint32}
	var local, other netip.Addr
	// Without the library's decoder: there may be thousands.
	for rest := b[unix.SizeofIfAddrmsg:]; len(rest) >= unix.SizeofRtAttr; {
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofRtAttr || length > len(rest) {
			return a, false, errors.New("the kernel's answer is cut short")
		}
		value := rest[unix.SizeofRtAttr:length]
		switch binary.NativeEndian.Uint16(rest[2:]) {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			other, _ = netip.AddrFromSlice(value)
		case unix.IFA_LABEL:
			if len(value) > 0 {
				a.label = string(value[:len(value)-1])
			}
		case unix.IFA_CACHEINFO:
			if len(value) >= 8 {
				a.valid = binary.NativeEndian.Uint32(value[4:])
			}
		case unix.IFA_FLAGS:
			if len(value) == 4 {
				a.flags |= binary.NativeEndian.Uint32(value)
			}
		}
		rest = rest[min(len(rest), (length+3)&^3):]
	}
	if !local.IsValid() {
		local = other
	}
	a.prefix = netip.PrefixFrom(local, int(b[1]))
	return a, local.IsValid(), nil
}
