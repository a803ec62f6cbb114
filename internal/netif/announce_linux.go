package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"golang.org/x/sys/unix"
)

// Announce implements vrrp.Links. An IPv4 address has an ARP request and an ARP
// reply, both gratuitous and broadcast, because hosts differ in which of them
// they learn from (RFC 5227 section 3); an IPv6 address has an unsolicited
// neighbour advertisement. An interface without hardware address is left alone.
// When nothing leaves the interface's queue, it waits for no more than sendMost.
func (l *Links) Announce(iface string, addrs []netip.Addr) error {
	n := l.of(iface)
	link, fresh, err := n.link()
	if err == nil {
		err = n.sender.announce(link, addrs)
	}
	if !fresh && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)) {
		// What we know of the interface is old.
		if link, err = l.lookUp(iface); err == nil {
			err = n.sender.announce(link, addrs)
		}
	}
	if err != nil {
		return fmt.Errorf("announcing on %s: %w", iface, explain(err, "CAP_NET_RAW"))
	}
	return nil
}

// prepare opens the socket that announcing an address will need, if it can: when
// the address comes, hosts wait for the announcement.
func (n *netInterface) prepare(addr netip.Addr) {
	protocol := ethernet.EtherTypeARP
	if addr.Is6() {
		protocol = ethernet.EtherTypeIPv6
	}
	link, _, err := n.link()
	if err == nil {
		err = n.sender.prepare(link, protocol)
	}
	if err != nil {
		n.links.log.Debug("preparing to announce", "interface", n.name, "address", addr, "error", err)
	}
}
