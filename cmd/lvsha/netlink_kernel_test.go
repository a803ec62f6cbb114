//go:build ipvskernel

package main_test

import (
	"net"
	"net/netip"

	cfipvs "github.com/cloudflare/ipvs"
	"github.com/mdlayher/genetlink"

	"lvsha/internal/lab"
	"lvsha/ipvs"
)

func netInterface(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return ifi.Index, nil
}

// ipvsFamily is the number of IPVS in generic netlink.
func ipvsFamily(r *rig, h *lab.Host) (id uint16) {
	r.Helper()
	r.check(h.Do(func() error {
		c, err := genetlink.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.GetFamily("IPVS")
		id = f.ID
		return err
	}))
	return id
}

// firstWeight is the weight of one server, read with one message, or -1.
func firstWeight(r *rig, h *lab.Host, key ipvs.ServiceKey, server netip.AddrPort) int {
	r.Helper()
	weight := -1
	r.check(h.Do(func() error {
		c, err := cfipvs.New()
		if err != nil {
			return err
		}
		if closer, ok := c.(interface{ Close() error }); ok {
			defer closer.Close()
		}
		dests, err := c.Destinations(cfipvs.Service{
			Address: key.Addr.Addr(), Port: key.Addr.Port(), Protocol: cfipvs.Protocol(key.Protocol), Family: cfipvs.INET,
		})
		if err != nil {
			return nil // there is no such service
		}
		for _, d := range dests {
			if netip.AddrPortFrom(d.Address, d.Port) == server {
				weight = int(d.Weight)
			}
		}
		return nil
	}))
	return weight
}
