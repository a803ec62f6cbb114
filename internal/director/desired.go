package director

import (
	"net/netip"
	"slices"
	"strconv"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// inUse answers whether the kernel has a server of a service as it is wanted of one that is
// up: with traffic, or without any if weight, the file's, or an operator asks for that.
type inUse func(service ipvs.ServiceKey, server netip.AddrPort, weight int) bool

// target is a server as the destination of one listen, under one of its checks.
func target(server config.Server, listen ipvs.ServiceKey, check healthcheck.Check) healthcheck.Target {
	vip := listen.Addr.Addr().String()
	if listen.Mark != 0 {
		vip = strconv.FormatUint(uint64(listen.Mark), 10)
	}
	return healthcheck.Target{Server: server.At(listen), Check: check.For(vip, listen.Addr.Port())}
}

// targets are what must be probed. A target whose server is in use by the
// kernel starts up, so that taking over a working table cuts nobody off, and neither
// those who are left on a server that drains; others start as their service says.
func targets(cfg *config.Config, st steering, used inUse) []healthcheck.Want {
	var want []healthcheck.Want
	for _, s := range cfg.Services {
		want = append(want, targetsOf(s, st, used)...)
	}
	return want
}

// targetsOf are those of one service.
func targetsOf(s config.Service, st steering, used inUse) (want []healthcheck.Want) {
	for _, listen := range s.Listen {
		for _, server := range s.Servers {
			initial := s.Initial
			if used(listen, server.At(listen), server.Weight) {
				initial = healthcheck.Up
			}
			for _, check := range server.Checks {
				want = append(want, healthcheck.Want{
					Target:  st.target(server, listen, check),
					Initial: initial,
				})
			}
		}
	}
	return want
}

// sameTargets reports whether two files have the same to be probed. It looks only at the
// services that were read anew, and says no rather than look closely.
func sameTargets(cfg *config.Config, st steering, next *config.Config, to steering) bool {
	if len(cfg.Services) != len(next.Services) || len(st.marks) > 0 || len(to.marks) > 0 {
		return false
	}
	if len(cfg.Services) > 0 && &cfg.Services[0] == &next.Services[0] {
		return true
	}
	unused := func(ipvs.ServiceKey, netip.AddrPort, int) bool { return false }
	for i, s := range cfg.Services {
		if o := next.Services[i]; !s.Same(o) && !slices.EqualFunc(targetsOf(s, st, unused), targetsOf(o, to, unused), sameTarget) {
			return false
		}
	}
	return true
}

func sameTarget(a, b healthcheck.Want) bool { return a.Target.Canonical() == b.Target.Canonical() }

// usedBy answers from a table, and from what operators asked for, which servers are in use.
func usedBy(table []ipvs.Service, kept map[serverKey]keptServer) inUse {
	weights := make(map[serverKey]int)
	for _, s := range table {
		for _, d := range s.Destinations {
			weights[serverKey{s.Key, d.Addr}] = d.Weight
		}
	}
	return func(service ipvs.ServiceKey, server netip.AddrPort, weight int) bool {
		key := serverKey{service, server}
		has, there := weights[key]
		return there && (has > 0 || kept[key].weight(weight) == 0)
	}
}
