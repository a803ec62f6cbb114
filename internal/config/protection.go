package config

import (
	"net/netip"

	connsync "lvsha/sync"
)

// Protection is who may speak to a director's sync daemon.
type Protection struct {
	// Interface is where its messages come in, and Group their multicast group and port.
	Interface string
	Group     netip.AddrPort
	// Peers are the addresses of the other directors there, none for anybody.
	Peers []netip.Addr
}

// protection reads protect of [sync]: true for the addresses of the other directors, or
// a list of addresses.
func (r *report) protection(n *node, sync *connsync.Config, d director) *Protection {
	t, _ := n.table()
	p, ok := t["protect"]
	if !ok || sync == nil {
		return nil
	}
	s := section{report: r, node: n, keys: t}
	out := &Protection{Interface: sync.Interface, Group: sync.Group}
	if !out.Group.IsValid() {
		out.Group = connsync.DefaultGroup()
	}
	on, isBool := p.value.(bool)
	switch {
	case isBool && !on:
		return nil
	case sync.Transport == connsync.Channel && !isBool:
		s.bad("protect", "want true with transport = %q, whose messages leave no machine", connsync.Channel)
		return nil
	case sync.Transport == connsync.Channel:
		return out
	}
	for _, n := range s.list("protect") {
		if isBool {
			break
		}
		a, ok := r.address(n)
		if !ok {
			continue
		}
		if a.Is6() != out.Group.Addr().Is6() {
			r.at(n, "messages to the group %s come from %s addresses, and %s is none", out.Group, family(out.Group.Addr()), a)
			continue
		}
		out.Peers = append(out.Peers, a)
	}
	for _, other := range r.cluster {
		if !isBool || other.Name == d.Name {
			continue
		}
		for _, a := range other.Addresses {
			if a.Is4() && out.Group.Addr().Is4() {
				out.Peers = append(out.Peers, a)
			}
		}
	}
	if len(out.Peers) == 0 && (isBool || len(s.list("protect")) == 0) {
		s.bad("protect", "no other director has an %s address in this file; want a list of those that they have on the interface of [sync]", family(out.Group.Addr()))
		return nil
	}
	return out
}

// table is the keys of a table; none of anything else.
func (n *node) table() (table, bool) {
	if n == nil {
		return nil, false
	}
	t, ok := n.value.(table)
	return t, ok
}
