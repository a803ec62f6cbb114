package director

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/control"
	"lvsha/ipvs"
)

// drainTick is how often drains and what ends by itself are looked at.
const drainTick = time.Second

// serverKey is what the kernel knows a server of a service by.
type serverKey struct {
	service ipvs.ServiceKey
	server  netip.AddrPort
}

func (k serverKey) compare(o serverKey) int {
	if c := k.service.Compare(o.service); c != 0 {
		return c
	}
	return k.server.Compare(o.server)
}

// ask has a server judged as operators asked.
func (k keptServer) ask(m *healthcheck.Member) {
	if k.Weight != nil {
		m.Weight = k.Weight.Weight
	}
	switch {
	case k.Drain == nil:
	case k.Drain.Done.IsZero():
		m.Advice = append(m.Advice, healthcheck.Advice{Admin: healthcheck.Drain})
	default:
		m.Advice = append(m.Advice, healthcheck.Advice{Admin: healthcheck.Maint})
	}
}

// weight is the one that a server is to have while it is up, for the file's.
func (k keptServer) weight(file int) int {
	switch {
	case k.Drain != nil && k.Drain.Done.IsZero():
		return 0
	case k.Weight != nil:
		return k.Weight.Weight
	}
	return file
}

// why words what operators asked for, before what is said besides.
func (k keptServer) why(besides string) string {
	switch {
	case k.Drain != nil && k.Drain.Done.IsZero():
		until := ""
		if !k.Drain.Until.IsZero() {
			until = ", " + clock(k.Drain.Until) + " at the latest"
		}
		return fmt.Sprintf("drained by an operator since %s%s", clock(k.Drain.Since), until)
	case k.Drain != nil:
		failed := ""
		if k.Drain.Failed {
			failed = "failed while it drained, "
		}
		if k.Drain.Left > 0 {
			return fmt.Sprintf("drained by an operator: %s%d connections were left at the deadline, %s", failed, k.Drain.Left, clock(k.Drain.Done))
		}
		return fmt.Sprintf("drained by an operator: %sdone at %s", failed, clock(k.Drain.Done))
	}
	until := ""
	if !k.Weight.Until.IsZero() {
		until = " until " + clock(k.Weight.Until)
	}
	said := fmt.Sprintf("weight %d by an operator since %s%s", k.Weight.Weight, clock(k.Weight.Since), until)
	if besides != "" {
		said += "; " + besides
	}
	return said
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// index is what operators asked for of servers, by key.
func (o overrides) index() map[serverKey]keptServer {
	out := make(map[serverKey]keptServer, len(o.Servers))
	for _, s := range o.Servers {
		out[serverKey{s.Service, s.Server}] = s
	}
	return out
}

// drainSight is what is seen of a server that drains.
type drainSight struct {
	// connections are those that the kernel has. done says that they mean something, so that
	// there is nothing to wait for when there are none. failed is whether it fails its checks.
	connections  int
	done, failed bool
}

// pass is what has become of operators' requests by a time: drains that are done, and
// weights that have ended.
func (o overrides) pass(now time.Time, look func(serverKey) drainSight) (next []keptServer, news map[serverKey]string) {
	news = make(map[serverKey]string)
	for _, s := range o.Servers {
		key := serverKey{s.Service, s.Server}
		if s.Weight != nil && !s.Weight.Until.IsZero() && !now.Before(s.Weight.Until) {
			news[key] = fmt.Sprintf("the weight of %d has ended", s.Weight.Weight)
			s.Weight = nil
		}
		if d := s.Drain; d != nil && d.Done.IsZero() {
			seen := look(key)
			n := seen.connections
			late := !d.Until.IsZero() && !now.Before(d.Until)
			if seen.done && n == 0 || late {
				done := *d
				done.Done, done.Left, done.Failed = now, n, seen.failed
				s.Drain = &done
				news[key] = "drained"
				if seen.failed {
					news[key] = "failed while it drained"
				}
				if n > 0 {
					news[key] = fmt.Sprintf("%s, and %d connections are left", news[key], n)
				}
			}
		}
		if s.Drain != nil || s.Weight != nil {
			next = append(next, s)
		}
	}
	return next, news
}

// connectionsOf counts from a table what keeps a drain from being done: connections of all
// protocols, those on their way out included, and what persistence keeps of clients. One
// that is not in the table has none. quiet is since when servers have been seen to get no
// new connections, and is kept up to date: the counts mean something when they were read
// after that, which is known, and there says whether the kernel has the server.
func connectionsOf(table ipvs.Status, now time.Time, quiet map[serverKey]time.Time) func(serverKey) (n int, there, known bool) {
	rows := make(map[serverKey]ipvs.Destination)
	for _, s := range table.Services {
		for _, d := range s.Destinations {
			rows[serverKey{s.Key, d.Addr}] = d
		}
	}
	return func(k serverKey) (int, bool, bool) {
		d, there := rows[k]
		n := d.Active + d.Inactive + d.Templates
		if !table.Listed || d.Weight > 0 || !there {
			delete(quiet, k)
			return n, there, table.Listed && !there
		}
		since, seen := quiet[k]
		if !seen {
			quiet[k] = now
			return n, there, false
		}
		return n, there, table.Looked.After(since)
	}
}

// drainFailed is how long a server has to fail until its drain ends although the kernel does
// not have it any more: one that fails for less gets its connections back. drainMissing is
// how long one that is up has to be missing there, which it is until it has been added.
const (
	drainFailed  = time.Minute
	drainMissing = applyTimeout
)

// lookAtDrain is what is seen of a server that drains, with the kernel's table. That the
// kernel does not have it is no sign of a drain that is done by itself: a process that has
// just begun may not know of the server yet, and the file may be without it for now.
func (j *judging) lookAtDrain(k serverKey, now time.Time, connections func(serverKey) (n int, there, known bool), known judgments) drainSight {
	n, there, quiet := connections(k)
	out := drainSight{connections: n}
	row := j.at[k.service]
	if row == nil {
		return out
	}
	i := row.place(k.server)
	if i < 0 || i >= len(row.members) {
		return out
	}
	m := row.members[i]
	out.failed = m.State == healthcheck.Down && slices.ContainsFunc(known(row.servers[i].targets), func(v healthcheck.Judgment) bool {
		return v.State == healthcheck.Down && v.Fails
	})
	switch {
	case m.State == healthcheck.Unknown:
	case there, row.outcome.Shares[i].Admin == healthcheck.Maint:
		out.done = quiet
	case m.State == healthcheck.Up:
		out.done = quiet && now.Sub(m.Since) >= drainMissing
	default:
		out.done = quiet && out.failed && now.Sub(m.Since) >= drainFailed
	}
	return out
}

// watchDrains looks at what operators asked for, on the director's goroutine.
func (d *Director) watchDrains() {
	kept := d.overrides.read()
	if len(kept.Servers) == 0 {
		return
	}
	now := time.Now()
	connections := connectionsOf(d.table.Snapshot(), now, d.quiet)
	d.mu.Lock()
	next, news := kept.pass(now, func(k serverKey) drainSight { return d.judging.lookAtDrain(k, now, connections, d.judgments) })
	d.mu.Unlock()
	if len(news) == 0 {
		return
	}
	d.keepServers(next)
	for _, key := range slices.SortedFunc(maps.Keys(news), serverKey.compare) {
		d.log.Info("server "+key.server.String()+" "+news[key], "service", key.service.String())
		d.event("drain", key.server.String(), fmt.Sprintf("%s: %s", key.service, news[key]))
	}
	d.want()
}

// keepServers writes down what operators asked for of servers, and has it followed.
func (d *Director) keepServers(servers []keptServer) {
	if err := d.overrides.update(func(o *overrides) { o.Servers = servers }); err != nil {
		d.log.Error("keeping what operators asked for; the next process will not know of it", "error", err)
		d.event("drain", "", err.Error())
	}
	d.useOverrides()
}

// useOverrides has the judging follow what operators asked for.
func (d *Director) useOverrides() {
	index := d.overrides.read().index()
	d.mu.Lock()
	d.judging.kept = index
	d.mu.Unlock()
}

// Servers is part of control.Daemon: it drains servers, ends that, or gives them another
// weight. It returns when the kernel has it.
func (d *Director) Servers(ctx context.Context, ask control.ServersRequest) (control.ServersChanged, error) {
	if ask.Weight < 0 || ask.Weight > ipvs.MaxWeight {
		return control.ServersChanged{}, fmt.Errorf("weight %d is not between 0 and %d", ask.Weight, ipvs.MaxWeight)
	}
	if !slices.Contains([]string{control.DoDrain, control.DoUndrain, control.DoWeight, control.DoUnweight, control.DoShow}, ask.Do) {
		return control.ServersChanged{}, fmt.Errorf("this daemon cannot do %q to servers", ask.Do)
	}
	var done control.ServersChanged
	var failed error
	var deprives string
	var gone []serverKey
	err := d.onLoop(ctx, func() {
		var keys []serverKey
		if keys, gone, failed = d.askedServers(ask); failed != nil || ask.Do == control.DoShow {
			return
		}
		keys = append(keys, gone...)
		next := overrides{Servers: d.overrides.read().with(time.Now(), ask, keys)}
		if deprives = d.deprives(ask, keys, next); deprives != "" && !ask.Force {
			failed = fmt.Errorf("%s; nothing was changed, and --force does it all the same", deprives)
			return
		}
		d.keepServers(next.Servers)
		for _, k := range keys {
			delete(d.quiet, k)
			d.event("drain", k.server.String(), fmt.Sprintf("%s of %s, asked for by an operator", ask.Words(), k.service))
		}
		d.want()
	})
	if err = errors.Join(err, failed); err != nil {
		return done, err
	}
	wait, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	d.mu.Lock()
	tables := d.tables
	d.mu.Unlock()
	if err := d.table.Applied(wait, tables); err != nil {
		done.Warnings = append(done.Warnings, "ipvs: "+err.Error())
	}
	if deprives != "" {
		done.Warnings = append(done.Warnings, deprives)
	}
	if err := d.overrides.unwritten(); err != nil && ask.Do != control.DoShow {
		done.Unkept = fmt.Sprintf("%v: %s", err, unkept)
	}
	done.Servers = d.statusOf(ask)
	for _, k := range gone {
		done.Servers = append(done.Servers, goneStatus(k))
	}
	return done, nil
}

// deprives words which services have no server in use any more when a request is kept;
// empty is none.
func (d *Director) deprives(ask control.ServersRequest, keys []serverKey, next overrides) string {
	if !takesAway(ask) {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return deprivation(d.judging.deprived(time.Now(), keys, next.index(), d.judgments))
}

// onLoop runs a function on the director's goroutine and returns when it has.
func (d *Director) onLoop(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case d.requests <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-d.ended:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askedServers are those that a request means, and what it ends of those that are gone
// from the file.
func (d *Director) askedServers(ask control.ServersRequest) (keys, gone []serverKey, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	matches, err := serverNamed(ask.Server)
	if err != nil {
		return nil, nil, err
	}
	if gone, err = d.judging.goneAsked(ask); err != nil {
		return nil, nil, err
	}
	rows := d.judging.rows
	if ask.Service != "" {
		rows = d.judging.of(ask.Service)
	}
	for _, row := range rows {
		for i := range row.servers {
			if at := row.servers[i].at; row.servers[i].leaving == nil && matches(at) {
				keys = append(keys, serverKey{row.listen, at})
			}
		}
	}
	if len(keys)+len(gone) > 0 {
		return keys, gone, nil
	}
	var services, servers []string
	for _, s := range d.cfg.Services {
		services = append(services, s.Name)
	}
	for _, row := range rows {
		for i := range row.servers {
			if row.servers[i].leaving == nil {
				servers = append(servers, row.servers[i].at.String())
			}
		}
	}
	slices.Sort(servers)
	servers = slices.Compact(servers)
	switch {
	case ask.Service != "" && !slices.Contains(services, ask.Service):
		return nil, nil, fmt.Errorf("there is no service %q; there are: %s", ask.Service, some(services))
	case ask.Service != "":
		return nil, nil, fmt.Errorf("service %s has no server %s; it has: %s", ask.Service, ask.Server, some(servers))
	default:
		return nil, nil, fmt.Errorf("no service has a server %s; there are: %s", ask.Server, some(servers))
	}
}

// some is a list that is not too long.
func some(words []string) string {
	if len(words) > 20 {
		return strings.Join(words[:20], ", ") + fmt.Sprintf(" and %d more", len(words)-20)
	}
	return strings.Join(words, ", ")
}

// serverNamed reads ADDRESS, which is all ports, or ADDRESS:PORT.
func serverNamed(name string) (func(netip.AddrPort) bool, error) {
	if address, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return func(at netip.AddrPort) bool { return at.Addr() == address }, nil
	}
	at, err := netip.ParseAddrPort(name)
	if err != nil {
		return nil, fmt.Errorf("want a server as ADDRESS or ADDRESS:PORT, got %q", name)
	}
	return func(o netip.AddrPort) bool { return o == at }, nil
}

// with is what is kept after a request.
func (o overrides) with(now time.Time, ask control.ServersRequest, keys []serverKey) []keptServer {
	index := o.index()
	var until time.Time
	if ask.For > 0 {
		until = now.Add(ask.For)
	}
	for _, k := range keys {
		s := index[k]
		s.Service, s.Server = k.service, k.server
		switch ask.Do {
		case control.DoDrain:
			drain := keptDrain{Since: now, Until: until}
			if was := s.Drain; was != nil && was.Done.IsZero() {
				drain.Since = was.Since
			} else if was != nil {
				drain = *was // done is done
			}
			s.Drain = &drain
		case control.DoUndrain:
			s.Drain = nil
		case control.DoWeight:
			s.Weight = &keptWeight{Weight: ask.Weight, Since: now, Until: until}
		case control.DoUnweight:
			s.Weight = nil
		}
		index[k] = s
	}
	var out []keptServer
	for _, k := range slices.SortedFunc(maps.Keys(index), serverKey.compare) {
		if s := index[k]; s.Drain != nil || s.Weight != nil {
			out = append(out, s)
		}
	}
	return out
}

// statusOf shows the servers that a request means.
func (d *Director) statusOf(ask control.ServersRequest) (out []control.ServerOf) {
	matches, err := serverNamed(ask.Server)
	if err != nil {
		return nil
	}
	now := d.stand()
	kernel := kernelCounts{table: d.table.Snapshot().Services}
	for i := range now.cfg.Services {
		s, rows := &now.cfg.Services[i], now.of(i)
		meant := slices.ContainsFunc(rows, func(row rowStanding) bool {
			return slices.ContainsFunc(row.servers, func(s judgedServer) bool { return matches(s.at) })
		})
		if ask.Service != "" && s.Name != ask.Service || !meant {
			continue
		}
		shows := d.showService(s, rows, kernel)
		for k, from := range shows.from {
			if matches(from.server.at) {
				out = append(out, control.ServerOf{Service: s.Name, Scale: shows.Scale, Server: shows.Servers[k]})
			}
		}
	}
	return out
}
