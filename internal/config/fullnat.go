package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lvsha/ipvs"
)

// maxPool bounds the source addresses of a service.
const maxPool = 256

// Pool is a range of source addresses, both ends included; the zero Pool is none.
type Pool struct{ First, Last netip.Addr }

// Method is the forwarding method as the file has it: NAT with a source address of
// lvsha's is "fullnat".
func (s Service) Method() string { return methodName(s.Forward, s.FullNAT) }

// Method is the forwarding method of a server as the file has it.
func (s Server) Method() string { return methodName(s.Forward, s.FullNAT) }

func methodName(f ipvs.Forward, fullnat bool) string {
	if fullnat {
		return "fullnat"
	}
	return f.String()
}

// translates reports whether any server is one of full NAT.
func (s Service) translates() bool {
	return slices.ContainsFunc(s.Servers, func(s Server) bool { return s.FullNAT }) || s.Sorry != nil && s.Sorry.FullNAT
}

// sources are source addresses, at most one pool for each family.
type sources struct {
	pools []Pool
	node  *node
}

// of is the pool for a server.
func (s sources) of(server netip.Addr) (Pool, bool) {
	i := slices.IndexFunc(s.pools, func(p Pool) bool { return p.First.Is4() == server.Is4() })
	if i < 0 {
		return Pool{}, false
	}
	return s.pools[i], true
}

// snat reads snat, or returns the service's.
func (r *report) snat(s section, def sources) sources {
	n, ok := s.keys["snat"]
	if !ok {
		return def
	}
	out := sources{node: n}
	for _, item := range s.list("snat") {
		text, ok := r.textOf(item)
		if !ok {
			continue
		}
		p, why := parsePool(text)
		switch {
		case why != "":
			r.at(item, "%s, got %q", why, text)
		case slices.ContainsFunc(out.pools, func(o Pool) bool { return o.First.Is4() == p.First.Is4() }):
			r.at(item, "there is one address or range for each family, and %s is the second of %s", text, family(p.First))
		default:
			out.pools = append(out.pools, p)
		}
	}
	return out
}

// parsePool reads "10.1.0.254" or "10.1.0.240-10.1.0.247".
func parsePool(text string) (p Pool, why string) {
	const want = "want an address such as \"10.1.0.254\" or a range such as \"10.1.0.240-10.1.0.247\""
	from, to, found := strings.Cut(text, "-")
	if !found {
		to = from
	}
	var err, err2 error
	p.First, err = netip.ParseAddr(strings.TrimSpace(from))
	p.Last, err2 = netip.ParseAddr(strings.TrimSpace(to))
	switch {
	case err != nil || err2 != nil || p.First.Zone() != "" || p.Last.Zone() != "" || p.First.Is4() != p.Last.Is4():
		return Pool{}, want
	case p.Last.Less(p.First):
		return Pool{}, "want a range that begins with the lowest address"
	}
	for _, a := range []netip.Addr{p.First, p.Last} {
		if why := notOneMachine(a); why != "" {
			return Pool{}, fmt.Sprintf("%s %s", a, why)
		}
	}
	n := 1
	for a := p.First; a != p.Last; a = a.Next() {
		if n++; n > maxPool {
			return Pool{}, fmt.Sprintf("want a range of %d addresses at most", maxPool)
		}
	}
	return p, ""
}

// reading is what servers need to know of the service that is being read.
type reading struct {
	// snat are the source addresses that they inherit, and free says that no virtual
	// router need have the service's addresses.
	snat sources
	free bool
}

// forwarded is a server of NAT.
type forwarded struct {
	service Service
	server  Server
	free    bool
	// node is where the file has it, and snat where its source addresses are.
	node, snat *node
}

// fullNAT gives a server its source address, and remembers those of NAT.
func (r *report) fullNAT(s section, svc *Service, server *Server) {
	if server.Forward != ipvs.NAT {
		if s.keys["snat"] != nil && server.Forward != 0 {
			s.bad("snat", "is for forward = \"fullnat\", and this is %q", server.Method())
		}
		return
	}
	from := sources{}
	if server.FullNAT {
		from = r.snat(s, r.reading.snat)
		var ok bool
		server.Source, ok = from.of(server.Address.Addr())
		if !ok && (from.node == nil || len(from.pools) == len(listOf(from.node))) { // otherwise it has been said
			s.add(s.node.line, s.node.path.key("snat"), "is missing: the %s address that %s sees in the place of clients', one that moves with a virtual router such as \"10.1.0.254\"",
				family(server.Address.Addr()), server.Address.Addr())
		}
	} else if s.keys["snat"] != nil {
		s.bad("snat", "is for forward = \"fullnat\", and this is %q", server.Method())
	}
	r.forwarded = append(r.forwarded, forwarded{service: *svc, server: *server, free: r.reading.free, node: s.node, snat: from.node})
}

// listOf is the items of a list, or the one value that stands for it.
func listOf(n *node) []*node {
	if items, ok := n.value.([]*node); ok {
		return items
	}
	return []*node{n}
}

// translated holds what full NAT needs of the file as a whole: source addresses that
// move together with the service's, and one way to a server for all that the rule of
// the packet filter cannot tell apart.
func (r *report) translated(m moves) {
	type flow struct {
		listen ipvs.ServiceKey // without its port
		server netip.Addr
	}
	flows := make(map[flow]forwarded)
	for _, f := range r.forwarded {
		if f.server.Source.First.IsValid() {
			r.movesAlong(f, m)
		}
		for _, l := range f.service.Listen {
			key := flow{l, f.server.Address.Addr()}
			key.listen.Addr = netip.AddrPortFrom(l.Addr.Addr(), 0)
			was, seen := flows[key]
			if !seen {
				flows[key] = f
			}
			if !seen || was.server.Source == f.server.Source {
				continue
			}
			r.at(f.node, "service %s has %s with %s, and this one with %s: towards one server there is one source address for all services of an address and protocol",
				was.service.Name, key.server, was.server.source(), f.server.source())
			break
		}
	}
}

// source words where the connections of a server of NAT come from.
func (s Server) source() string {
	switch {
	case !s.FullNAT:
		return "the client's address (nat)"
	case s.Source.First == s.Source.Last:
		return s.Source.First.String()
	default:
		return fmt.Sprintf("%s-%s", s.Source.First, s.Source.Last)
	}
}

// movesAlong holds that the source addresses of a server are where the service's are.
func (r *report) movesAlong(f forwarded, m moves) {
	for a := f.server.Source.First; a.Compare(f.server.Source.Last) <= 0; a = a.Next() {
		at, owned := m.owner[a]
		if !owned && f.free {
			continue
		}
		if !owned {
			r.at(f.snat, "no virtual router has the address %s, and without one connections do not outlive a failover; add it to a [vrrp.NAME]", a)
			return
		}
		for _, vip := range f.service.fronts() {
			if front, has := m.owner[vip]; has && !m.together(front, at) {
				r.at(f.snat, "virtual router %s has %s and %s has %s: they have to move together; use one router, or put both into a [group.NAME]",
					m.routers[front].Name, vip, m.routers[at].Name, a)
				return
			}
		}
	}
}

// fronts are the addresses that clients know, the first ones of ranges (see undivided).
func (s Service) fronts() (out []netip.Addr) {
	for _, c := range s.Covers {
		out = append(out, c.From)
	}
	for _, l := range s.Listen {
		if l.Mark == 0 {
			out = append(out, l.Addr.Addr())
		}
	}
	return out
}
