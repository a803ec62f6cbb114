package director

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// judgments answers what is known of targets, in their order.
type judgments func([]healthcheck.Target) []healthcheck.Judgment

// judging decides who gets the traffic of each service. It does not depend on any
// role: every director keeps the whole table. It knows the time only as it is told.
type judging struct {
	cfg  *config.Config
	rows []*judgedRow
	// doubt is whether this director doubts itself.
	doubt   healthcheck.Doubt
	doubted healthcheck.Doubted
}

// judgedRow is a service as the kernel has it: one listen with its pool.
type judgedRow struct {
	service config.Service
	listen  ipvs.ServiceKey
	servers []judgedServer
	pool    healthcheck.Pool
	// members and outcome are those of the last look.
	members []healthcheck.Member
	outcome healthcheck.Outcome
	// warnings are what will be the matter with servers some day, without doubles.
	warnings []string
}

// judgedServer is a server as the destination of one listen.
type judgedServer struct {
	config.Server
	at      netip.AddrPort
	targets []healthcheck.Target
	weights []int
}

// set takes a file over. Pools of services that stay keep what they know.
func (j *judging) set(cfg *config.Config, st steering) {
	old := make(map[ipvs.ServiceKey]*judgedRow, len(j.rows))
	for _, row := range j.rows {
		old[row.listen] = row
	}
	j.cfg, j.rows = cfg, nil
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			row := &judgedRow{service: s, listen: listen}
			if was := old[listen]; was != nil {
				row.pool = was.pool
			}
			for _, server := range s.Servers {
				this := judgedServer{Server: server, at: server.At(listen)}
				for _, check := range server.Checks {
					this.targets = append(this.targets, st.target(server, listen, check))
					this.weights = append(this.weights, check.Weight)
				}
				row.servers = append(row.servers, this)
			}
			j.rows = append(j.rows, row)
		}
	}
}

// look judges all services anew, and returns when to look again although nothing
// happened; zero is never.
func (j *judging) look(now time.Time, known judgments, others []healthcheck.Opinion) (next time.Time) {
	all := make([][][]healthcheck.Judgment, len(j.rows))
	evidence := make(map[netip.Addr]*healthcheck.Evidence)
	for i, row := range j.rows {
		all[i] = row.ask(known)
		for k, server := range row.servers {
			testify(evidence, server, all[i][k])
		}
	}
	hosts := make([]healthcheck.Evidence, 0, len(evidence))
	for _, e := range evidence {
		hosts = append(hosts, *e)
	}
	j.doubted = j.doubt.Judge(now, j.cfg.Health.Doubt, hosts, others)
	next = j.doubted.Next
	for i, row := range j.rows {
		row.judge(now, all[i], j.doubted)
		if at := row.outcome.Next; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// ask gets the judgments of all checks of all servers, in one go.
func (row *judgedRow) ask(known judgments) [][]healthcheck.Judgment {
	var targets []healthcheck.Target
	for _, server := range row.servers {
		targets = append(targets, server.targets...)
	}
	answers := known(targets)
	out := make([][]healthcheck.Judgment, len(row.servers))
	for i, server := range row.servers {
		n := len(server.targets)
		out[i], answers = answers[:n], answers[n:]
	}
	return out
}

// testify adds what checks saw of a server to the evidence about its host.
func testify(evidence map[netip.Addr]*healthcheck.Evidence, server judgedServer, seen []healthcheck.Judgment) {
	for i, v := range seen {
		check := server.Checks[i]
		if k, _ := healthcheck.KindOf(check.Kind()); k.Local || v.State == healthcheck.Unknown || v.Assumed {
			continue
		}
		host := server.at.Addr()
		e := evidence[host]
		if e == nil {
			e = &healthcheck.Evidence{Host: host}
			evidence[host] = e
		}
		e.Window = max(e.Window, check.Patience())
		switch {
		case v.State == healthcheck.Up || !v.Silent:
			e.Alive = true
		case v.Fell && (e.Lost.IsZero() || v.Since.Before(e.Lost)):
			e.Lost = v.Since
		}
	}
}

// judge decides about one row.
func (row *judgedRow) judge(now time.Time, seen [][]healthcheck.Judgment, doubted healthcheck.Doubted) {
	row.members = row.members[:0]
	row.warnings = nil
	verdicts := make([]healthcheck.Verdict, 0, 4)
	for i, server := range row.servers {
		m := healthcheck.Member{Server: server.at, Weight: server.Weight}
		verdicts = verdicts[:0]
		silent := len(seen[i]) > 0
		for _, v := range seen[i] {
			verdicts = append(verdicts, v.Verdict)
			if v.Advice != (healthcheck.Advice{}) {
				m.Advice = append(m.Advice, v.Advice)
			}
			silent = silent && v.Silent
			if v.Warning != "" {
				row.warnings = append(row.warnings, fmt.Sprintf("server %s: %s", server.at, v.Warning))
			}
		}
		m.Verdict = row.service.Require.Combine(verdicts, server.weights...)
		m.Doubted = doubted.Now && silent && m.State == healthcheck.Down && !m.Since.Before(doubted.From)
		row.members = append(row.members, m)
	}
	row.outcome = row.pool.Judge(now, row.service.Rules, row.members)
}

// table is what the kernel's table should be.
func (j *judging) table() []ipvs.Service {
	var table []ipvs.Service
	for _, row := range j.rows {
		s := row.service
		service := ipvs.Service{
			Key: row.listen, Scheduler: s.Scheduler, Persistence: s.Persistence, PersistenceMask: s.PersistenceMask,
		}
		for i, share := range row.outcome.Shares {
			if share.Used {
				d := destination(row.servers[i].Server, row.listen)
				d.Weight = share.Weight
				service.Destinations = append(service.Destinations, d)
			}
		}
		if s.Sorry != nil && !row.outcome.Quorum {
			sorry := destination(*s.Sorry, row.listen)
			sorry.Weight *= max(s.Rules.Scale, 1)
			service.Destinations = []ipvs.Destination{sorry}
		}
		table = append(table, service)
	}
	return table
}

// of are the rows of a service.
func (j *judging) of(name string) []*judgedRow {
	var out []*judgedRow
	for _, row := range j.rows {
		if row.service.Name == name {
			out = append(out, row)
		}
	}
	return out
}

func destination(server config.Server, listen ipvs.ServiceKey) ipvs.Destination {
	return ipvs.Destination{Addr: server.At(listen), Forward: server.Forward, Weight: server.Weight}
}

// quorums are the services whose quorum was decided or changed in the last look,
// by name: whether they have one. A service has one when all its rows do.
func (j *judging) quorums() map[string]bool {
	changed := make(map[string]bool)
	for _, row := range j.rows {
		if row.outcome.Changed {
			changed[row.service.Name] = true
		}
	}
	for name := range changed {
		changed[name] = !slices.ContainsFunc(j.of(name), func(row *judgedRow) bool { return !row.outcome.Quorum })
	}
	return changed
}
