package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/ipvs"
)

const (
	// defaultDoubt is long enough for another director to take over and for an
	// operator's alarm.
	defaultDoubt = time.Minute
	// defaultDoubtWeight lets any director take over that does not doubt itself.
	defaultDoubtWeight = -100
	maxSlowStart       = time.Hour
	// slowScale is by how much weights are multiplied so that a share can grow in
	// steps.
	slowScale = 100
	// maxQuorum is more than weights add up to.
	maxQuorum = 1 << 30
)

// health reads [health].
func (r *report) health(n *node) Health {
	out := Health{Doubt: defaultDoubt, DoubtWeight: defaultDoubtWeight}
	if n == nil {
		return out
	}
	s, ok := r.section(n, healthKeys())
	if !ok {
		return out
	}
	out.Doubt = s.duration("doubt", defaultDoubt, 0, time.Hour, 1)
	out.DoubtWeight = s.number("doubt_weight", defaultDoubtWeight, -maxWeight, 0)
	return out
}

// judgment reads how the servers of a service share its traffic.
func (r *report) judgment(s section, svc *Service) {
	rules := healthcheck.PoolRules{
		Quorum:     s.number("quorum", 1, 1, maxQuorum),
		Hysteresis: s.number("hysteresis", 0, 0, maxQuorum),
		Sorry:      svc.Sorry != nil,
		SlowStart:  s.duration("slow_start", 0, time.Second, maxSlowStart, 1),
		MaxDown:    s.number("max_down", 0, 1, 100),
		Panic:      s.number("panic", 0, 1, 100),
		MostWeight: ipvs.MaxWeight,
	}
	if rules.Hysteresis >= rules.Quorum {
		s.bad("hysteresis", "want less than the quorum of %d, or it could not be lost again", rules.Quorum)
	}
	most, sum := 1, 0
	for _, server := range svc.Servers {
		most = max(most, server.Weight)
		sum += server.Weight
	}
	if whole := len(svc.Servers) == len(s.list("server")); s.keys["quorum"] != nil && whole && len(svc.Servers) > 0 && sum < rules.Quorum+rules.Hysteresis {
		s.bad("quorum", "the weights of all servers add up to %d, so it could never be gained; want %d at most", sum, max(1, sum-rules.Hysteresis))
	}
	if rules.Sorry && rules.Panic > 0 {
		s.bad("panic", "contradicts sorry: one uses all servers when few are up, the other none")
	}
	if rules.SlowStart > 0 {
		rules.Scale = max(1, min(slowScale, ipvs.MaxWeight/most))
		if hashing := []string{"dh", "lblc", "lblcr", "mh", "sh"}; slices.Contains(hashing, svc.Scheduler) {
			s.bad("slow_start", "%s spreads clients by a hash that each step would change; leave it out or use another scheduler", svc.Scheduler)
		}
	}
	svc.Quiesces = r.quiesces(s, svc)
	svc.Respects = s.word("drift", "repair", "respect") == "respect"
	svc.Rules = rules
	svc.Initial = map[string]healthcheck.State{
		"probe": healthcheck.Unknown, "up": healthcheck.Up, "down": healthcheck.Down,
	}[s.word("initial", "probe", "up", "down")]
}

// quiesces reads on_fail. Servers that a hash points at stay, as a server that comes back
// has to be where it was, unless the scheduler would refuse the clients of those that are
// not taking any.
func (r *report) quiesces(s section, svc *Service) bool {
	refuses := svc.Scheduler == "sh" && svc.Flags&ipvs.Fallback == 0
	if s.keys["on_fail"] == nil {
		return ipvs.OrderMatters(svc.Scheduler) && !refuses
	}
	quiesces := s.word("on_fail", "removed", "quiesced") == "quiesced"
	if quiesces && refuses {
		s.bad("on_fail", "sh without the flag sh-fallback refuses the clients of a server of weight 0; add scheduler_flags = [\"sh-fallback\"] or want \"removed\"")
		return false
	}
	return quiesces
}

// follow gives the services that follow another one its checks. Each of their
// servers is judged by those of the server with the same address there, at the
// port that is probed there.
func (r *report) follow(sections []section, services []Service) {
	for i := range services {
		s, svc := sections[i], &services[i]
		n, ok := s.keys["follow"]
		if !ok {
			continue
		}
		name, ok := s.text("follow")
		if !ok {
			continue
		}
		var names []string
		for _, other := range services {
			names = append(names, other.Name)
		}
		at := slices.Index(names, name)
		switch {
		case at < 0:
			r.at(n, "there is no [service.%s]%s", name, didYouMean(name, names))
			continue
		case at == i:
			r.at(n, "a service cannot follow itself")
			continue
		case sections[at].keys["follow"] != nil:
			r.at(n, "%s follows another service itself; follow that one", name)
			continue
		case s.keys["check"] != nil:
			s.bad("check", "this service follows %s and has its checks; leave one of them out", name)
			continue
		}
		if s.keys["require"] != nil {
			s.bad("require", "this service follows %s and has its checks; leave this out", name)
		}
		for _, n := range s.list("server") {
			if t, _ := n.value.(table); t["check"] != nil {
				r.at(t["check"], "this service follows %s and has its checks; leave this out", name)
			}
		}
		svc.Follows, svc.Require = name, services[at].Require
		for j := range svc.Servers {
			checks, ok := followed(services[at], svc.Servers[j].Address.Addr())
			if !ok {
				r.at(n, "%s has no server %s", name, svc.Servers[j].Address.Addr())
				continue
			}
			through := slices.ContainsFunc(checks, func(c healthcheck.Check) bool { return c.Through })
			if mark := slices.IndexFunc(svc.Listen, func(l ipvs.ServiceKey) bool { return l.Mark != 0 }); through && mark >= 0 {
				r.at(n, "a check of %s goes through the service, and %s has no address to go to; give this service checks of its own", name, svc.Listen[mark])
				break
			}
			svc.Servers[j].Checks = checks
		}
	}
}

// followed are the checks of a server by its address, with the port that they
// probe.
func followed(svc Service, addr netip.Addr) ([]healthcheck.Check, bool) {
	i := slices.IndexFunc(svc.Servers, func(s Server) bool { return s.Address.Addr() == addr })
	if i < 0 || len(svc.Listen) == 0 {
		return nil, false
	}
	var out []healthcheck.Check
	for _, c := range svc.Servers[i].Checks {
		if k, _ := healthcheck.KindOf(c.Kind()); c.Port == 0 && k.Ports != healthcheck.NoPort {
			c.Port = svc.Servers[i].At(svc.Listen[0]).Port()
		}
		out = append(out, c)
	}
	return out, true
}

// damping reads damping of a check.
func (r *report) damping(s section) healthcheck.Damping {
	n, ok := s.keys["damping"]
	if !ok {
		return healthcheck.Damping{}
	}
	d, ok := r.section(n, dampingKeys())
	if !ok {
		return healthcheck.Damping{}
	}
	return healthcheck.Damping{
		Changes: d.number("changes", 3, 1, 10),
		Within:  d.duration("within", 10*time.Minute, time.Second, 24*time.Hour, 1),
		Hold:    d.duration("hold", 5*time.Minute, time.Second, 24*time.Hour, 1),
	}
}

// validUser reports whether a name can be a user's.
func validUser(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' })
}
