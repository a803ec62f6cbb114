package config

import (
	"net/netip"
	"slices"
)

// moves says which addresses are on one director at any time.
type moves struct {
	routers []router
	groups  []group
	owner   map[netip.Addr]int // the router of an address
}

func newMoves(routers []router, groups []group) moves {
	m := moves{routers: routers, groups: groups, owner: make(map[netip.Addr]int)}
	for i, rt := range routers {
		for _, a := range slices.Concat(rt.Addresses, rt.Excluded) {
			m.owner[a.Prefix.Addr()] = i
		}
	}
	return m
}

// together reports whether two virtual routers are one, or of one sync group.
func (m moves) together(a, b int) bool {
	return a == b || slices.ContainsFunc(m.groups, func(g group) bool {
		return slices.Contains(g.routers, a) && slices.Contains(g.routers, b)
	})
}

// addressRange is a range of addresses of a service.
type addressRange struct {
	service string
	node    *node
	cover   Cover
}

// undivided holds that a range of addresses moves as one where it is judged by the first
// of them: with full NAT by the source addresses that have to move along, and with
// directors as servers by whether another director has it.
func (r *report) undivided(services []Service, m moves) {
	judged := make(map[string]bool)
	for _, s := range services {
		judged[s.Name] = s.translates() || s.usesDirectors()
	}
	for _, x := range r.ranges {
		if judged[x.service] {
			r.undividedRange(x, m)
		}
	}
}

func (r *report) undividedRange(x addressRange, m moves) {
	const remedy = "with fullnat, or directors as servers, a range has to move as one; list them apart"
	first, owned := m.owner[x.cover.From]
	for a := x.cover.From.Next(); a.Compare(x.cover.To) <= 0; a = a.Next() {
		at, has := m.owner[a]
		switch {
		case owned && has && !m.together(first, at):
			r.at(x.node, "virtual router %s has %s and %s has %s; %s, or put both into a [group.NAME]", m.routers[first].Name, x.cover.From, m.routers[at].Name, a, remedy)
			return
		case owned && !has:
			r.at(x.node, "virtual router %s has %s and none has %s; %s", m.routers[first].Name, x.cover.From, a, remedy)
			return
		case has && !owned:
			r.at(x.node, "no virtual router has %s and %s has %s; %s", x.cover.From, m.routers[at].Name, a, remedy)
			return
		}
	}
}
