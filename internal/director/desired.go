package director

import (
	"net/netip"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// verdicts answers what is known of a target.
type verdicts func(healthcheck.Target) healthcheck.Verdict

// inUse answers whether a server of a service gets traffic from the kernel.
type inUse func(ipvs.ServiceKey, netip.AddrPort) bool

// judge is the verdict about a server as the destination of one listen. A
// server without checks is up.
func judge(s config.Service, server config.Server, listen ipvs.ServiceKey, st steering, known verdicts) healthcheck.Verdict {
	all := make([]healthcheck.Verdict, len(server.Checks))
	for i, check := range server.Checks {
		all[i] = known(st.target(server, listen, check))
	}
	return s.Require.Combine(all)
}

// desired is the IPVS table that the file and the servers' health ask for. It
// does not depend on any role: every director keeps the whole table. A server
// gets traffic once it is known to be up; the sorry server when none is. What
// checks need to get through their services comes last.
func desired(cfg *config.Config, st steering, known verdicts) []ipvs.Service {
	var table []ipvs.Service
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			service := ipvs.Service{
				Key: listen, Scheduler: s.Scheduler, Persistence: s.Persistence, PersistenceMask: s.PersistenceMask,
			}
			for _, server := range s.Servers {
				if judge(s, server, listen, st, known).State == healthcheck.Up {
					service.Destinations = append(service.Destinations, destination(server, listen))
				}
			}
			if len(service.Destinations) == 0 && s.Sorry != nil {
				service.Destinations = []ipvs.Destination{destination(*s.Sorry, listen)}
			}
			table = append(table, service)
		}
	}
	return append(table, st.services()...)
}

func destination(server config.Server, listen ipvs.ServiceKey) ipvs.Destination {
	return ipvs.Destination{Addr: server.At(listen), Forward: server.Forward, Weight: server.Weight}
}

// targets are what must be probed. A target whose server is in use by the
// kernel starts up, so that taking over a working table cuts nobody off.
func targets(cfg *config.Config, st steering, used inUse) []healthcheck.Want {
	var want []healthcheck.Want
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			for _, server := range s.Servers {
				initial := healthcheck.Unknown
				if used(listen, server.At(listen)) {
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
	}
	return want
}

// usedBy answers from a table which servers get traffic.
func usedBy(table []ipvs.Service) inUse {
	type row struct {
		service ipvs.ServiceKey
		server  netip.AddrPort
	}
	used := make(map[row]bool)
	for _, s := range table {
		for _, d := range s.Destinations {
			used[row{s.Key, d.Addr}] = d.Weight > 0
		}
	}
	return func(service ipvs.ServiceKey, server netip.AddrPort) bool { return used[row{service, server}] }
}
