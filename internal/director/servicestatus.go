package director

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// shown bounds how many warnings about servers of one service are problems.
const shown = 5

// status shows the services, with one row for each address of a server, and what is
// the matter with them.
func (j *judging) status(known func(healthcheck.Target) (healthcheck.Status, bool)) (out []control.Service, problems []string) {
	if j.doubted.Now {
		problems = append(problems, j.doubted.Why)
	}
	if j.cfg == nil {
		return nil, problems
	}
	for _, s := range j.cfg.Services {
		rows := j.of(s.Name)
		shows := serviceStatus(s, rows, known)
		out = append(out, shows)
		warnings := make(map[string]bool)
		told := slices.ContainsFunc(rows, func(row *judgedRow) bool { return row.outcome.Why != "" })
		if p := stateProblem(s, shows, told); p != "" {
			problems = append(problems, p)
		}
		for _, row := range rows {
			if row.outcome.Why != "" {
				warnings[row.outcome.Why] = true
			}
			for _, w := range row.warnings {
				warnings[w] = true
			}
		}
		n := 0
		for _, row := range rows {
			for _, w := range append([]string{row.outcome.Why}, row.warnings...) {
				if !warnings[w] {
					continue
				}
				delete(warnings, w)
				if n++; n <= shown {
					problems = append(problems, fmt.Sprintf("service %s: %s", s.Name, w))
				}
			}
		}
		if n > shown {
			problems = append(problems, fmt.Sprintf("service %s: and %d more of its kind", s.Name, n-shown))
		}
	}
	return out, append(problems, j.goneProblems()...)
}

// serviceStatus shows one service.
func serviceStatus(s config.Service, rows []*judgedRow, known func(healthcheck.Target) (healthcheck.Status, bool)) control.Service {
	out := control.Service{
		Name: s.Name, Scheduler: s.Scheduler, SchedulerFlags: s.Flags.Names(s.Scheduler), OnePacket: s.OnePacket,
		Forward: s.Method(), State: "down", Servers: []control.Server{},
		Quorum: true, Follows: s.Follows, Require: s.Require.String(),
		QuorumWeight: max(s.Rules.Quorum, 1), Hysteresis: s.Rules.Hysteresis, Scale: 1,
	}
	for _, c := range s.Covers {
		out.Covers = append(out.Covers, c.String())
	}
	var n counted
	seen := make(map[netip.AddrPort]bool)
	for k, row := range rows {
		out.Listen = append(out.Listen, row.listen.String())
		if k == 0 || row.outcome.Sum < out.WeightUp {
			out.WeightUp = row.outcome.Sum // the row that is worse off decides
		}
		out.Quorum = out.Quorum && row.outcome.Quorum
		// Rows differ where a check of only one address advises a large weight.
		out.Scale = max(out.Scale, row.outcome.Scale)
		for i, server := range row.servers {
			if seen[server.at] || i >= len(row.outcome.Shares) {
				continue
			}
			seen[server.at] = true
			shows := serverStatus(s, server, row.members[i], row.outcome.Shares[i], known)
			n.add(row.members[i], row.outcome.Shares[i])
			out.Servers = append(out.Servers, shows)
		}
	}
	out.State, out.Reason = serviceState(s, rows, n)
	out.Serving = n.serving
	if s.Sorry != nil && len(s.Listen) > 0 {
		sorry := control.Server{
			Address: s.Sorry.At(s.Listen[0]).String(), Weight: s.Sorry.Weight, State: "standby", Reason: "there is a quorum",
			UpperThreshold: s.Sorry.UpperThreshold, LowerThreshold: s.Sorry.LowerThreshold, Tunnel: tunnelStatus(*s.Sorry), Forward: s.Sorry.Method(),
		}
		if out.State == "sorry" {
			sorry.State, sorry.Reason = "in use", out.Reason
			sorry.Share = sorryWeight(s, out.Scale)
		}
		out.Sorry = &sorry
	}
	return out
}

// serverStatus shows one server.
func serverStatus(svc config.Service, server judgedServer, m healthcheck.Member, share healthcheck.Share, known func(healthcheck.Target) (healthcheck.Status, bool)) control.Server {
	out := control.Server{
		Address: server.at.String(), Weight: server.Weight, State: m.State.String(), Since: m.Since, Reason: m.Reason,
		Used: share.Used, Checks: []control.Check{},
	}
	out.UpperThreshold, out.LowerThreshold = server.UpperThreshold, server.LowerThreshold
	out.Tunnel = tunnelStatus(server.Server)
	out.Forward = server.Method()
	if server.FullNAT {
		out.Source = packetfilter.Pool(server.Source).String()
	}
	if share.Used {
		out.Share = share.Weight
	}
	switch share.Admin {
	case healthcheck.Drain:
		out.State = "draining"
	case healthcheck.Maint:
		out.State = "disabled"
	}
	verdicts, whole := make([]healthcheck.Verdict, 0, len(server.targets)), true
	unknown := ""
	for _, t := range server.targets {
		s, ok := known(t)
		if whole = whole && ok; !ok {
			continue
		}
		out.Checks = append(out.Checks, checkStatus(s))
		verdicts = append(verdicts, s.Verdict)
		if s.State == healthcheck.Unknown && unknown == "" {
			unknown = s.Reason
		}
	}
	// The reasons may have become others since the last look.
	if now := svc.Require.Combine(verdicts, server.weights...); whole && now.State == m.State && server.leaving == nil {
		out.Reason = now.Reason
		if now.State == healthcheck.Unknown && unknown != "" {
			out.Reason = unknown
		}
	}
	if len(server.targets) == 0 && server.leaving == nil {
		out.Reason = "no check: always up"
	}
	if share.Why != "" {
		out.Reason = share.Why + "; " + out.Reason
	}
	return out
}

// tunnelStatus is how packets to a server are wrapped, where they are.
func tunnelStatus(s config.Server) string {
	if s.Forward != ipvs.TUN {
		return ""
	}
	return s.Tunnel.String()
}

func checkStatus(s healthcheck.Status) control.Check {
	out := control.Check{
		Check: s.Target.String(), State: s.State.String(), Since: s.Since, Reason: s.Reason, Streak: s.Streak,
		Interval: s.Target.Check.Interval.String(), Timeout: s.Target.Check.Timeout.String(), Rise: s.Target.Check.Rise, Fall: s.Target.Check.Fall,
		Advice: s.Advice.String(), Warning: s.Last.Warning, History: []control.Transition{}, Latency: []control.Bucket{},
		Probes: s.Counters.Probes, Failures: s.Counters.Failures, Inconclusive: s.Counters.Inconclusive, Late: s.Counters.Late, Panics: s.Counters.Panics,
	}
	if !s.Last.Start.IsZero() {
		out.Last = &control.Probe{
			Time: s.Last.Start, Latency: s.Last.Latency.Round(time.Microsecond).String(), OK: s.Last.OK, Reason: s.Last.Reason,
		}
	}
	for _, b := range s.Latency.Buckets() {
		upTo := "inf"
		if b.UpTo > 0 {
			upTo = b.UpTo.String()
		}
		out.Latency = append(out.Latency, control.Bucket{UpTo: upTo, Count: b.Count})
	}
	for _, h := range s.History {
		out.History = append(out.History, control.Transition{Time: h.Time, From: h.From.String(), To: h.To.String(), Reason: h.Reason})
	}
	return out
}

// countConnections adds the kernel's counts of each service and server, over all listens
// of the service.
func countConnections(shows []control.Service, services []config.Service, table []ipvs.Service) {
	type counts struct {
		active, inactive, templates int
		traffic                     ipvs.Traffic
	}
	for i := range shows {
		servers := make(map[string]counts)
		var whole ipvs.Traffic
		found := false
		for _, row := range table {
			if !slices.Contains(services[i].Listen, row.Key) {
				continue
			}
			whole, found = whole.Plus(row.Traffic), true
			for _, d := range row.Destinations {
				n := servers[d.Addr.String()]
				servers[d.Addr.String()] = counts{n.active + d.Active, n.inactive + d.Inactive, n.templates + d.Templates, n.traffic.Plus(d.Traffic)}
			}
		}
		count := func(s *control.Server) {
			if n, ok := servers[s.Address]; ok {
				s.Active, s.Inactive, s.Templates = n.active, n.inactive, n.templates
				s.Traffic = (*control.Traffic)(&n.traffic)
			}
		}
		for k := range shows[i].Servers {
			count(&shows[i].Servers[k])
		}
		if shows[i].Sorry != nil {
			count(shows[i].Sorry)
		}
		if found {
			shows[i].Traffic = (*control.Traffic)(&whole)
		}
	}
}
