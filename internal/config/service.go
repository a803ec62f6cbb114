package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/ipvs"
)

// defaultScheduler is keepalived's and ipvsadm's too.
const defaultScheduler = "wlc"

// services reads all [service.NAME], sorted by name. Routers own the addresses.
func (r *report) services(n *node, routers []router) []Service {
	owned := make(map[netip.Addr]bool)
	for _, rt := range routers {
		for _, a := range rt.Addresses {
			owned[a.Prefix.Addr()] = true
		}
	}
	var out []Service
	listens := make(map[ipvs.ServiceKey]claim)
	for _, c := range r.named(n, "virtual service") {
		s, ok := r.section(c.node, serviceKeys())
		if !ok {
			continue
		}
		svc := Service{Name: c.name}
		r.pace(s, &svc)
		r.listens(s, &svc, owned, listens)
		r.forwarding(s, &svc)
		r.servers(s, &svc)
		out = append(out, svc)
	}
	slices.SortFunc(out, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// pace reads scheduler and persistence.
func (r *report) pace(s section, svc *Service) {
	svc.Scheduler = defaultScheduler
	if v, ok := s.text("scheduler"); ok {
		if names := ipvs.SchedulerNames(); !slices.Contains(names, v) {
			s.bad("scheduler", "want one of %s, got %q%s", strings.Join(names, ", "), v, didYouMean(v, names))
		} else {
			svc.Scheduler = v
		}
	}
	svc.Persistence = s.duration("persistence", 0, time.Second, ipvs.MaxPersistence, time.Second)
	mask := s.number("persistence_mask", 32, 1, 32)
	if svc.Persistence > 0 {
		svc.PersistenceMask = uint8(mask)
	} else if s.keys["persistence_mask"] != nil && s.keys["persistence"] == nil {
		s.bad("persistence_mask", "groups clients for persistence, which this service does not have")
	}
}

// listens reads listen and owner.
func (r *report) listens(s section, svc *Service, owned map[netip.Addr]bool, taken map[ipvs.ServiceKey]claim) {
	free := false
	if v, ok := s.text("owner"); ok {
		if free = v == "none"; !free {
			s.bad("owner", "want \"none\", which says that no virtual router has the address, got %q", v)
		}
	}
	if s.missing("listen", "the virtual service such as \"192.0.2.10:80/tcp\"") {
		return
	}
	items := s.list("listen")
	if len(items) == 0 {
		s.bad("listen", "want at least one such as \"192.0.2.10:80/tcp\"")
	}
	for _, n := range items {
		key, ok := r.listen(n)
		if !ok {
			continue
		}
		if first, dup := taken[key]; dup {
			r.at(n, "service %s on line %d already listens on %s", first.name, first.line, n.value)
			continue
		}
		taken[key] = claim{svc.Name, n.line}
		if key.Addr.Port() == 0 && s.keys["persistence"] == nil {
			r.at(n, "port 0 stands for every port and needs persistence")
		}
		if !free && !owned[key.Addr.Addr()] {
			r.at(n, "no virtual router has the address %s; add it to a [vrrp.NAME] or say owner = \"none\" in [%s]", key.Addr.Addr(), s.node.path)
		}
		svc.Listen = append(svc.Listen, key)
	}
}

// listen reads "192.0.2.10:80/tcp".
func (r *report) listen(n *node) (ipvs.ServiceKey, bool) {
	text, ok := r.textOf(n)
	if !ok {
		return ipvs.ServiceKey{}, false
	}
	bad := func(format string, args ...any) (ipvs.ServiceKey, bool) {
		r.at(n, format, args...)
		return ipvs.ServiceKey{}, false
	}
	if strings.HasPrefix(text, "mark") || strings.HasPrefix(text, "fwmark") {
		return bad("services by firewall mark are not in this version")
	}
	address, proto, _ := strings.Cut(text, "/")
	addr, err := netip.ParseAddrPort(address)
	if err != nil || addr.Addr().Zone() != "" {
		return bad("want ADDRESS:PORT/tcp or ADDRESS:PORT/udp such as \"192.0.2.10:80/tcp\", got %q", text)
	}
	key := ipvs.ServiceKey{Addr: addr}
	switch proto {
	case "tcp":
		key.Protocol = ipvs.TCP
	case "udp":
		key.Protocol = ipvs.UDP
	case "sctp":
		return bad("SCTP is not in this version; want /tcp or /udp")
	case "":
		return bad("the protocol is missing: want %q or %q", address+"/tcp", address+"/udp")
	default:
		return bad("want the protocol tcp or udp, got %q", proto)
	}
	if why := notOneMachine(addr.Addr()); why != "" {
		return bad("%s %s", addr.Addr(), why)
	}
	if !addr.Addr().Is4() {
		return bad("IPv6 services are not in this version")
	}
	return key, true
}

// forwarding reads forward of a service, which has no default: the right one
// depends on how the servers are set up, and the wrong one is silence.
func (r *report) forwarding(s section, svc *Service) {
	if !s.missing("forward", "want \"dr\" (servers on the same segment that have the address on lo), \"nat\" (servers whose gateway is the director) or \"tun\" (servers that take IPIP)") {
		svc.Forward = r.method(s, 0)
	}
}

// method reads forward.
func (r *report) method(s section, def ipvs.Forward) ipvs.Forward {
	v, ok := s.text("forward")
	if !ok {
		return def
	}
	words := []string{"dr", "nat", "tun"}
	switch v {
	case "dr":
		return ipvs.DR
	case "nat":
		return ipvs.NAT
	case "tun":
		return ipvs.TUN
	case "fullnat":
		s.bad("forward", "fullnat is not in this version; want %s", oneOf(words))
	default:
		s.bad("forward", "want %s, got %q%s", oneOf(words), v, didYouMean(v, words))
	}
	return def
}

// servers reads check, require, server and sorry.
func (r *report) servers(s section, svc *Service) {
	checks := r.checks(s)
	svc.Require = healthcheck.RequireAll
	fewest := len(checks)
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
			fewest = min(fewest, len(server.Checks))
		}
		if !ok {
			continue
		}
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
	if len(items) == 0 && s.keys["sorry"] == nil {
		s.bad("server", "the service has no server; add [[%s]]", s.node.path.key("server"))
	}
	svc.Require = r.require(s, fewest)
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
	out := Server{
		Weight:  s.number("weight", 1, 0, ipvs.MaxWeight),
		Forward: r.method(s, svc.Forward),
	}
	if s.missing("address", "the real server's, such as \"192.0.2.21\" or \"192.0.2.21:8080\"") {
		return out, false
	}
	addr, ok := r.serverAddress(s.keys["address"])
	if !ok {
		return out, false
	}
	out.Address = addr
	r.reachable(s.keys["address"], svc, out)
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
	case !out.Addr().Is4():
		r.at(n, "IPv6 servers are not in this version")
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
		case l.Addr.Port() == 0 && at.Port() != 0:
			r.at(n, "%s stands for every port and keeps the client's; leave the server's port out", l.Addr)
		case (server.Forward == ipvs.DR || server.Forward == ipvs.TUN) && at.Port() != l.Addr.Port():
			r.at(n, "%s hands packets on as they are and cannot change port %d to %d; leave the port out or use forward = \"nat\"", server.Forward, l.Addr.Port(), at.Port())
		case at == l.Addr:
			r.at(n, "the server is the service itself")
		default:
			continue
		}
		return
	}
}

// probed makes sure that there is a port to probe.
func (r *report) probed(s section, svc *Service, server Server) {
	for _, c := range server.Checks {
		if c.Port != 0 || c.Kind == healthcheck.KindExec {
			continue
		}
		for _, l := range svc.Listen {
			if server.At(l).Port() == 0 {
				s.bad("address", "the service listens on every port, so its %s check needs a port", c.Kind)
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
		out := &Server{Address: addr, Weight: 1, Forward: svc.Forward}
		r.reachable(n, svc, *out)
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

// require reads require: how many of the checks.
func (r *report) require(s section, checks int) healthcheck.Require {
	n, ok := s.keys["require"]
	if !ok {
		return healthcheck.RequireAll
	}
	switch v := n.value.(type) {
	case string:
		switch v {
		case "all":
			return healthcheck.RequireAll
		case "any":
			return healthcheck.RequireAny
		}
	case int64:
		if checks == 0 {
			r.at(n, "a number of checks is required of servers that have none")
			return healthcheck.RequireAll
		}
		if v >= 1 && v <= int64(checks) {
			return healthcheck.Require(v)
		}
	}
	got := typeName(n.value)
	switch v := n.value.(type) {
	case string:
		got = strconv.Quote(v)
	case int64:
		got = strconv.FormatInt(v, 10)
	}
	r.at(n, "want \"all\", \"any\" or how many of the checks, 1 to %d, got %s", max(1, checks), got)
	return healthcheck.RequireAll
}
