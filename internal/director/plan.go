package director

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/track"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// Plan is part of control.Daemon: it tells what applying a file would change, and changes
// nothing.
func (d *Director) Plan(ctx context.Context, ask control.PlanRequest) (control.Plan, error) {
	var cfg *config.Config
	var err error
	if ask.Text == "" {
		cfg, err = d.opts.Load()
	} else {
		cfg, err = d.opts.Parse(ask.File, []byte(ask.Text))
	}
	if err != nil {
		return control.Plan{}, err
	}
	table, err := d.table.Refresh(ctx)
	if err != nil {
		return control.Plan{}, err
	}
	st := newSteering(cfg, d.steered(), sourceOf(cfg, d.opts.Routing))
	used := usedBy(table.Services, d.overrides.read().index())
	d.mu.Lock()
	was, wasSt, r := d.cfg, d.steering, rolesOf(cfg, d.active)
	next, assumed, stay := d.judging.preview(cfg, st, d.judgments, used)
	d.mu.Unlock()

	out := control.Plan{File: cfg.File, Changes: fileChanges(was, cfg, r), IPVS: []control.PlannedIPVS{}}
	out.Changes = append(out.Changes, checkChanges(targets(was, wasSt, used), targets(cfg, st, used))...)
	if !table.Listed {
		out.Warnings = append(out.Warnings, "the kernel's table is not known: IPVS "+table.State)
		return out, nil
	}
	mine := make(map[ipvs.ServiceKey]bool, len(table.Services))
	for _, s := range table.Services {
		mine[s.Key] = true
	}
	have := slices.Concat(table.Services, table.Foreign)
	kernel := make(map[ipvs.ServiceKey]ipvs.Service, len(have))
	for _, s := range have {
		kernel[s.Key] = s
	}
	want := slices.Concat(next, st.services(), guardServices(cfg))
	for _, s := range want {
		if err := ipvs.Validate(s); err != nil {
			out.Warnings = append(out.Warnings, err.Error())
		}
	}
	for _, c := range ipvs.Diff(have, want, func(k ipvs.ServiceKey) bool { return mine[k] }) {
		row := plannedIPVS(c, kernel[c.Service.Key])
		if assumed[serverKey{c.Service.Key, c.Destination.Addr}] && c.Op != ipvs.RemoveServer {
			row.When = "when its checks pass"
		}
		if wait := stay[serverKey{c.Service.Key, c.Destination.Addr}]; wait > 0 {
			row.When = fmt.Sprintf("when those that take its place have their first verdict, after %v at the latest", wait)
		}
		out.IPVS = append(out.IPVS, row)
		out.Connections += row.Connections
		out.Templates += row.Templates
	}
	return out, nil
}

// plannedIPVS shows a change of the kernel's table, with what it cuts: a server that is
// removed takes its connections along, and nothing else does. have is the service as the
// kernel has it.
func plannedIPVS(c ipvs.Change, have ipvs.Service) control.PlannedIPVS {
	row := control.PlannedIPVS{Change: c.String(), Service: c.Service.Key.String()}
	if c.Destination.Addr.IsValid() {
		row.Server = c.Destination.Addr.String()
	}
	if c.Op != ipvs.RemoveServer && c.Op != ipvs.RemoveService {
		return row
	}
	count := func(d ipvs.Destination) {
		row.Connections += d.Active + d.Inactive
		row.Templates += d.Templates
	}
	if c.Op == ipvs.RemoveServer {
		i, there := slices.BinarySearchFunc(have.Destinations, c.Destination.Addr, func(d ipvs.Destination, a netip.AddrPort) int { return d.Addr.Compare(a) })
		if there {
			count(have.Destinations[i])
		}
		return row
	}
	for _, d := range have.Destinations {
		count(d)
	}
	return row
}

// preview is the table that another file would make with what is known now, the servers
// that are taken to pass their first probe, and for how long servers stay until then that
// the file does not have. The judging itself does not change.
func (j *judging) preview(cfg *config.Config, st steering, known judgments, used inUse) (table []ipvs.Service, assumed map[serverKey]bool, stay map[serverKey]time.Duration) {
	next := judging{kept: j.kept, doubt: j.doubt}
	for _, row := range j.rows {
		next.rows = append(next.rows, row.copy())
	}
	next.set(cfg, st)
	initial := make(map[healthcheck.Target]healthcheck.State)
	for _, w := range targets(cfg, st, used) {
		initial[w.Target.Canonical()] = w.Initial
	}
	assumed, stay = make(map[serverKey]bool), make(map[serverKey]time.Duration)
	guessed := make(map[healthcheck.Target]bool)
	start := func(targets []healthcheck.Target) []healthcheck.Judgment {
		out := known(targets)
		for i, t := range targets {
			// One that is monitored has a reason for what it is.
			if out[i].State == healthcheck.Unknown {
				out[i].State = initial[t.Canonical()]
				out[i].Open = out[i].State != healthcheck.Up
			}
		}
		return out
	}
	guess := func(targets []healthcheck.Target) []healthcheck.Judgment {
		out := start(targets)
		for i, t := range targets {
			if out[i].Open {
				out[i].State, out[i].Open = healthcheck.Up, false
				guessed[t.Canonical()] = true
			}
		}
		return out
	}
	now := time.Now()
	next.look(now, start, nil)
	for _, row := range next.rows {
		for _, server := range row.servers {
			if server.leaving != nil {
				stay[serverKey{row.listen, server.at}] = row.until.Sub(now)
			}
		}
	}
	next.look(now, guess, nil)
	for _, row := range next.rows {
		for _, server := range row.servers {
			if slices.ContainsFunc(server.targets, func(t healthcheck.Target) bool { return guessed[t.Canonical()] }) {
				assumed[serverKey{row.listen, server.at}] = true
			}
		}
	}
	return next.table(), assumed, stay
}

// fileChanges are what differs between two files, other than checks, in the roles that
// this director has.
func fileChanges(was, next *config.Config, r roles) []control.PlannedChange {
	out := []control.PlannedChange{}
	add := func(kind, name, change string) {
		out = append(out, control.PlannedChange{Kind: kind, Name: name, Change: change})
	}
	compare(was.Routers, next.Routers, func(r vrrp.Config) any { return r.Key() }, func(r vrrp.Config) string { return r.Name }, "virtual router", add)
	compare(was.Groups, next.Groups, func(g vrrp.GroupConfig) any { return g.Name }, func(g vrrp.GroupConfig) string { return g.Name }, "sync group", add)
	compare(was.Conditions, next.Conditions, func(c track.Condition) any { return c.Name }, func(c track.Condition) string { return c.Name }, "condition", add)
	// A service goes by what it listens on: another name is a change, not another service.
	first := func(s config.Service) any { return s.Listen[0] }
	compare(was.Services, next.Services, first, func(s config.Service) string { return s.Name }, "service", add)
	for _, part := range []struct {
		kind      string
		was, next any
	}{
		{"connection sync", was.Sync, next.Sync}, {"BFD", was.BFD, next.BFD}, {"health", was.Health, next.Health},
		{"notify", was.Notify, next.Notify}, {"pacing", was.Pacing, next.Pacing}, {"directors", was.Directors, next.Directors}, {"channel", was.Channel, next.Channel},
		{"tracking", was.Tracks, next.Tracks}, {"timeouts", was.Timeouts, next.Timeouts}, {"sync protection", was.Protection, next.Protection},
		{"packet filter", filterRules(was, r), filterRules(next, r)}, {"sysctls", was.ManageSysctls, next.ManageSysctls},
	} {
		if !reflect.DeepEqual(part.was, part.next) {
			add(part.kind, "", changed(reflect.ValueOf(part.was), reflect.ValueOf(part.next)))
		}
	}
	return out
}

// compare tells what came, went and changed in two lists.
func compare[T any](was, next []T, key func(T) any, name func(T) string, kind string, add func(kind, name, change string)) {
	old := make(map[any]T, len(was))
	for _, x := range was {
		old[key(x)] = x
	}
	for _, x := range next {
		before, there := old[key(x)]
		delete(old, key(x))
		switch {
		case !there:
			add(kind, name(x), "new")
		case !reflect.DeepEqual(before, x):
			add(kind, name(x), changed(reflect.ValueOf(before), reflect.ValueOf(x)))
		}
	}
	for _, x := range was {
		if _, gone := old[key(x)]; gone {
			add(kind, name(x), "gone")
		}
	}
}

// changed words what differs between two values of one type: the fields of a structure,
// or else the whole. What is long or cannot be put into words is only named, as is what
// reads the same on both sides.
func changed(was, next reflect.Value) string {
	switch {
	case was.Kind() == reflect.Pointer && (was.IsNil() || next.IsNil()):
		if was.IsNil() {
			return "new"
		}
		return "gone"
	case was.Kind() == reflect.Pointer:
		return changed(was.Elem(), next.Elem())
	case was.Kind() != reflect.Struct:
		if text, ok := sides(was, next); ok {
			return text
		}
		return "changed"
	}
	var out []string
	for i := range was.NumField() {
		field := was.Type().Field(i)
		if !field.IsExported() || reflect.DeepEqual(was.Field(i).Interface(), next.Field(i).Interface()) {
			continue
		}
		text := words(field.Name)
		if both, ok := sides(was.Field(i), next.Field(i)); ok {
			text += " " + both
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// sides are two values in words; ok is false where these do not tell them apart.
func sides(was, next reflect.Value) (text string, ok bool) {
	if !showable(was.Type()) {
		return "", false
	}
	from, to := value(was), value(next)
	return from + " -> " + to, from != to
}

// showable reports whether values of a type are short, and no secrets.
func showable(t reflect.Type) bool {
	if t.Implements(reflect.TypeFor[fmt.Stringer]()) {
		return true
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.String:
		return true
	case reflect.Slice:
		return t.Elem().Implements(reflect.TypeFor[fmt.Stringer]())
	}
	return false
}

func value(v reflect.Value) string {
	s := fmt.Sprint(v.Interface())
	if s == "" || s == "[]" {
		return "none"
	}
	return s
}

// words is the name of a field in words: "PreemptAfter" is "preempt after".
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' && name[i-1] >= 'a' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// checkChanges are the checks that come and go, and those whose pace alone is another.
func checkChanges(was, next []healthcheck.Want) (out []control.PlannedChange) {
	type asked struct {
		server netip.AddrPort
		what   string
	}
	list := func(wants []healthcheck.Want) (map[asked]healthcheck.Target, []asked) {
		all, order := make(map[asked]healthcheck.Target), []asked(nil)
		for _, w := range wants {
			t := w.Target.Canonical()
			k := asked{t.Server, t.Check.String()}
			if _, twice := all[k]; !twice {
				order = append(order, k)
			}
			all[k] = t
		}
		return all, order
	}
	old, before := list(was)
	fresh, now := list(next)
	add := func(k asked, change string) {
		out = append(out, control.PlannedChange{Kind: "check", Name: k.server.String() + " " + k.what, Change: change})
	}
	for _, k := range now {
		switch t, there := old[k]; {
		case !there:
			add(k, "new")
		case t != fresh[k]:
			what := changed(reflect.ValueOf(t.Check), reflect.ValueOf(fresh[k].Check))
			if what == "" {
				what = "another way"
			}
			add(k, what)
		}
	}
	for _, k := range before {
		if _, still := fresh[k]; !still {
			add(k, "gone")
		}
	}
	return out
}
