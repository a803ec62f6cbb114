package netif

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/if_link.h and ip.h.
const (
	inetConf           = 1  // IFLA_INET_CONF
	rpFilter           = 8  // IPV4_DEVCONF_RP_FILTER
	arpFilter          = 13 // IPV4_DEVCONF_ARPFILTER
	arpAnnounce        = 18 // IPV4_DEVCONF_ARP_ANNOUNCE
	arpIgnore          = 19 // IPV4_DEVCONF_ARP_IGNORE
	promoteSecondaries = 20 // IPV4_DEVCONF_PROMOTE_SECONDARIES
)

// promote has the kernel keep the other addresses of a network when the first
// one is removed from an interface (sysctl promote_secondaries, which is off
// where systemd does not switch it on). Otherwise one virtual router that
// leaves would take the addresses of another along. It stays on. When it cannot
// be had, the addresses that vanish are put back like any that somebody removed.
func (n *netInterface) promote(c *kernel, index int) {
	if n.promoted == index {
		return
	}
	if err := setLink(c, index, 0, 0, map[uint16]uint32{promoteSecondaries: 1}, nil); err != nil {
		n.links.log.Debug("switching on promote_secondaries", "interface", n.name, "error", err)
		return
	}
	n.promoted = index
}

// setLink sends RTM_SETLINK with parameters of IPv4 (those of
// net.ipv4.conf.INTERFACE, which need no write access to /proc/sys this way),
// flags, and what more adds.
func setLink(c *kernel, index int, flags, change uint32, parameters map[uint16]uint32, more func(*netlink.AttributeEncoder)) error {
	attributes := netlink.NewAttributeEncoder()
	if len(parameters) > 0 {
		attributes.Nested(unix.IFLA_AF_SPEC, func(families *netlink.AttributeEncoder) error {
			families.Nested(unix.AF_INET, func(family *netlink.AttributeEncoder) error {
				family.Nested(inetConf, func(conf *netlink.AttributeEncoder) error {
					for _, p := range slices.Sorted(maps.Keys(parameters)) {
						conf.Uint32(p, parameters[p])
					}
					return nil
				})
				return nil
			})
			return nil
		})
	}
	if more != nil {
		more(attributes)
	}
	return linkRequest(c, unix.RTM_SETLINK, 0, index, flags, change, attributes)
}

// linkRequest sends a struct ifinfomsg with attributes.
func linkRequest(c *kernel, message netlink.HeaderType, how netlink.HeaderFlags, index int, flags, change uint32, attributes *netlink.AttributeEncoder) error {
	encoded, err := attributes.Encode()
	if err != nil {
		return fmt.Errorf("encoding attributes: %w", err)
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	binary.NativeEndian.PutUint32(header[8:], flags)
	binary.NativeEndian.PutUint32(header[12:], change)
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: message, Flags: netlink.Request | netlink.Acknowledge | how},
		Data:   append(header, encoded...),
	})
	return err
}
