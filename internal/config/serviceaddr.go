package config

import (
	"net/netip"
	"slices"
)

// maxAddresses bounds how many addresses of one range are counted up.
const maxAddresses = 4096

// Addresses are the virtual addresses of a service, each once: those it listens on, and
// those whose packets lvsha marks for it. whole is false when a range was too long to be
// counted up, and when the service goes by a mark that others set.
func (s Service) Addresses() (list []netip.Addr, whole bool) {
	whole = true
	seen := make(map[netip.Addr]bool)
	add := func(a netip.Addr) {
		if !seen[a] {
			seen[a] = true
			list = append(list, a)
		}
	}
	for _, l := range s.Listen {
		if l.Mark == 0 {
			add(l.Addr.Addr())
		} else if len(s.Covers) == 0 {
			whole = false
		}
	}
	for _, c := range s.Covers {
		n := 0
		for a := c.From; a.IsValid() && a.Compare(c.To) <= 0; a = a.Next() {
			if n++; n > maxAddresses {
				whole = false
				break
			}
			add(a)
		}
	}
	return slices.Clip(list), whole
}
