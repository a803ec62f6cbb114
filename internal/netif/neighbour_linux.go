package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sizeofNeighbour is that of struct ndmsg (include/uapi/linux/neighbour.h).
const sizeofNeighbour = 12

// Neighbours are the hardware addresses that the kernel knows of machines on this
// machine's segments.
func (l *Links) Neighbours() (map[netip.Addr][6]byte, error) {
	out := make(map[netip.Addr][6]byte)
	err := l.conns.ask(func(c *kernel) error {
		answers, err := c.Dump(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETNEIGH}, Data: make([]byte, sizeofNeighbour)})
		if err != nil {
			return err
		}
		for _, m := range answers {
			addr, mac, err := parseNeighbour(m.Data)
			if err != nil {
				return err
			}
			if addr.IsValid() {
				out[addr] = mac
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing neighbours: %w", err)
	}
	return out, nil
}

// parseNeighbour reads a struct ndmsg with attributes. The address is not valid if the
// kernel does not know a hardware address for it.
func parseNeighbour(b []byte) (addr netip.Addr, mac [6]byte, err error) {
	if len(b) < sizeofNeighbour {
		return addr, mac, errors.New("the kernel's answer is too short")
	}
	const unknown = unix.NUD_FAILED | unix.NUD_INCOMPLETE | unix.NUD_NOARP
	state := binary.NativeEndian.Uint16(b[8:])
	attributes, err := netlink.NewAttributeDecoder(b[sizeofNeighbour:])
	if err != nil {
		return addr, mac, err
	}
	known := false
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NDA_DST:
			addr, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.NDA_LLADDR:
			known = copy(mac[:], attributes.Bytes()) == len(mac) && len(attributes.Bytes()) == len(mac)
		}
	}
	if !known || state&unknown != 0 {
		return netip.Addr{}, mac, attributes.Err()
	}
	return addr.Unmap(), mac, attributes.Err()
}

// MTU is the size of packets on an interface.
func (l *Links) MTU(ifname string) (mtu int, err error) {
	err = l.conns.ask(func(c *kernel) error {
		d, err := getDevice(c, ifname)
		mtu = d.mtu
		return err
	})
	return mtu, err
}
