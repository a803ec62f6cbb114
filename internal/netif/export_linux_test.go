package netif

import (
	"net/netip"
	"time"
)

// AnnounceLate is Announce in a process that was stopped for a while.
func (l *Links) AnnounceLate(iface string, addrs []netip.Addr, late time.Duration) error {
	n := l.of(iface)
	link, _, err := n.link()
	if err != nil {
		return err
	}
	return n.sender.announce(link, addrs, callMost-late)
}
