package netif

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
	"lvsha/vrrp"
)

// list is every interface with its addresses. With nlconn.ErrInterrupted some may be
// left out.
func list(ask func(netlink.Message) ([]netlink.Message, error)) ([]vrrp.Link, error) {
	devices, err := devicesBy(ask)
	if err != nil && !errors.Is(err, nlconn.ErrInterrupted) {
		return nil, err
	}
	addresses, interrupted := addressesBy(ask, unix.AF_UNSPEC, 0)
	if interrupted != nil && !errors.Is(interrupted, nlconn.ErrInterrupted) {
		return nil, interrupted
	}
	links := make([]vrrp.Link, 0, len(devices))
	at := make(map[int]int, len(devices))
	for _, d := range devices {
		at[d.index] = len(links)
		links = append(links, d.link())
	}
	for _, a := range addresses {
		if n, ok := at[a.index]; ok && a.usable() {
			links[n].Addresses = append(links[n].Addresses, a.prefix)
		}
	}
	return links, errors.Join(err, interrupted)
}
