package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/if_tunnel.h.
const (
	iptunLocal  = 2 // IFLA_IPTUN_LOCAL
	iptunRemote = 3 // IFLA_IPTUN_REMOTE
	iptunProto  = 9 // IFLA_IPTUN_PROTO
	greIFlags   = 2 // IFLA_GRE_IFLAGS
	greLocal    = 6 // IFLA_GRE_LOCAL
	greRemote   = 7 // IFLA_GRE_REMOTE
	greChecksum = 0x8000
)

// Tunnel is an interface that unwraps packets.
type Tunnel struct {
	Name string
	// Kind is the kernel's: ipip (IPv4 in IPv4), sit (IPv6 in IPv4), ip6tnl (in IPv6),
	// gre (in IPv4) or ip6gre.
	Kind string
	// Local is this end, and Remote the other one; invalid is any.
	Local, Remote netip.Addr
	// Any says of ip6tnl that it takes both families.
	Any bool
	// Checksum says of gre and ip6gre that packets have one.
	Checksum bool
	// Up is whether it is switched on.
	Up bool
}

func tunnelKinds() []string { return []string{"ipip", "sit", "ip6tnl", "gre", "ip6gre"} }

func (t Tunnel) gre() bool { return t.Kind == "gre" || t.Kind == "ip6gre" }

// Tunnels are the interfaces of the kinds that IPVS tunnels end at.
func (l *Links) Tunnels() (out []Tunnel, err error) {
	err = l.conns.ask(func(c *kernel) error {
		attributes := netlink.NewAttributeEncoder()
		attributes.Uint32(unix.IFLA_EXT_MASK, skipStats)
		encoded, err := attributes.Encode()
		if err != nil {
			return err
		}
		answers, err := c.Dump(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETLINK},
			Data:   append(make([]byte, unix.SizeofIfInfomsg), encoded...),
		})
		if err != nil {
			return err
		}
		for _, m := range answers {
			t, err := parseTunnel(m.Data)
			if err != nil {
				return err
			}
			if slices.Contains(tunnelKinds(), t.Kind) {
				out = append(out, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing tunnels: %w", err)
	}
	return out, nil
}

// parseTunnel reads a struct ifinfomsg with attributes.
func parseTunnel(b []byte) (t Tunnel, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return t, errors.New("the kernel's answer is too short")
	}
	t.Up = binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return t, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			t.Name = attributes.String()
		case unix.IFLA_LINKINFO:
			attributes.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					switch {
					case info.Type() == unix.IFLA_INFO_KIND:
						t.Kind = info.String()
					case info.Type() == unix.IFLA_INFO_DATA && slices.Contains(tunnelKinds(), t.Kind):
						info.Nested(t.parseData)
					}
				}
				return nil
			})
		}
	}
	return t, attributes.Err()
}

func (t *Tunnel) parseData(data *netlink.AttributeDecoder) error {
	address := func() netip.Addr {
		a, _ := netip.AddrFromSlice(data.Bytes())
		if !a.IsValid() || a.IsUnspecified() {
			return netip.Addr{}
		}
		return a
	}
	for data.Next() {
		switch kind := data.Type(); {
		case t.gre() && kind == greLocal, !t.gre() && kind == iptunLocal:
			t.Local = address()
		case t.gre() && kind == greRemote, !t.gre() && kind == iptunRemote:
			t.Remote = address()
		case t.gre() && kind == greIFlags:
			if b := data.Bytes(); len(b) == 2 {
				t.Checksum = binary.BigEndian.Uint16(b)&greChecksum != 0
			}
		case !t.gre() && kind == iptunProto:
			t.Any = data.Uint8() == 0
		}
	}
	return nil
}

// MakeTunnel makes an interface and switches it on. The kernel loads the module that it
// needs.
func (l *Links) MakeTunnel(t Tunnel) error {
	err := l.conns.ask(func(c *kernel) error {
		attributes := netlink.NewAttributeEncoder()
		attributes.String(unix.IFLA_IFNAME, t.Name)
		attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, t.Kind)
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				switch {
				case t.gre():
					data.Bytes(greLocal, t.Local.AsSlice())
					if t.Checksum {
						data.Bytes(greIFlags, binary.BigEndian.AppendUint16(nil, greChecksum))
					}
				default:
					data.Bytes(iptunLocal, t.Local.AsSlice())
					if t.Any {
						data.Uint8(iptunProto, 0)
					}
				}
				return nil
			})
			return nil
		})
		return linkRequest(c, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, 0, unix.IFF_UP, unix.IFF_UP, attributes)
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		err = fmt.Errorf("the kernel has no tunnels of kind %s: %w", t.Kind, err)
	case errors.Is(err, unix.EEXIST):
		err = fmt.Errorf("an interface of that name, or another tunnel of %s, is there: %w", t.Local, err)
	}
	if err != nil {
		return fmt.Errorf("making tunnel %s: %w", t.Name, explain(err, "CAP_NET_ADMIN"))
	}
	return nil
}

// RemoveTunnel removes an interface. One that is not there is no error.
func (l *Links) RemoveTunnel(name string) error {
	link, err := l.lookUp(name)
	if errors.Is(err, ErrNoInterface) {
		return nil
	}
	if err == nil {
		err = l.conns.ask(func(c *kernel) error { return deleteLink(c, link.Index) })
	}
	if err != nil {
		return fmt.Errorf("removing tunnel %s: %w", name, err)
	}
	return nil
}
