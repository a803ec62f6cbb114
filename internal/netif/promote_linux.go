package netif

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/if_link.h and ip.h.
const (
	inetConf           = 1  // IFLA_INET_CONF
	promoteSecondaries = 20 // IPV4_DEVCONF_PROMOTE_SECONDARIES
)

// promote has the kernel keep the other addresses of a network when the first
// one is removed from an interface (sysctl promote_secondaries, which is off
// where systemd does not switch it on). Otherwise one virtual router that
// leaves would take the addresses of another along. It stays on. When it cannot
// be had, the addresses that vanish are put back like any that somebody removed.
func (l *Links) promote(index int) {
	if l.promoting[index] {
		return
	}
	if err := setPromote(index); err != nil {
		l.log.Debug("switching on promote_secondaries", "index", index, "error", err)
		return
	}
	l.promoting[index] = true
}

// setPromote sends RTM_SETLINK with the one parameter.
func setPromote(index int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Nested(unix.IFLA_AF_SPEC, func(families *netlink.AttributeEncoder) error {
		families.Nested(unix.AF_INET, func(family *netlink.AttributeEncoder) error {
			family.Nested(inetConf, func(parameters *netlink.AttributeEncoder) error {
				parameters.Uint32(promoteSecondaries, 1)
				return nil
			})
			return nil
		})
		return nil
	})
	encoded, err := attributes.Encode()
	if err != nil {
		return fmt.Errorf("encoding attributes: %w", err)
	}
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("connecting to rtnetlink: %w", err)
	}
	defer conn.Close()
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_SETLINK, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, encoded...),
	})
	return err
}
