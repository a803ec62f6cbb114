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
	words    string
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
		out.rows[i] = rowStanding{row.listen, row.words, row.servers, members[first:len(members):len(members)], row.outcome, row.warnings, row.through}
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
	var told map[string]bool
	for _, row := range s.of(service) {
		for i := -1; i < len(row.warnings); i++ {
			text := row.outcome.Why
			if i >= 0 {
				text = row.warnings[i]
			}
			if text == "" || told[text] {
				continue
			}
			if told == nil {
				told = make(map[string]bool)
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
func serviceStatus(s *config.Service, rows []rowStanding, known func(healthcheck.Target) (healthcheck.Status, bool)) shownService {
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
	for k := range rows {
		row := &rows[k]
		out.Listen = append(out.Listen, row.words)
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
			shows := serverStatus(s.Require, server, &row.members[i], row.outcome.Shares[i], known)
			n.add(&row.members[i], row.outcome.Shares[i])
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
			sorry.Share = sorryWeight(*s, out.Scale)
		}
		out.Sorry = &sorry
	}
	return out
}

// serverStatus shows one server.
func serverStatus(require healthcheck.Require, server *judgedServer, m *healthcheck.Member, share healthcheck.Share, known func(healthcheck.Target) (healthcheck.Status, bool)) control.Server {
	out := control.Server{
		Address: server.shows.address, Weight: server.Weight, State: m.State.String(), Since: m.Since, Reason: m.Reason,
		Used: share.Used, Checks: make([]control.Check, 0, len(server.targets)),
		Tunnel: server.shows.tunnel, Forward: server.shows.forward, Source: server.shows.source,
	}
	out.UpperThreshold, out.LowerThreshold = server.UpperThreshold, server.LowerThreshold
	if share.Used {
		out.Share = share.Weight
	}
	switch share.Admin {
	case healthcheck.Drain:
		out.State = "draining"
	case healthcheck.Maint:
		out.State = "disabled"
	}
	verdicts, whole := make([]healthcheck.Verdict, 0, 4), true
	unknown := ""
	for i, t := range server.targets {
		s, ok := known(t)
		if whole = whole && ok; !ok {
			continue
		}
		out.Checks = append(out.Checks, checkStatus(&s, &server.shows.checks[i]))
		verdicts = append(verdicts, s.Verdict)
		if s.State == healthcheck.Unknown && unknown == "" {
			unknown = s.Reason
		}
	}
	// The reasons may have become others since the last look.
	if now := require.Combine(verdicts, server.weights...); whole && now.State == m.State && server.leaving == nil {
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

// serverWords is what of a server status shows in the same words until the file changes.
type serverWords struct {
	address, forward, source, tunnel string
	checks                           []checkWords
	// views are what other directors see of it; the channel's lock guards what it points
	// to. A server without checks has none.
	views *shownViews
}

// shownViews are what was made of all that others had told by then (see comparison.told).
type shownViews struct {
	told  uint64
	views map[string]control.ServerView
}

// checkWords is the same of one of its checks; id is its name between directors.
type checkWords struct {
	name, id, interval, timeout string
}

// wordsOf are those of a server as the destination of a listen, at an address there.
func wordsOf(server config.Server, listen ipvs.ServiceKey, at netip.AddrPort, targets []healthcheck.Target) serverWords {
	out := serverWords{address: at.String(), forward: server.Method(), tunnel: tunnelStatus(server)}
	if server.FullNAT {
		out.source = packetfilter.Pool(server.Source).String()
	}
	if len(targets) > 0 {
		out.checks, out.views = make([]checkWords, len(targets)), new(shownViews)
	}
	for i, t := range targets {
		t = t.Canonical()
		words := checkWords{name: t.String(), id: targetID(target(server, listen, server.Checks[i]))}
		if words.id == words.name {
			words.id = words.name // one text is kept of both
		}
		words.interval, words.timeout = t.Check.Interval.String(), t.Check.Timeout.String()
		out.checks[i] = words
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

func checkStatus(s *healthcheck.Status, words *checkWords) control.Check {
	out := control.Check{
		Check: words.name, State: s.State.String(), Since: s.Since, Reason: s.Reason, Streak: s.Streak,
		Interval: words.interval, Timeout: words.timeout, Rise: s.Target.Check.Rise, Fall: s.Target.Check.Fall,
		Advice: s.Advice.String(), Warning: s.Last.Warning, History: make([]control.Transition, 0, len(s.History)), Latency: []control.Bucket{},
		Probes: s.Counters.Probes, Failures: s.Counters.Failures, Inconclusive: s.Counters.Inconclusive, Late: s.Counters.Late, Panics: s.Counters.Panics,
	}
	if !s.Last.Start.IsZero() {
		out.Last = &control.Probe{
			Time: s.Last.Start, Latency: s.Last.Latency.Round(time.Microsecond).String(), OK: s.Last.OK, Reason: s.Last.Reason,
		}
	}
	buckets := s.Latency.Buckets()
	if len(buckets) > 0 {
		out.Latency = make([]control.Bucket, 0, len(buckets))
	}
	for _, b := range buckets {
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

// kernelCounts are the kernel's table, sorted, with the places of services in it by key; nil
// where only few are asked for.
type kernelCounts struct {
	table []ipvs.Service
	at    map[ipvs.ServiceKey]int
}

// index makes a table ready for all of its services.
func index(table []ipvs.Service) kernelCounts {
	c := kernelCounts{table: table, at: make(map[ipvs.ServiceKey]int, len(table))}
	for i := range table {
		c.at[table[i].Key] = i
	}
	return c
}

// of is what the kernel has of a listen; nil is nothing.
func (c kernelCounts) of(listen ipvs.ServiceKey) *ipvs.Service {
	if c.at != nil {
		if i, there := c.at[listen]; there {
			return &c.table[i]
		}
		return nil
	}
	// Without copying services, which are large.
	i := sort.Search(len(c.table), func(i int) bool { return c.table[i].Key.Compare(listen) >= 0 })
	if i == len(c.table) || c.table[i].Key != listen {
		return nil
	}
	return &c.table[i]
}

// count adds the kernel's counts of the service and each server, over all listens.
func (s *shownService) count(service *config.Service, kernel kernelCounts) {
	type counts struct {
		active, inactive, templates int
		traffic                     ipvs.Traffic
		found                       bool
	}
	add := func(n *counts, d *ipvs.Destination) {
		*n = counts{n.active + d.Active, n.inactive + d.Inactive, n.templates + d.Templates, n.traffic.Plus(d.Traffic), true}
	}
	show := func(to *control.Server, n *counts) {
		if n.found {
			to.Active, to.Inactive, to.Templates = n.active, n.inactive, n.templates
			to.Traffic = (*control.Traffic)(&n.traffic)
		}
	}
	var whole *ipvs.Traffic
	var sorry *counts
	var sorryAt netip.AddrPort
	if service.Sorry != nil && len(service.Listen) > 0 {
		sorryAt, sorry = service.Sorry.At(service.Listen[0]), new(counts)
	}
	servers, place := make([]counts, len(s.from)), s.places()
	for _, listen := range service.Listen {
		has := kernel.of(listen)
		if has == nil {
			continue
		}
		if whole == nil {
			whole = new(ipvs.Traffic)
		}
		*whole = whole.Plus(has.Traffic)
		for i := range has.Destinations {
			d := &has.Destinations[i]
			if k := place(d.Addr); k >= 0 {
				add(&servers[k], d)
			}
			if sorry != nil && d.Addr == sorryAt {
				add(sorry, d)
			}
		}
	}
	for k := range servers {
		show(&s.Servers[k], &servers[k])
	}
	if s.Sorry != nil && sorry != nil {
		show(s.Sorry, sorry)
	}
	s.Traffic = (*control.Traffic)(whole)
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
func (d *Director) showService(s *config.Service, rows []rowStanding, kernel kernelCounts) shownService {
	out := serviceStatus(s, rows, d.monitor.Status)
	out.count(s, kernel)
	d.addViews(s, &out)
	return out
}
