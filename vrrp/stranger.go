package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// strangerShown is how long others that use our VRID are shown after they were heard last,
// and strangerEvery how often strangers can make a notice.
const (
	strangerShown = time.Minute
	strangerEvery = time.Minute
)

// stranger reports whether an advertisement is that of other routers that happen to have our
// VRID on this segment: it has none of our addresses, and its sender is no director of the
// file and knows no secret of ours. To obey it would give our addresses to nobody.
func (r *Router) stranger(ev *Received) bool {
	if r.cfg.Auth != nil || len(r.cfg.Unicast) > 0 || len(ev.Advertisement.Addresses) == 0 || r.knows(ev.Source) {
		return false
	}
	return !slices.ContainsFunc(ev.Advertisement.Addresses, func(a netip.Addr) bool {
		return slices.ContainsFunc(r.cfg.Addresses, func(own Address) bool { return own.Prefix.Addr() == a })
	})
}

// knows reports whether a sender is a director of the file.
func (r *Router) knows(source netip.Addr) bool {
	return slices.ContainsFunc(r.cfg.Peers, func(p Peer) bool { return p.Address == source })
}

// strange deals with an advertisement of strangers, and reports whether it is passed over.
// Where they would share a MAC address with us, one of the two has to give way.
func (r *Router) strange(now time.Time, ev *Received) bool {
	if !r.stranger(ev) {
		return false
	}
	what := "it is not obeyed"
	if r.cfg.Virtual != "" {
		what = "both have one MAC address, so that only one of the two can be active"
	} else {
		r.counters.Strangers++
	}
	r.raise(now, NoticeStranger, ev.At.Add(strangerShown), "%s uses our VRID %d for %v, none of which is ours: other routers on this segment have this VRID, and %s; give one of them another vrid",
		ev.Source, r.cfg.VRID, few(ev.Advertisement.Addresses), what)
	return r.cfg.Virtual == ""
}

// few are the first of some addresses.
func few(addresses []netip.Addr) []netip.Addr { return addresses[:min(3, len(addresses))] }
