package config

import (
	"net/netip"
	"slices"

	"lvsha/healthcheck"
	"lvsha/ipvs"
)

// servers reads check, require, server and sorry.
func (r *report) servers(s section, svc *Service) {
	checks := r.checks(s)
	svc.Require = healthcheck.RequireAll
	fewest := points(checks)
	seen := make(map[netip.AddrPort]int)
	var items []*node
	if n := s.keys["server"]; n != nil {
		items = s.list("server")
	}
	for _, n := range items {
		sv, ok := r.section(n, serverKeys())
		if !ok {
			continue
		}
		server, ok := r.server(sv, svc)
		server.Checks = checks
		if sv.keys["check"] != nil {
			server.Checks = r.checks(sv)
			fewest = min(fewest, points(server.Checks))
		}
		if !ok {
			continue
		}
		server.Checks = svc.probing(server)
		r.probed(sv, svc, server)
		for _, at := range resolved(server, svc.Listen) {
			if line, dup := seen[at]; dup {
				sv.bad("address", "%s is already a server of this service on line %d", at, line)
				break
			}
			seen[at] = n.line
		}
		svc.Servers = append(svc.Servers, server)
	}
	svc.Sorry = r.sorry(s, svc)
	tunnelled := svc.Forward == ipvs.TUN || svc.Sorry != nil && svc.Sorry.Forward == ipvs.TUN ||
		slices.ContainsFunc(svc.Servers, func(s Server) bool { return s.Forward == ipvs.TUN })
	if s.keys["tunnel"] != nil && svc.Forward != 0 && !tunnelled {
		s.bad("tunnel", "is for servers with forward = \"tun\", of which there are none")
	}
	if s.keys["snat"] != nil && svc.Forward != 0 && !svc.FullNAT && !svc.translates() {
		s.bad("snat", "is for servers with forward = \"fullnat\", of which there are none")
	}
	if len(items) == 0 && s.keys["sorry"] == nil {
		s.bad("server", "the service has no server; add [[%s]]", s.node.path.key("server"))
	}
	if s.keys["follow"] == nil {
		svc.Require = r.require(s, fewest)
	}
}

// points are what checks count for together.
func points(checks []healthcheck.Check) (sum int) {
	for _, c := range checks {
		sum += max(c.Weight, 1)
	}
	return sum
}

// resolved are the addresses of a server under all listens, each once.
func resolved(server Server, listens []ipvs.ServiceKey) []netip.AddrPort {
	if len(listens) == 0 {
		return []netip.AddrPort{server.Address}
	}
	var out []netip.AddrPort
	for _, l := range listens {
		if at := server.At(l); !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

// server reads what servers and the sorry server have in common. ok is whether
// there is an address.
func (r *report) server(s section, svc *Service) (Server, bool) {
	out := Server{Weight: s.number("weight", 1, 0, ipvs.MaxWeight)}
	out.Forward, out.FullNAT = r.method(s, svc.Forward, svc.FullNAT)
	out.Tunnel = r.tunnel(s, out.Forward, svc.Tunnel)
	s.thresholds(&out)
	if s.missing("address", "the real server's, such as \"192.0.2.21\" or \"192.0.2.21:8080\"") {
		return out, false
	}
	addr, ok := r.serverAddress(s.keys["address"])
	if !ok {
		return out, false
	}
	out.Address = addr
	r.ownServer(s.keys["address"], svc, &out)
	r.reachable(s.keys["address"], svc, out)
	r.fullNAT(s, svc, &out)
	return out, true
}

// serverAddress reads "ADDRESS" or "ADDRESS:PORT".
func (r *report) serverAddress(n *node) (netip.AddrPort, bool) {
	text, ok := r.textOf(n)
	if !ok {
		return netip.AddrPort{}, false
	}
	out, err := netip.ParseAddrPort(text)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(text)
		out = netip.AddrPortFrom(a, 0)
	} else if out.Port() == 0 {
		r.at(n, "port 0 is no port; leave it out to use the service's")
		return netip.AddrPort{}, false
	}
	switch {
	case err != nil || out.Addr().Zone() != "":
		r.at(n, "want ADDRESS or ADDRESS:PORT such as \"192.0.2.21\" or \"192.0.2.21:8080\" (names are not looked up), got %q", text)
	case notOneMachine(out.Addr()) != "" && !out.Addr().IsLoopback():
		r.at(n, "%s %s", out.Addr(), notOneMachine(out.Addr()))
	case out.Addr().Is6() && out.Addr().IsLinkLocalUnicast():
		r.at(n, "%s is link-local, which the kernel does not take for a server", out.Addr())
	default:
		return out, true
	}
	return netip.AddrPort{}, false
}

// reachable looks for what the forwarding method cannot do.
func (r *report) reachable(n *node, svc *Service, server Server) {
	for _, l := range svc.Listen {
		at := server.At(l)
		switch {
		case server.Forward != ipvs.TUN && server.Forward != 0 && l.Addr.Addr().Is4() != at.Addr().Is4():
			r.at(n, "%s is %s and %s is %s, and %s does not get from one to the other; make a service for each, or use forward = \"tun\"",
				l, family(l.Addr.Addr()), at.Addr(), family(at.Addr()), server.Method())
		case l.Mark != 0 && at.Port() == 0:
			continue
		case l.Mark != 0 && server.Forward != ipvs.NAT && server.Forward != 0:
			r.at(n, "%s hands packets on as they are and cannot change their port to %d; leave the port out or use forward = \"nat\"", server.Forward, at.Port())
		case l.Mark != 0 && svc.Persistence > 0:
			r.at(n, "with persistence the kernel keeps the client's port under a firewall mark, and %d would not be used; leave the port out", at.Port())
		case l.Mark != 0:
			continue
		case l.Addr.Port() == 0 && at.Port() != 0:
			r.at(n, "%s stands for every port and keeps the client's; leave the server's port out", l.Addr)
		case server.Forward != ipvs.NAT && server.Forward != 0 && at.Port() != l.Addr.Port():
			r.at(n, "%s hands packets on as they are and cannot change port %d to %d; leave the port out or use forward = \"nat\"", server.Forward, l.Addr.Port(), at.Port())
		case at == l.Addr:
			r.at(n, "the server is the service itself")
		default:
			continue
		}
		return
	}
}

// probing are the checks of a server, at the port of all that the service covers where
// neither they nor the server have one.
func (s *Service) probing(server Server) []healthcheck.Check {
	port, ok := s.onePort()
	if !ok || server.Address.Port() != 0 {
		return server.Checks
	}
	checks := slices.Clone(server.Checks)
	for i, c := range checks {
		if k, _ := healthcheck.KindOf(c.Kind()); c.Port == 0 && k.Ports != healthcheck.NoPort {
			checks[i].Port = port
		}
	}
	return checks
}

// probed makes sure that there is a port to probe.
func (r *report) probed(s section, svc *Service, server Server) {
	for _, c := range server.Checks {
		if c.Through && server.Address.Addr().IsLoopback() {
			s.bad("address", "a check through the service asks another machine, and %s is this one", server.Address.Addr())
			return
		}
		if c.Through && slices.ContainsFunc(svc.Listen, func(l ipvs.ServiceKey) bool { return l.Mark != 0 }) {
			s.bad("address", "a check through the service asks the service's address, and a service by firewall mark has none; leave through out")
			return
		}
		if k, _ := healthcheck.KindOf(c.Kind()); c.Port != 0 || k.Ports != healthcheck.NeedsPort {
			continue
		}
		for _, l := range svc.Listen {
			sctp := slices.ContainsFunc(svc.Covers, func(c Cover) bool { return c.Protocol == ipvs.SCTP })
			if l.Protocol == ipvs.SCTP || sctp {
				s.bad("address", "no %s check asks over SCTP, as the service does; give it the port that it is to ask", c.Kind())
				return
			}
			if l.Mark != 0 && server.At(l).Port() == 0 && len(svc.Covers) > 0 {
				s.bad("address", "the service has several ports, so the server's %s check needs one", c.Kind())
				return
			}
			if l.Mark != 0 && server.At(l).Port() == 0 {
				s.bad("address", "%s has no port, so the server's %s check needs one", l, c.Kind())
				return
			}
			if server.At(l).Port() == 0 {
				s.bad("address", "the service listens on every port, so its %s check needs a port", c.Kind())
				return
			}
		}
	}
}

// sorry reads sorry, a string or a table.
func (r *report) sorry(s section, svc *Service) *Server {
	n := s.keys["sorry"]
	if n == nil {
		return nil
	}
	if _, isText := n.value.(string); isText {
		addr, ok := r.serverAddress(n)
		if !ok {
			return nil
		}
		out := &Server{Address: addr, Weight: 1, Forward: svc.Forward, FullNAT: svc.FullNAT}
		if out.Forward == ipvs.TUN {
			out.Tunnel = svc.Tunnel
		}
		r.ownServer(n, svc, out)
		r.reachable(n, svc, *out)
		r.fullNAT(section{report: r, node: n}, svc, out)
		return out
	}
	if _, isTable := n.value.(table); !isTable {
		r.at(n, "want a server such as \"192.0.2.99\" or { address = \"192.0.2.99:8080\", forward = \"nat\" }, got %s", typeName(n.value))
		return nil
	}
	t, _ := r.section(n, sorryKeys())
	out, ok := r.server(t, svc)
	if !ok {
		return nil
	}
	if out.Weight == 0 {
		t.bad("weight", "a sorry server of weight 0 would get no connections; want 1 to %d", ipvs.MaxWeight)
	}
	return &out
}
