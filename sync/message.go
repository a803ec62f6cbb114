package connsync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
)

// From include/uapi/linux/ip_vs.h.
const (
	genlName    = "IPVS"
	genlVersion = 1

	cmdNewDaemon = 9
	cmdDelDaemon = 10
	cmdGetDaemon = 11

	cmdAttrDaemon = 3

	daemonAttrState     = 1
	daemonAttrInterface = 2
	daemonAttrID        = 3
	daemonAttrMaxLen    = 4
	daemonAttrGroup     = 5
	daemonAttrGroup6    = 6
	daemonAttrPort      = 7
	daemonAttrTTL       = 8
)

// encodeDaemon returns the attributes of a command about a daemon. Only what is
// set is written: to stop a daemon the kernel wants its role and no more.
func encodeDaemon(d Daemon) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrDaemon, func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(daemonAttrState, uint32(d.Role))
		if d.Interface != "" {
			ae.String(daemonAttrInterface, d.Interface)
			ae.Uint32(daemonAttrID, uint32(d.ID))
		}
		if d.Group.IsValid() {
			group := daemonAttrGroup
			if d.Group.Addr().Is6() {
				group = daemonAttrGroup6
			}
			ae.Bytes(uint16(group), d.Group.Addr().AsSlice())
			// In the byte order of the machine, unlike other ports.
			ae.Uint16(daemonAttrPort, d.Group.Port())
		}
		if d.TTL != 0 {
			ae.Uint8(daemonAttrTTL, d.TTL)
		}
		if d.MaxLen != 0 {
			ae.Uint16(daemonAttrMaxLen, d.MaxLen)
		}
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding sync daemon: %w", err)
	}
	return b, nil
}

// decodeDaemon parses one message of a cmdGetDaemon dump.
func decodeDaemon(b []byte) (Daemon, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return Daemon{}, fmt.Errorf("decoding sync daemon: %w", err)
	}
	var d Daemon
	found := false
	for ad.Next() {
		if ad.Type() != cmdAttrDaemon {
			continue
		}
		found = true
		ad.Nested(func(ad *netlink.AttributeDecoder) error { return decodeAttributes(ad, &d) })
	}
	if err := ad.Err(); err != nil {
		return Daemon{}, fmt.Errorf("decoding sync daemon: %w", err)
	}
	if !found || d.Role != Master && d.Role != Backup {
		return Daemon{}, errors.New("decoding sync daemon: neither master nor backup")
	}
	return d.normal(), nil
}

func decodeAttributes(ad *netlink.AttributeDecoder, d *Daemon) error {
	var group netip.Addr
	var port uint16
	for ad.Next() {
		switch ad.Type() {
		case daemonAttrState:
			state := ad.Uint32()
			if state > uint32(Backup) {
				return fmt.Errorf("state %d", state)
			}
			d.Role = Role(state)
		case daemonAttrInterface:
			d.Interface = ad.String()
		case daemonAttrID:
			// The kernel takes 32 bits here and has 8 on the wire: a daemon of
			// a larger id talks to nobody, and stays zero, which is never wanted.
			if id := ad.Uint32(); id <= 255 {
				d.ID = uint8(id)
			}
		case daemonAttrGroup, daemonAttrGroup6:
			addr, ok := netip.AddrFromSlice(ad.Bytes())
			if !ok {
				return errors.New("group is not an address")
			}
			group = addr
		case daemonAttrTTL:
			d.TTL = ad.Uint8()
		case daemonAttrMaxLen:
			d.MaxLen = ad.Uint16()
		case daemonAttrPort:
			if b := ad.Bytes(); len(b) == 2 {
				port = binary.NativeEndian.Uint16(b)
			}
		}
	}
	if group.IsValid() {
		d.Group = netip.AddrPortFrom(group, port)
	}
	return ad.Err()
}
