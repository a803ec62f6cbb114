package director

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// Status is part of control.Daemon: it joins what the rooms show.
func (d *Director) Status() control.Status {
	d.mu.Lock()
	cfg, generation, st, roles := d.cfg, d.generation, d.steering, rolesOf(d.cfg, d.active)
	services, matter := d.judging.status(d.monitor.Status)
	d.mu.Unlock()
	table, daemons := d.table.Snapshot(), d.daemons.Snapshot()
	s := control.Status{
		Director: cfg.Director, Version: d.opts.Version, Generation: generation, Started: d.started, File: cfg.File,
		Goroutines: runtime.NumGoroutine(),
		Conditions: conditionStatus(d.tracker.Snapshot()),
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
	for _, r := range d.engine.Snapshot() {
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
	s.Problems = append(s.Problems, d.unwritten()...)
	s.Problems = append(s.Problems, matter...)
	s.Services = append(s.Services, services...)
	countConnections(s.Services, cfg.Services, table.Services)
	routing := remember(d.opts.Routing)
	for _, service := range cfg.Services {
		s.Problems = append(s.Problems, pathProblems(service, st, routing)...)
	}
	s.Problems = append(s.Problems, d.sysctlProblems()...)
	s.Problems = append(s.Problems, helperProblems(cfg, d.opts.Helpers)...)
	s.Problems = append(s.Problems, protectionProblems(cfg, routing)...)
	for i, service := range cfg.Services[:len(services)] { // none before the file is applied
		for j := range s.Services[i].Servers {
			row := &s.Services[i].Servers[j]
			if address, err := netip.ParseAddrPort(row.Address); err == nil {
				row.Peers = d.serverViews(service, address)
			}
		}
	}
	channel, problems := d.channelStatus(cfg)
	s.Channel, s.Problems = channel, append(s.Problems, problems...)
	s.BFD, s.BFDDropped = d.sessionStatus(cfg)
	for _, f := range table.Foreign {
		s.Foreign = append(s.Foreign, f.Key.String())
	}
	if len(cfg.Services) > 0 && table.State != "ok" {
		s.Problems = append(s.Problems, "ipvs: "+table.State)
	}
	for _, difference := range table.Drifted {
		s.Problems = append(s.Problems, fmt.Sprintf("ipvs: %s: somebody changed it, and drift = \"respect\" leaves it so until the next reload", difference))
	}
	if cfg.Sync != nil {
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
	return s
}

// helperProblems are the helpers that services need and the kernel does not have.
func helperProblems(cfg *config.Config, helpers func() ([]string, error)) (out []string) {
	var there []string
	for _, s := range cfg.Services {
		if !s.FTP || helpers == nil {
			continue
		}
		if there == nil {
			var err error
			if there, err = helpers(); err != nil {
				return []string{err.Error()}
			}
		}
		if !slices.Contains(there, "ftp") {
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
		peer := control.Peer{Name: p.Name, Priority: int(p.Priority), Source: p.Source}
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
