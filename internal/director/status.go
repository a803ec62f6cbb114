package director

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// Status is part of control.Daemon: it joins what the rooms show.
func (d *Director) Status() control.Status { return d.status(nil) }

// StatusOf is part of control.Daemon: it shows the virtual routers and services of some
// names alone.
func (d *Director) StatusOf(names []string) (control.Status, error) {
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	if err := control.Known(names, func(yield func(string) bool) {
		for _, r := range cfg.Routers {
			if !yield(r.Name) {
				return
			}
		}
		for _, s := range cfg.Services {
			if !yield(s.Name) {
				return
			}
		}
	}); err != nil {
		return control.Status{}, err
	}
	chosen := make(selection, len(names))
	for _, name := range names {
		chosen[name] = true
	}
	return d.status(chosen), nil
}

// selection are names of virtual routers and services; nil are all.
type selection map[string]bool

func (s selection) has(name string) bool { return s == nil || s[name] }

// status shows the virtual routers and services of a selection, and of what is neither
// nothing but what is the matter, unless everything is shown.
func (d *Director) status(chosen selection) control.Status {
	d.mu.Lock()
	cfg, generation, st, roles, now := d.cfg, d.generation, d.steering, rolesOf(d.cfg, d.active), d.judging.stand()
	d.mu.Unlock()
	table := d.table.Snapshot()
	s := control.Status{
		Director: cfg.Director, Version: d.opts.Version, Generation: generation, Started: d.started, File: cfg.File,
		Goroutines: runtime.NumGoroutine(),
		Conditions: []control.Condition{},
		Problems:   missingCapabilities(), VRRP: []control.Router{}, Services: []control.Service{}, Foreign: []string{},
		IPVS: control.IPVS{State: table.State, Repaired: table.Drift, Error: table.Error, Checks: checkPaths(st, table)},
	}
	if rules := filterRules(cfg, roles); !rules.Empty() {
		filter := d.filter.Snapshot()
		s.Filter = &control.Filter{State: filter.State, Repaired: filter.Repaired, Marks: len(rules.Marks), Sources: len(rules.Sources)}
		if filter.State != "ok" {
			s.Problems = append(s.Problems, "packet filter: "+filter.State)
		}
	}
	d.showRouters(&s, chosen)
	s.Problems = append(s.Problems, d.unwritten()...)
	if now.doubted.Now {
		s.Problems = append(s.Problems, now.doubted.Why)
	}
	routing := remember(d.opts.Routing)
	d.showServices(&s, chosen, now, st, table.Services, routing)
	s.Problems = append(s.Problems, d.sysctlProblems()...)
	s.Problems = append(s.Problems, helperProblems(cfg, chosen, d.opts.Helpers)...)
	s.Problems = append(s.Problems, protectionProblems(cfg, routing)...)
	channel, problems := d.channelStatus(cfg)
	s.Problems = append(s.Problems, problems...)
	if len(cfg.Services) > 0 && table.State != "ok" {
		s.Problems = append(s.Problems, "ipvs: "+table.State)
	}
	for _, difference := range table.Drifted {
		s.Problems = append(s.Problems, fmt.Sprintf("ipvs: %s: somebody changed it, and drift = \"respect\" leaves it so until the next reload", difference))
	}
	if cfg.Sync != nil {
		daemons := d.daemons.Snapshot()
		s.Sync = &control.Sync{
			Interface: cfg.Sync.Interface, ID: cfg.Sync.ID, Daemons: append([]string{}, daemons.Daemons...), State: daemons.State,
		}
		if daemons.Error != "" {
			s.Problems = append(s.Problems, "sync: "+daemons.State)
		}
		s.Problems = append(s.Problems, exchangeStatus(s.Sync, d.exchange.Snapshot())...)
	}
	if s.Problems == nil {
		s.Problems = []string{}
	}
	if chosen != nil {
		s.Sync = nil
		return s
	}
	s.Conditions = conditionStatus(d.tracker.Snapshot())
	s.Channel = channel
	s.BFD, s.BFDDropped = d.sessionStatus(cfg)
	for _, f := range table.Foreign {
		s.Foreign = append(s.Foreign, f.Key.String())
	}
	return s
}

// showRouters adds the virtual routers of a selection, and what is the matter with them.
func (d *Director) showRouters(s *control.Status, chosen selection) {
	for _, r := range d.engine.Snapshot() {
		if !chosen.has(r.Name) {
			continue
		}
		s.VRRP = append(s.VRRP, routerStatus(r))
		for _, p := range r.Problems {
			s.Problems = append(s.Problems, fmt.Sprintf("virtual router %s: %s", r.Name, p))
		}
		for _, a := range r.Alarms {
			s.Problems = append(s.Problems, fmt.Sprintf("virtual router %s: %s", r.Name, a.Text))
		}
		if r.State == vrrp.Fault {
			s.Problems = append(s.Problems, fmt.Sprintf("virtual router %s is in fault: %s", r.Name, r.Reason))
		}
	}
}

// showServices adds the services of a selection, with one row for each address of a
// server, and what is the matter with them.
func (d *Director) showServices(s *control.Status, chosen selection, now standing, st steering, table []ipvs.Service, routing Routing) {
	var paths []string
	kernel := kernelCounts{table: table}
	if chosen == nil {
		kernel, s.Services = index(table), make([]control.Service, 0, len(now.cfg.Services))
	}
	for i := range now.cfg.Services {
		service := &now.cfg.Services[i]
		if !chosen.has(service.Name) {
			continue
		}
		rows := now.of(i)
		s.Services = append(s.Services, d.showService(service, rows, kernel).Service)
		shows := &s.Services[len(s.Services)-1]
		told := slices.ContainsFunc(rows, func(row rowStanding) bool { return row.outcome.Why != "" })
		if p := stateProblem(service, shows, told); p != "" {
			s.Problems = append(s.Problems, p)
		}
		s.Problems = append(s.Problems, now.problems(i)...)
		if slices.ContainsFunc(rows, func(row rowStanding) bool { return row.through }) {
			paths = append(paths, pathProblems(*service, st, routing)...)
		}
	}
	s.Problems = append(append(s.Problems, now.gone...), paths...)
}

// helperProblems are the helpers that services need and the kernel does not have.
func helperProblems(cfg *config.Config, chosen selection, helpers func() ([]string, error)) (out []string) {
	asked, there := false, false
	for _, s := range cfg.Services {
		if !s.FTP || helpers == nil || !chosen.has(s.Name) {
			continue
		}
		if !asked {
			names, err := helpers()
			if err != nil {
				return []string{err.Error()}
			}
			asked, there = true, slices.Contains(names, "ftp")
		}
		if !there {
			out = append(out, fmt.Sprintf("service %s: the kernel has no helper for ftp, and clients get no files by passive FTP: modprobe ip_vs_ftp", s.Name))
		}
	}
	return out
}

// checkPaths shows how checks get through their services.
func checkPaths(st steering, table ipvs.Status) (out []control.CheckPath) {
	for _, s := range st.services() {
		w := st.ways[s.Key.Mark]
		row := control.CheckPath{
			Mark: s.Key.Mark, Server: w.server.Addr().String(), Forward: w.forward.String(), Family: 4, Source: st.source[w].String(),
		}
		if w.ipv6 {
			row.Family = 6
		}
		if w.forward == ipvs.TUN {
			row.Tunnel = w.tunnel.String()
		}
		if w.server.Port() != 0 {
			row.Server = w.server.String()
		}
		if !st.source[w].IsValid() {
			row.Source = ""
		}
		if err := st.missing(s.Key.Mark, table); err != nil {
			row.Problem = err.Error()
		}
		out = append(out, row)
	}
	return out
}

func routerStatus(r vrrp.Status) control.Router {
	out := control.Router{
		Name: r.Name, VRID: r.Key.VRID, Family: int(r.Key.Family), Interface: r.Key.Interface, Version: int(r.Version),
		State: r.State.String(), Priority: int(r.Priority), Since: r.Since, Reason: r.Reason,
		Interval: r.Interval.String(), Addresses: []string{}, Peers: []control.Peer{},
		Counters: counters(r.Counters), Problems: r.Problems,
		Configured: int(r.Configured), Tracking: r.Tracking, Group: r.Group, Yielding: r.Yielding, Alarms: []control.Alarm{},
	}
	if r.Yielding && !r.YieldUntil.IsZero() {
		out.YieldUntil = &r.YieldUntil
	}
	for _, a := range r.Alarms {
		out.Alarms = append(out.Alarms, control.Alarm{Kind: string(a.Kind), Text: a.Text, Since: a.Since})
	}
	if r.Jitter.Count > 0 {
		out.Jitter = &control.Jitter{
			Count: r.Jitter.Count, P50: r.Jitter.P50.String(), P99: r.Jitter.P99.String(), P9999: r.Jitter.P9999.String(), Max: r.Jitter.Max.String(),
		}
	}
	for _, a := range r.Addresses {
		if a.Interface == r.Key.Interface {
			a.Interface = "" // goes without saying
		}
		out.Addresses = append(out.Addresses, a.String())
	}
	for _, p := range r.Peers {
		peer := control.Peer{Name: p.Name, Priority: int(p.Priority), Source: p.Source, Refused: p.Refused}
		if p.Address.IsValid() {
			peer.Address = p.Address.String()
		}
		if !p.LastSeen.IsZero() {
			peer.LastSeen = &p.LastSeen
		}
		out.Peers = append(out.Peers, peer)
	}
	return out
}

// counters are those that are not zero, under the names of their JSON tags.
func counters(c vrrp.Counters) map[string]uint64 {
	text, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("director: encoding counters: %v", err)) // a struct of integers always encodes
	}
	all := make(map[string]uint64)
	if err := json.Unmarshal(text, &all); err != nil {
		panic(fmt.Sprintf("director: decoding counters: %v", err))
	}
	for name, value := range all {
		if value == 0 {
			delete(all, name)
		}
	}
	return all
}
