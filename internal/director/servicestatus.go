package director

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// shown bounds how many warnings about servers of one service are problems.
const shown = 5

// standing is how the services stood at one look. It is taken under the director's lock in
// little time, and shown without it.
type standing struct {
	cfg     *config.Config
	doubted healthcheck.Doubted
	rows    []rowStanding
	// from is where the rows of each service of the file begin.
	from []int
	// gone is what operators asked for of servers that have left the file.
	gone []string
}

// rowStanding is that of one listen of a service.
type rowStanding struct {
	listen   ipvs.ServiceKey
	servers  []judgedServer
	members  []healthcheck.Member
	outcome  healthcheck.Outcome
	warnings []string
	through  bool
}

// stand is how the services stand now.
func (j *judging) stand() standing {
	out := standing{cfg: j.cfg, doubted: j.doubted, rows: make([]rowStanding, len(j.rows)), gone: j.goneProblems()}
	if out.cfg == nil {
		out.cfg = &config.Config{} // before the file is applied
	}
	n := 0
	for _, row := range j.rows {
		n += len(row.members)
	}
	members := make([]healthcheck.Member, 0, n) // the next look writes over the rows' own
	for i, row := range j.rows {
		first := len(members)
		members = append(members, row.members...)
		out.rows[i] = rowStanding{row.listen, row.servers, members[first:len(members):len(members)], row.outcome, row.warnings, row.through}
	}
	n = 0
	out.from = make([]int, 0, len(out.cfg.Services)+1)
	for _, s := range out.cfg.Services {
		out.from = append(out.from, n)
		n += len(s.Listen)
	}
	out.from = append(out.from, n)
	return out
}

// of are the rows of a service by its place in the file.
func (s standing) of(service int) []rowStanding { return s.rows[s.from[service]:s.from[service+1]] }

// stand is how the services stand now.
func (d *Director) stand() standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.judging.stand()
}

// problems are what is the matter with a service, each once.
func (s standing) problems(service int) (out []string) {
	name := s.cfg.Services[service].Name
	told := make(map[string]bool)
	for _, row := range s.of(service) {
		for i := -1; i < len(row.warnings); i++ {
			text := row.outcome.Why
			if i >= 0 {
				text = row.warnings[i]
			}
			if text == "" || told[text] {
				continue
			}
			told[text] = true
			if len(told) <= shown {
				out = append(out, fmt.Sprintf("service %s: %s", name, text))
			}
		}
	}
	if n := len(told); n > shown {
		out = append(out, fmt.Sprintf("service %s: and %d more of its kind", name, n-shown))
	}
	return out
}

// shownService is a service with what its servers were made of, in their order.
type shownService struct {
	control.Service
	from []shownFrom
}

// shownFrom is a server as the destination of a listen.
type shownFrom struct {
	server *judgedServer
	listen ipvs.ServiceKey
}

// serviceStatus shows one service.
func serviceStatus(s config.Service, rows []rowStanding, known func(healthcheck.Target) (healthcheck.Status, bool)) shownService {
	out := shownService{Service: control.Service{
		Name: s.Name, Scheduler: s.Scheduler, SchedulerFlags: s.Flags.Names(s.Scheduler), OnePacket: s.OnePacket,
		Forward: s.Method(), State: "down", Servers: []control.Server{},
		Quorum: true, Follows: s.Follows, Require: s.Require.String(),
		QuorumWeight: max(s.Rules.Quorum, 1), Hysteresis: s.Rules.Hysteresis, Scale: 1,
	}}
	for _, c := range s.Covers {
		out.Covers = append(out.Covers, c.String())
	}
	var n counted
	if len(rows) > 0 {
		most := len(rows[0].servers)
		out.Servers, out.from, out.Listen = make([]control.Server, 0, most), make([]shownFrom, 0, most), make([]string, 0, len(rows))
	}
	var seen map[netip.AddrPort]bool
	if len(rows) > 1 {
		seen = make(map[netip.AddrPort]bool) // within a row no server is there twice
	}
	for k, row := range rows {
		out.Listen = append(out.Listen, row.listen.String())
		if k == 0 || row.outcome.Sum < out.WeightUp {
			out.WeightUp = row.outcome.Sum // the row that is worse off decides
		}
		out.Quorum = out.Quorum && row.outcome.Quorum
		// Rows differ where a check of only one address advises a large weight.
		out.Scale = max(out.Scale, row.outcome.Scale)
		for i := range row.servers {
			server := &row.servers[i]
			if seen[server.at] || i >= len(row.outcome.Shares) {
				continue
			}
			if seen != nil {
				seen[server.at] = true
			}
			shows := serverStatus(s, server, row.members[i], row.outcome.Shares[i], known)
			n.add(row.members[i], row.outcome.Shares[i])
			out.Servers = append(out.Servers, shows)
			out.from = append(out.from, shownFrom{server, row.listen})
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
func serverStatus(svc config.Service, server *judgedServer, m healthcheck.Member, share healthcheck.Share, known func(healthcheck.Target) (healthcheck.Status, bool)) control.Server {
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

// count adds the kernel's counts of the service and each server, over all listens. The
// table is sorted.
func (s *shownService) count(service config.Service, table []ipvs.Service) {
	type counts struct {
		active, inactive, templates int
		traffic                     ipvs.Traffic
		found                       bool
	}
	add := func(n *counts, d ipvs.Destination) {
		*n = counts{n.active + d.Active, n.inactive + d.Inactive, n.templates + d.Templates, n.traffic.Plus(d.Traffic), true}
	}
	show := func(to *control.Server, n *counts) {
		if n.found {
			to.Active, to.Inactive, to.Templates = n.active, n.inactive, n.templates
			to.Traffic = (*control.Traffic)(&n.traffic)
		}
	}
	var whole ipvs.Traffic
	var sorry counts
	var sorryAt netip.AddrPort
	if service.Sorry != nil && len(service.Listen) > 0 {
		sorryAt = service.Sorry.At(service.Listen[0])
	}
	found := false
	servers, place := make([]counts, len(s.from)), s.places()
	for _, listen := range service.Listen {
		// Without copying services, which are large.
		i := sort.Search(len(table), func(i int) bool { return table[i].Key.Compare(listen) >= 0 })
		if i == len(table) || table[i].Key != listen {
			continue
		}
		whole, found = whole.Plus(table[i].Traffic), true
		for _, d := range table[i].Destinations {
			if k := place(d.Addr); k >= 0 {
				add(&servers[k], d)
			}
			if d.Addr == sorryAt {
				add(&sorry, d)
			}
		}
	}
	for k := range servers {
		show(&s.Servers[k], &servers[k])
	}
	if s.Sorry != nil {
		show(s.Sorry, &sorry)
	}
	if found {
		s.Traffic = (*control.Traffic)(&whole)
	}
}

// places answers where a server is among those that are shown; -1 is nowhere.
func (s *shownService) places() func(netip.AddrPort) int {
	const few = 16
	if len(s.from) <= few {
		return func(at netip.AddrPort) int {
			return slices.IndexFunc(s.from, func(f shownFrom) bool { return f.server.at == at })
		}
	}
	places := make(map[netip.AddrPort]int, len(s.from))
	for i, f := range s.from {
		places[f.server.at] = i
	}
	return func(at netip.AddrPort) int {
		if i, is := places[at]; is {
			return i
		}
		return -1
	}
}

// showService shows one service with all that is known of it.
func (d *Director) showService(s config.Service, rows []rowStanding, table []ipvs.Service) shownService {
	out := serviceStatus(s, rows, d.monitor.Status)
	out.count(s, table)
	d.addViews(s, &out)
	return out
}
