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
	// hosts is the evidence about each server host, of the last look.
	hosts []healthcheck.Evidence
	// doubt is whether this director doubts itself.
	doubt   healthcheck.Doubt
	doubted healthcheck.Doubted
}

// judgedRow is a service as the kernel has it: one listen with its pool.
type judgedRow struct {
	service config.Service
	listen  ipvs.ServiceKey
	servers []judgedServer
	// targets are those of all servers, in their order.
	targets []healthcheck.Target
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
	// host is its place among the hosts, and telling which of its checks say
	// something about that.
	host    int
	telling []bool
}

// set takes a file over. Pools of services that stay keep what they know.
func (j *judging) set(cfg *config.Config, st steering) {
	old := make(map[ipvs.ServiceKey]*judgedRow, len(j.rows))
	for _, row := range j.rows {
		old[row.listen] = row
	}
	j.cfg, j.rows, j.hosts = cfg, nil, nil
	hosts := make(map[netip.Addr]int)
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			checks := 0
			for _, server := range s.Servers {
				checks += len(server.Checks)
			}
			row := &judgedRow{
				service: s, listen: listen, servers: make([]judgedServer, 0, len(s.Servers)), targets: make([]healthcheck.Target, 0, checks),
				members: make([]healthcheck.Member, 0, len(s.Servers)),
			}
			if was := old[listen]; was != nil {
				row.pool = was.pool
			}
			for _, server := range s.Servers {
				this := judgedServer{Server: server, at: server.At(listen)}
				host, seen := hosts[this.at.Addr()]
				if !seen {
					host = len(j.hosts)
					hosts[this.at.Addr()] = host
					j.hosts = append(j.hosts, healthcheck.Evidence{Host: this.at.Addr()})
				}
				this.host = host
				from := len(row.targets)
				for _, check := range server.Checks {
					row.targets = append(row.targets, st.target(server, listen, check))
					this.weights = append(this.weights, check.Weight)
					k, _ := healthcheck.KindOf(check.Kind())
					this.telling = append(this.telling, !k.Local)
					j.hosts[host].Window = max(j.hosts[host].Window, check.Patience())
				}
				this.targets = row.targets[from:len(row.targets):len(row.targets)]
				row.servers = append(row.servers, this)
			}
			j.rows = append(j.rows, row)
		}
	}
}

// look judges all services anew, and returns when to look again although nothing
// happened; zero is never.
func (j *judging) look(now time.Time, known judgments, others []healthcheck.Opinion) (next time.Time) {
	for i := range j.hosts {
		j.hosts[i].Alive, j.hosts[i].Lost = false, time.Time{}
	}
	all := make([][]healthcheck.Judgment, len(j.rows))
	for i, row := range j.rows {
		all[i] = known(row.targets)
		seen := all[i]
		for _, server := range row.servers {
			n := len(server.targets)
			server.testify(&j.hosts[server.host], seen[:n])
			seen = seen[n:]
		}
	}
	j.doubted = j.doubt.Judge(now, j.cfg.Health.Doubt, j.hosts, others)
	next = j.doubted.Next
	for i, row := range j.rows {
		row.judge(now, all[i], j.doubted)
		if at := row.outcome.Next; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// testify adds what checks saw of a server to the evidence about its host.
func (s *judgedServer) testify(e *healthcheck.Evidence, seen []healthcheck.Judgment) {
	for i, v := range seen {
		switch {
		case !s.telling[i] || v.State == healthcheck.Unknown || v.Assumed:
		case v.State == healthcheck.Up || !v.Silent:
			e.Alive = true
		case v.Fell && (e.Lost.IsZero() || v.Since.Before(e.Lost)):
			e.Lost = v.Since
		}
	}
}

// judge decides about one row.
func (row *judgedRow) judge(now time.Time, seen []healthcheck.Judgment, doubted healthcheck.Doubted) {
	row.members = row.members[:0]
	row.warnings = nil
	verdicts := make([]healthcheck.Verdict, 0, 4)
	for _, server := range row.servers {
		m := healthcheck.Member{Server: server.at, Weight: server.Weight}
		verdicts = verdicts[:0]
		silent := len(server.targets) > 0
		for _, v := range seen[:len(server.targets)] {
			verdicts = append(verdicts, v.Verdict)
			if v.Advice != (healthcheck.Advice{}) {
				m.Advice = append(m.Advice, v.Advice)
			}
			silent = silent && v.Silent
			if v.Warning != "" {
				row.warnings = append(row.warnings, fmt.Sprintf("server %s: %s", server.at, v.Warning))
			}
		}
		seen = seen[len(server.targets):]
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
		service := s.On(row.listen)
		for i, share := range row.outcome.Shares {
			if share.Used {
				d := row.servers[i].Destination(row.listen)
				d.Weight = share.Weight
				service.Destinations = append(service.Destinations, d)
			}
		}
		if s.Sorry != nil && !row.outcome.Quorum {
			sorry := s.Sorry.Destination(row.listen)
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
