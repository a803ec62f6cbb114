package netif

import (
	"errors"
	"fmt"
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
	l.WaysTo([]netip.Addr{a}, func(_ netip.Addr, name string, from netip.Addr, own bool, why error) {
		ifname, source, local, err = name, from, own, why
	})
	return ifname, source, local, err
}

// WaysTo is WayTo of many addresses, each of which is told. It asks over one connection,
// and the kernel for the name of each interface once.
func (l *Links) WaysTo(as []netip.Addr, tell func(a netip.Addr, ifname string, source netip.Addr, local bool, err error)) {
	names := make(map[int]string)
	next := 0
	err := l.conns.ask(func(c *kernel) error {
		for ; next < len(as); next++ {
			found, name, err := askRoute(c, as[next], names)
			if err != nil {
				tell(as[next], "", netip.Addr{}, false, fmt.Errorf("finding a route to %s: %w", as[next], explain(err, "CAP_NET_ADMIN")))
				continue
			}
			tell(as[next], name, found.source, found.kind == unix.RTN_LOCAL, nil)
		}
		return nil
	})
	for ; next < len(as); next++ { // it could not be asked
		tell(as[next], "", netip.Addr{}, false, fmt.Errorf("finding a route to %s: %w", as[next], err))
	}
}

// askRoute asks for the route to an address, and keeps the names of interfaces.
func askRoute(c *kernel, a netip.Addr, names map[int]string) (found route, ifname string, err error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, a.AsSlice())
	encoded, err := attributes.Encode()
	if err != nil {
		return route{}, "", err
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
		return route{}, "", err
	}
	if len(answers) == 0 {
		return route{}, "", errors.New("the kernel does not answer")
	}
	if found, err = parseRoute(answers[0].Data); err != nil {
		return route{}, "", err
	}
	if names[found.index] == "" {
		link, err := getDeviceAt(c, found.index)
		if err != nil {
			return route{}, "", err
		}
		names[found.index] = link.name
	}
	return found, names[found.index], nil
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
