package netif

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// device is a network interface as RTM_GETLINK tells of it.
type device struct {
	index, base int
	flags       uint32
	name, alias string
	kind        string
	mode        uint32
	mac         []byte
	arp         arpSettings
	mtu         int
}

// link is what the VRRP engine knows of the interface, less its addresses.
func (d device) link() vrrp.Link {
	link := vrrp.Link{Name: d.name, Index: d.index, Up: d.flags&unix.IFF_UP != 0 && d.flags&unix.IFF_RUNNING != 0}
	if len(d.mac) == len(link.MAC) {
		copy(link.MAC[:], d.mac)
	}
	return link
}

// getDevice looks at one interface.
func getDevice(c *kernel, name string) (device, error) {
	if len(name) >= unix.IFNAMSIZ {
		return device{}, fmt.Errorf("%w: %s", ErrNoInterface, name)
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	return oneDevice(c, 0, name, attributes)
}

// getDeviceAt looks at the interface of an index.
func getDeviceAt(c *kernel, index int) (device, error) {
	return oneDevice(c, index, fmt.Sprint("interface ", index), netlink.NewAttributeEncoder())
}

func oneDevice(c *kernel, index int, name string, attributes *netlink.AttributeEncoder) (device, error) {
	devices, err := getDevices(c.Execute, index, attributes)
	switch {
	case errors.Is(err, unix.ENODEV):
		return device{}, fmt.Errorf("%w: %s", ErrNoInterface, name)
	case err != nil:
		return device{}, fmt.Errorf("looking at %s: %w", name, err)
	case len(devices) != 1:
		return device{}, fmt.Errorf("looking at %s: %d answers", name, len(devices))
	}
	return devices[0], nil
}

// listDevices are all interfaces. With nlconn.ErrInterrupted some of them may be left out.
func listDevices(c *kernel) ([]device, error) {
	return devicesBy(c.Dump)
}

func devicesBy(ask func(netlink.Message) ([]netlink.Message, error)) ([]device, error) {
	devices, err := getDevices(ask, 0, netlink.NewAttributeEncoder())
	if err != nil {
		err = fmt.Errorf("listing interfaces: %w", err)
	}
	return devices, err
}

// getDevices asks for interfaces.
func getDevices(ask func(netlink.Message) ([]netlink.Message, error), index int, attributes *netlink.AttributeEncoder) ([]device, error) {
	attributes.Uint32(unix.IFLA_EXT_MASK, skipStats)
	encoded, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	answers, failed := ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(header, encoded...),
	})
	devices := make([]device, 0, len(answers))
	for _, m := range answers {
		d, err := parseDevice(m.Data)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, failed
}

// parseDevice reads a struct ifinfomsg with attributes.
func parseDevice(b []byte) (d device, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return d, errors.New("the kernel's answer is too short")
	}
	d.index = int(binary.NativeEndian.Uint32(b[4:]))
	d.flags = binary.NativeEndian.Uint32(b[8:])
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return d, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			d.name = attributes.String()
		case unix.IFLA_ADDRESS:
			d.mac = attributes.Bytes()
		case unix.IFLA_LINK:
			d.base = int(attributes.Uint32())
		case unix.IFLA_MTU:
			d.mtu = int(attributes.Uint32())
		case unix.IFLA_IFALIAS:
			d.alias = attributes.String()
		case unix.IFLA_LINKINFO:
			attributes.Nested(d.parseInfo)
		case unix.IFLA_AF_SPEC:
			attributes.Nested(d.parseFamilies)
		}
	}
	return d, attributes.Err()
}

func (d *device) parseInfo(info *netlink.AttributeDecoder) error {
	for info.Next() {
		switch info.Type() {
		case unix.IFLA_INFO_KIND:
			d.kind = info.String()
		case unix.IFLA_INFO_DATA:
			if d.kind != macvlanKind {
				continue
			}
			info.Nested(func(data *netlink.AttributeDecoder) error {
				for data.Next() {
					if data.Type() == unix.IFLA_MACVLAN_MODE {
						d.mode = data.Uint32()
					}
				}
				return nil
			})
		}
	}
	return nil
}

func (d *device) parseFamilies(families *netlink.AttributeDecoder) error {
	for families.Next() {
		if families.Type() != unix.AF_INET {
			continue
		}
		families.Nested(func(family *netlink.AttributeDecoder) error {
			for family.Next() {
				if family.Type() != inetConf {
					continue
				}
				// An array of all parameters, of which the first has the number 1.
				value := func(parameter int) uint32 {
					if b := family.Bytes(); len(b) >= 4*parameter {
						return binary.NativeEndian.Uint32(b[4*(parameter-1):])
					}
					return 0
				}
				d.arp = arpSettings{value(arpIgnore), value(arpAnnounce)}
			}
			return nil
		})
	}
	return nil
}
