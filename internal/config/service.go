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
	owned := make(map[netip.Addr]router)
	for _, rt := range routers {
		for _, a := range slices.Concat(rt.Addresses, rt.Excluded) {
			owned[a.Prefix.Addr()] = rt
		}
	}
	var out []Service
	sections := make(map[string]section)
	listens := newClaims()
	for _, c := range r.named(n, "virtual service") {
		s, ok := r.section(c.node, serviceKeys())
		if !ok {
			continue
		}
		svc := Service{Name: c.name}
		r.listens(s, &svc, owned, listens)
		r.pace(s, &svc)
		r.options(s, &svc)
		r.forwarding(s, &svc)
		r.engine(s, &svc)
		r.servers(s, &svc)
		r.handedRound(s, &svc, owned)
		r.helper(s, &svc)
		r.judgment(s, &svc)
		out = append(out, svc)
		sections[svc.Name] = s
	}
	slices.SortFunc(out, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	inOrder := make([]section, len(out))
	for i, svc := range out {
		inOrder[i] = sections[svc.Name]
	}
	r.follow(inOrder, out)
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
	bits := 128
	for _, l := range svc.Listen {
		bits = min(bits, l.Addr.Addr().BitLen())
	}
	mask := s.number("persistence_mask", 0, 1, bits)
	if svc.Persistence > 0 {
		svc.PersistenceMask = uint8(mask)
	} else if s.keys["persistence_mask"] != nil && s.keys["persistence"] == nil {
		s.bad("persistence_mask", "groups clients for persistence, which this service does not have")
	}
}

// forwarding reads forward of a service, which has no default: the right one
// depends on how the servers are set up, and the wrong one is silence.
func (r *report) forwarding(s section, svc *Service) {
	if !s.missing("forward", "want \"dr\" (servers on the same segment that have the address on lo), \"nat\" (servers whose gateway is the director), \"tun\" (servers that take IPIP), \"fullnat\" (servers that need no way back) or \"local\" (the directors themselves)") {
		svc.Forward, svc.FullNAT = r.method(s, 0, false)
	}
	r.reading.snat = r.snat(s, sources{})
	svc.Tunnel = r.tunnelOf(s)
}

// method reads forward.
func (r *report) method(s section, def ipvs.Forward, fullnat bool) (ipvs.Forward, bool) {
	v, ok := s.text("forward")
	if !ok {
		return def, fullnat
	}
	words := []string{"dr", "nat", "tun", "fullnat", "local"}
	switch v {
	case "dr":
		return ipvs.DR, false
	case "nat":
		return ipvs.NAT, false
	case "tun":
		return ipvs.TUN, false
	case "fullnat":
		return ipvs.NAT, true
	case "local":
		return ipvs.Local, false
	default:
		s.bad("forward", "want %s, got %q%s", oneOf(words), v, didYouMean(v, words))
	}
	return def, fullnat
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
