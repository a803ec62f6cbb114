package director

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// judgments answers what is known of targets, in their order.
type judgments func([]healthcheck.Target) []healthcheck.Judgment

// opinions answers what other directors know of hosts, each with the names of the
// targets that tell of it.
type opinions func(hosts [][]string) []healthcheck.Opinion

// judging decides who gets the traffic of each service. It does not depend on any
// role: every director keeps the whole table. It knows the time only as it is told.
type judging struct {
	cfg *config.Config
	// rows are in the order of the file: those of a service, one for each of its listens,
	// are together, from where first says. at are the same by listen.
	rows  []*judgedRow
	first map[string]int
	at    map[ipvs.ServiceKey]*judgedRow
	// steers says that there are checks through services, whose marks another file may
	// have changed.
	steers bool
	// hosts is the evidence about each server host, of the last look.
	hosts []healthcheck.Evidence
	// kept is what operators asked for of servers.
	kept map[serverKey]keptServer
	// doubt is whether this director doubts itself.
	doubt   healthcheck.Doubt
	doubted healthcheck.Doubted
}

// judgedRow is a service as the kernel has it: one listen with its pool.
type judgedRow struct {
	service config.Service
	listen  ipvs.ServiceKey
	// servers do not change, and hosts are the places of theirs among the hosts.
	servers []judgedServer
	hosts   []int
	// targets are those of all servers, in their order.
	targets []healthcheck.Target
	pool    healthcheck.Pool
	// members and outcome are those of the last look.
	members []healthcheck.Member
	outcome healthcheck.Outcome
	// warnings are what will be the matter with servers some day, without doubles.
	warnings []string
	// words are the listen as status shows it.
	words string
	// through says that some of the targets are reached through the service.
	through bool
	// wait is how long the first verdicts of servers may take that the file has brought,
	// from the next look on, and until what time that lasts.
	wait  time.Duration
	until time.Time
	// places are those of many servers among them, made when they are first asked for.
	places map[netip.AddrPort]int
}

// judgedServer is a server as the destination of one listen.
type judgedServer struct {
	config.Server
	at      netip.AddrPort
	targets []healthcheck.Target
	weights []int
	// telling is which of its checks say something about its host.
	telling []bool
	// window is the longest time in which its checks find a death or a recovery.
	window time.Duration
	// shows is how status shows it.
	shows serverWords
	// leaving says that the file does not have it; nil where it does.
	leaving *leavingServer
}

// set takes a file over. Pools of services that stay keep what they know.
func (j *judging) set(cfg *config.Config, st steering) {
	if j.has(cfg) {
		j.cfg = cfg
		for _, row := range j.rows {
			row.outcome.Changed = false
		}
		return
	}
	old := make(map[ipvs.ServiceKey]*judgedRow, len(j.rows))
	for _, row := range j.rows {
		old[row.listen] = row
	}
	j.cfg, j.rows, j.hosts, j.steers = cfg, nil, nil, false
	j.first = make(map[string]int, len(cfg.Services))
	j.at = make(map[ipvs.ServiceKey]*judgedRow, len(old))
	hosts := make(map[netip.Addr]int)
	for _, s := range cfg.Services {
		j.first[s.Name] = len(j.rows)
		for _, listen := range s.Listen {
			was := old[listen]
			row := was
			if was == nil || was.through || !was.service.Same(s) {
				row = newRow(s, listen, st, was)
			}
			row.outcome.Changed = false
			row.hosts = make([]int, len(row.servers))
			for i := range row.servers {
				server := &row.servers[i]
				if server.leaving != nil {
					continue
				}
				host, seen := hosts[server.at.Addr()]
				if !seen {
					host = len(j.hosts)
					hosts[server.at.Addr()] = host
					j.hosts = append(j.hosts, healthcheck.Evidence{Host: server.at.Addr()})
				}
				row.hosts[i] = host
				j.hosts[host].Window = max(j.hosts[host].Window, server.window)
			}
			j.rows, j.steers = append(j.rows, row), j.steers || row.through
			j.at[listen] = row
		}
	}
}

// has reports whether the rows certainly are those of a file already: where its services
// are those of the file before in the same place, nothing of them was read anew.
func (j *judging) has(cfg *config.Config) bool {
	if j.cfg == nil || j.steers || len(cfg.Services) == 0 || len(cfg.Services) != len(j.cfg.Services) {
		return false
	}
	return &cfg.Services[0] == &j.cfg.Services[0]
}

// newRow is the row of a service and one of its listens; was is the one that there was
// for the listen, nil for none.
func newRow(s config.Service, listen ipvs.ServiceKey, st steering, was *judgedRow) *judgedRow {
	checks := 0
	for _, server := range s.Servers {
		checks += len(server.Checks)
	}
	row := &judgedRow{
		service: s, listen: listen, words: listen.String(), servers: make([]judgedServer, 0, len(s.Servers)), targets: make([]healthcheck.Target, 0, checks),
		members: make([]healthcheck.Member, 0, len(s.Servers)),
	}
	for _, server := range s.Servers {
		this := judgedServer{Server: server, at: server.At(listen)}
		from := len(row.targets)
		for _, check := range server.Checks {
			row.targets = append(row.targets, st.target(server, listen, check))
			row.through = row.through || check.Through
			this.weights = append(this.weights, check.Weight)
			this.telling = append(this.telling, tells(check) && !server.Here())
			this.window = max(this.window, check.Patience(), check.Recovery())
		}
		this.targets = row.targets[from:len(row.targets):len(row.targets)]
		this.shows = wordsOf(server, listen, this.at, this.targets)
		row.servers = append(row.servers, this)
	}
	if was == nil {
		return row
	}
	row.pool = was.pool
	row.leave(was)
	if sameServers(was.servers, row.servers) {
		// Until the next look.
		row.members, row.outcome = was.members, was.outcome
	}
	return row
}

// tells is whether a check that passes has heard something of the machine.
func tells(c healthcheck.Check) bool {
	k, _ := healthcheck.KindOf(c.Kind())
	mute, may := c.Ask.(healthcheck.Mute)
	return !k.Local && !(may && mute.Mute())
}

// sameServers reports whether two rows have the same servers in the same order.
func sameServers(a, b []judgedServer) bool {
	return slices.EqualFunc(a, b, func(a, b judgedServer) bool { return a.at == b.at })
}

// look judges all services anew, and returns when to look again although nothing
// happened; zero is never.
func (j *judging) look(now time.Time, known judgments, ask opinions) (next time.Time) {
	for i := range j.hosts {
		j.hosts[i] = healthcheck.Evidence{Host: j.hosts[i].Host, Window: j.hosts[i].Window}
	}
	all := make([][]healthcheck.Judgment, len(j.rows))
	for i, row := range j.rows {
		all[i] = known(row.targets)
		seen := all[i]
		for k := range row.servers {
			server := &row.servers[k]
			if server.leaving != nil {
				break // nobody asks them, and they are the last
			}
			n := len(server.targets)
			server.testify(&j.hosts[row.hosts[k]], seen[:n])
			seen = seen[n:]
		}
	}
	j.doubted = j.doubt.Judge(now, j.cfg.Health.Doubt, j.hosts, func(lost []healthcheck.Evidence) []healthcheck.Opinion {
		if ask == nil {
			return nil
		}
		return ask(j.tellers(lost))
	})
	next = j.doubted.Next
	for i, row := range j.rows {
		row.judge(now, all[i], j.doubted, j.kept)
		if at := row.outcome.Next; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// tellers are the names of the targets that tell of each host.
func (j *judging) tellers(hosts []healthcheck.Evidence) [][]string {
	out := make([][]string, len(hosts))
	place := make(map[netip.Addr]int)
	for i, h := range hosts {
		place[h.Host] = i
	}
	for _, row := range j.rows {
		for _, server := range row.servers {
			i, is := place[server.at.Addr()]
			if !is {
				continue
			}
			for k, t := range server.targets {
				if server.telling[k] {
					out[i] = append(out[i], targetID(t))
				}
			}
		}
	}
	return out
}

// testify adds what checks saw of a server to the evidence about its host.
func (s *judgedServer) testify(e *healthcheck.Evidence, seen []healthcheck.Judgment) {
	for i, v := range seen {
		if !s.telling[i] || v.State == healthcheck.Unknown || v.Assumed {
			continue
		}
		if v.Heard.After(e.Heard) {
			e.Heard = v.Heard
		}
		e.Alive = e.Alive || v.State == healthcheck.Up || v.Silence.IsZero()
		if v.State == healthcheck.Down && v.Fell && (e.Lost.IsZero() || v.Since.Before(e.Lost)) {
			e.Lost, e.Silence = v.Since, v.Silence
		}
	}
}

// judge decides about one row.
func (row *judgedRow) judge(now time.Time, seen []healthcheck.Judgment, doubted healthcheck.Doubted, kept map[serverKey]keptServer) {
	row.members = row.members[:0]
	row.warnings = nil
	verdicts := make([]healthcheck.Verdict, 0, 4)
	waits, awaits := row.await(now), false
	for k := range row.servers {
		server := &row.servers[k]
		if server.leaving != nil {
			row.members = append(row.members, server.leaving.last)
			continue
		}
		m := healthcheck.Member{Server: server.at, Weight: server.Weight}
		verdicts = verdicts[:0]
		// Silent is a server that fails by nothing but silence: a file that says so, or
		// a refusal, is no reason to doubt this director.
		silent, fell := true, false
		for i, v := range seen[:len(server.targets)] {
			verdicts = append(verdicts, v.Verdict)
			if v.Advice != (healthcheck.Advice{}) {
				m.Advice = append(m.Advice, v.Advice)
			}
			if v.State == healthcheck.Down {
				// One that passes again was silent until now.
				silent = silent && (!v.Silence.IsZero() || v.Passes) && server.telling[i]
				fell = fell || v.Fell && !v.Since.Before(doubted.From)
			}
			if v.Warning != "" {
				row.warnings = append(row.warnings, fmt.Sprintf("server %s: %s", server.at, v.Warning))
			}
		}
		m.Verdict = row.service.Require.Combine(verdicts, server.weights...)
		m.Awaited = waits && row.awaited(*server, m.State, seen[:len(server.targets)])
		awaits = awaits || m.Awaited
		seen = seen[len(server.targets):]
		m.Doubted = doubted.Keep && silent && fell && m.State == healthcheck.Down
		if k, asked := kept[serverKey{row.listen, server.at}]; asked {
			k.ask(&m)
		}
		row.members = append(row.members, m)
	}
	row.outcome = row.pool.Judge(now, row.service.Rules, row.members)
	if awaits && (row.outcome.Next.IsZero() || row.until.Before(row.outcome.Next)) {
		row.outcome.Next = row.until
	}
	row.dismiss()
	if len(kept) == 0 {
		return
	}
	for i, m := range row.members {
		if k, asked := kept[serverKey{row.listen, m.Server}]; asked {
			row.outcome.Shares[i].Why = k.why(row.outcome.Shares[i].Why)
		}
	}
}

// table is what the kernel's table should be.
func (j *judging) table() []ipvs.Service {
	table := make([]ipvs.Service, 0, len(j.rows))
	n := 0
	for _, row := range j.rows {
		n += len(row.servers) + 1 // a sorry server
	}
	room := make([]ipvs.Destination, n)
	for _, row := range j.rows {
		s := &row.service
		service := s.On(row.listen)
		n := len(row.servers) + 1
		service.Destinations, room = room[:0:n], room[n:]
		sorry := s.Sorry != nil && !row.outcome.Quorum
		for i, share := range row.outcome.Shares {
			d := row.servers[i].Destination(row.listen)
			d.Weight = 0
			if share.Used && !sorry {
				d.Weight = share.Weight
			}
			if leaving := row.servers[i].leaving; leaving != nil && d.Weight > 0 {
				d = leaving.found
			}
			// One that drains keeps its connections beside a sorry server.
			drains := share.Admin == healthcheck.Drain && row.members[i].State == healthcheck.Up
			if share.Used && !sorry || s.Quiesces || drains {
				service.Destinations = append(service.Destinations, d)
			}
		}
		// Where the order matters one that comes and goes would have others moved.
		if sorry || s.Sorry != nil && s.Quiesces && ipvs.OrderMatters(s.Scheduler) {
			d := s.Sorry.Destination(row.listen)
			d.Weight = 0
			if sorry {
				d.Weight = sorryWeight(*s, row.outcome.Scale)
			}
			same := func(o ipvs.Destination) bool { return o.Addr == d.Addr }
			if sorry {
				service.Destinations = slices.DeleteFunc(service.Destinations, same)
			}
			if !slices.ContainsFunc(service.Destinations, same) {
				service.Destinations = append(service.Destinations, d)
			}
		}
		table = append(table, service)
	}
	return table
}

// of are the rows of a service.
func (j *judging) of(name string) []*judgedRow {
	first, is := j.first[name]
	if !is {
		return nil
	}
	end := first
	for end < len(j.rows) && j.rows[end].service.Name == name {
		end++
	}
	return j.rows[first:end]
}

// place is where a server is among those of a row; -1 is nowhere.
func (row *judgedRow) place(at netip.AddrPort) int {
	const few = 16
	if len(row.servers) <= few {
		return slices.IndexFunc(row.servers, func(s judgedServer) bool { return s.at == at && s.leaving == nil })
	}
	if row.places == nil {
		row.places = make(map[netip.AddrPort]int, len(row.servers))
		for i := range row.servers {
			if row.servers[i].leaving == nil {
				row.places[row.servers[i].at] = i
			}
		}
	}
	if i, is := row.places[at]; is {
		return i
	}
	return -1
}

// quorums are the services whose quorum is decided, by name: whether they have one. A service has one when all its rows do,
// and none when one of them has none; until then there is nothing to tell.
func (j *judging) quorums() map[string]bool {
	out := make(map[string]bool, len(j.first))
	for of := range services(j.rows) {
		whole, decided := true, true
		for _, row := range of {
			whole = whole && (row.outcome.Quorum || !row.outcome.Decided)
			decided = decided && row.outcome.Decided
		}
		if decided || !whole {
			out[of[0].service.Name] = whole
		}
	}
	return out
}

// services are the rows of each service, which are together.
func services(rows []*judgedRow) iter.Seq[[]*judgedRow] {
	return func(yield func([]*judgedRow) bool) {
		for len(rows) > 0 {
			n := 1
			for n < len(rows) && rows[n].service.Name == rows[0].service.Name {
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// sorryWeight is the kernel's weight of a sorry server in a pool of that scale.
func sorryWeight(s config.Service, scale int) int {
	return min(s.Sorry.Weight*max(scale, 1), ipvs.MaxWeight)
}
