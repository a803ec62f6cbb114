package config

import (
	"net/netip"
	"slices"
	"strings"

	"lvsha/ipvs"
)

// ownServer looks at whether a server is a director. With forward = "local" it has to be:
// on the director that has the address the packets stay, and the others hand them on by
// direct routing.
func (r *report) ownServer(n *node, svc *Service, server *Server) {
	addr := server.Address.Addr()
	owner := slices.IndexFunc(r.cluster, func(d director) bool { return slices.Contains(d.Addresses, addr) })
	here := owner >= 0 && r.cluster[owner].Name == r.self
	if server.Forward == ipvs.Local {
		switch {
		case addr.IsLoopback() || here:
		case owner >= 0:
			server.Forward = ipvs.DR
		default:
			r.at(n, "forward = \"local\" is for the directors themselves: want a loopback address such as \"127.0.0.1\", or the address of a director%s, got %s",
				r.ownAddresses(), addr)
			return
		}
	}
	if server.Forward == ipvs.NAT || server.Forward == 0 || owner < 0 {
		return
	}
	server.Self, server.Peer = here, !here
	if i := slices.IndexFunc(svc.Listen, func(l ipvs.ServiceKey) bool { return l.Mark != 0 && len(svc.Covers) == 0 }); i >= 0 {
		r.at(n, "%s is a director, and would balance again what another director hands on with %s, whose packets lvsha does not know; list the addresses instead, with mark = %d if they are one service",
			addr, svc.Listen[i], svc.Listen[i].Mark)
	}
}

// handedRound refuses several directors as servers where nobody says which of them has
// the address: each would balance again what another hands on, to and fro.
func (r *report) handedRound(s section, svc *Service, owned map[netip.Addr]router) {
	servers := slices.Clone(svc.Servers)
	if svc.Sorry != nil {
		servers = append(servers, *svc.Sorry)
	}
	var names []string
	for _, server := range servers {
		if !server.Self && !server.Peer {
			continue
		}
		owner := slices.IndexFunc(r.cluster, func(d director) bool { return slices.Contains(d.Addresses, server.Address.Addr()) })
		if name := r.cluster[owner].Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) < 2 || s.keys["owner"] == nil {
		return
	}
	for _, c := range svc.Reaches() {
		for a := c.From; a.Compare(c.To) <= 0; a = a.Next() {
			if _, has := owned[a]; !has {
				s.bad("owner", "the directors %s are servers of this service, and without a virtual router for %s each would balance again what another hands on; add the address to a [vrrp.NAME], or have one of them alone",
					strings.Join(names, ", "), a)
				return
			}
		}
	}
}

// usesDirectors reports whether a director is a server of the service.
func (s Service) usesDirectors() bool {
	director := func(s Server) bool { return s.Self || s.Peer }
	return slices.ContainsFunc(s.Servers, director) || s.Sorry != nil && director(*s.Sorry)
}

// Here reports whether the server is on this machine, so that hearing it says nothing of
// the network.
func (s Server) Here() bool { return s.Self || s.Address.Addr().IsLoopback() }

// ownAddresses lists the addresses of the directors.
func (r *report) ownAddresses() string {
	var all []string
	for _, d := range r.cluster {
		for _, a := range d.Addresses {
			all = append(all, a.String())
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// Reaches are the addresses and ports of a service, whether by a mark of lvsha's or not.
func (s Service) Reaches() []Cover {
	if len(s.Covers) > 0 {
		return s.Covers
	}
	var out []Cover
	for _, l := range s.Listen {
		if l.Mark != 0 {
			continue
		}
		c := Cover{From: l.Addr.Addr(), To: l.Addr.Addr(), Protocol: l.Protocol, First: l.Addr.Port(), Last: l.Addr.Port()}
		if c.First == 0 {
			c.Last = lastPort
		}
		out = append(out, c)
	}
	return out
}

// Without returns what is left of a range of ports beside those of others on the same
// address.
func (c Cover) Without(others []Cover) []Cover {
	out := []Cover{c}
	for _, o := range others {
		var left []Cover
		for _, c := range out {
			if !c.meets(o) {
				left = append(left, c)
				continue
			}
			if c.First < o.First {
				before := c
				before.Last = o.First - 1
				left = append(left, before)
			}
			if c.Last > o.Last {
				after := c
				after.First = o.Last + 1
				left = append(left, after)
			}
		}
		out = left
	}
	return out
}

// Has reports whether an address is among those of the range.
func (c Cover) Has(a netip.Addr) bool {
	return c.From.Compare(a) <= 0 && a.Compare(c.To) <= 0
}
