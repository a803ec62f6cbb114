package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// WayTo asks the kernel how packets to an address leave: by which interface, from
// what address unless the sender says otherwise, and whether the address is this
// machine's own. An error means that they do not.
func (l *Links) WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	var found route
	err = onRoutes(func(c *netlink.Conn) error {
		attributes := netlink.NewAttributeEncoder()
		attributes.Bytes(unix.RTA_DST, a.AsSlice())
		encoded, err := attributes.Encode()
		if err != nil {
			return err
		}
		header := make([]byte, unix.SizeofRtMsg)
		header[0], header[1] = unix.AF_INET, byte(a.BitLen())
		if a.Is6() {
			header[0] = unix.AF_INET6
		}
		answers, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
			Data:   append(header, encoded...),
		})
		if err != nil {
			return err
		}
		if len(answers) == 0 {
			return errors.New("the kernel does not answer")
		}
		found, err = parseRoute(answers[0].Data)
		return err
	})
	if err != nil {
		return "", netip.Addr{}, false, fmt.Errorf("finding a route to %s: %w", a, err)
	}
	link, err := net.InterfaceByIndex(found.index)
	if err != nil {
		return "", netip.Addr{}, false, fmt.Errorf("finding a route to %s: interface %d: %w", a, found.index, err)
	}
	return link.Name, found.source, found.kind == unix.RTN_LOCAL, nil
}

// Setting reads a parameter of net.ipv4.conf, such as "rp_filter", that is in
// force on an interface: the greater one of its own and that of all.
func (l *Links) Setting(ifname, name string) (int, error) {
	greatest := 0
	for _, conf := range []string{"all", ifname} {
		text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf", conf, name))
		if err != nil {
			return 0, fmt.Errorf("reading %s of %s: %w", name, conf, err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return 0, fmt.Errorf("reading %s of %s: %w", name, conf, err)
		}
		greatest = max(greatest, n)
	}
	return greatest, nil
}
