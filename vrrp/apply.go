package vrrp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// apply makes the members equal to the configurations.
func (e *Engine) apply(configs []Config, groups []GroupConfig) {
	now := time.Now()
	first := e.members == nil
	e.reconfigured()
	wanted := make(map[Key]bool, len(configs))
	// An address that an Active is about to lose goes on with its new router,
	// which must not let it fall while it listens.
	losing := e.losing(configs)
	for _, c := range configs {
		c = c.resolved()
		wanted[c.Key()] = true
		m := e.find(c.Key())
		if m == nil {
			m = &member{router: NewRouter(c), problems: make(map[place]problem)}
			if first {
				m.holdOff = max(c.StartDelay, c.BootDelay-e.opt.Boottime())
				if e.opt.Resume != nil {
					if r, ok := e.opt.Resume(c.Key()); ok {
						m.resume = &r
					}
				}
			}
			if slices.ContainsFunc(c.held(), func(a Address) bool { return losing[a] }) {
				m.resume = &Resume{Active: true}
			}
			e.members = append(e.members, m)
			e.byKey[c.Key()] = m
			continue
		}
		m.removed = false
		m.packet = nil
		before := m.router.cfg
		e.step(m, now, Reconfigure{Config: c})
		e.replace(m, &before)
		if m.started {
			// Only of use to one that was leaving because it had been removed.
			e.step(m, now, Startup{})
		}
	}
	if e.members == nil {
		e.members = []*member{}
	}
	slices.SortFunc(e.members, func(a, b *member) int {
		x, y := a.router.Key(), b.router.Key()
		if c := strings.Compare(x.Interface, y.Interface); c != 0 {
			return c
		}
		if c := int(x.Family) - int(y.Family); c != 0 {
			return c
		}
		return int(x.VRID) - int(y.VRID)
	})
	e.reconfigured()
	e.regroup(now, groups)
	if e.looked {
		e.checkLinks(now)
	}
	// The new routers go first, so that no address is without an owner.
	for _, m := range e.members {
		if !wanted[m.router.Key()] && !m.removed {
			m.removed = true
			e.step(m, now, Shutdown{})
		}
	}
	e.repace()
}

// Removing reports whether something that no virtual router has any more may still be in
// the kernel: it is still to be removed, or cannot be, or the Engine has ended and may have
// left it there.
func (e *Engine) Removing() bool {
	busy := false
	err := e.do(context.Background(), func() {
		for _, w := range e.workers {
			idle, stuck := w.settled()
			busy = busy || !idle || stuck != nil || len(w.staged) > 0
		}
	})
	return busy || err != nil
}

// Configs are the configurations of all virtual routers, those that are leaving
// because they are no longer configured among them.
func (e *Engine) Configs() []Config {
	var out []Config
	read := func() {
		for _, m := range e.members {
			out = append(out, m.router.Config())
		}
	}
	if err := e.do(context.Background(), read); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		read()
	}
	return out
}

// anywhere is an address if an interface has it, or a certain one if it is link-local.
func (e *Engine) anywhere(a netip.Addr, l *seenLink) netip.Addr {
	kind := kindOf(a)
	if _, there := e.ownOf(l, kind).set[a]; there {
		return a
	}
	if !kind.linkLocal {
		for _, other := range e.links.links {
			if _, there := e.ownOf(other, kind).set[a]; there {
				return a
			}
		}
	}
	return netip.Addr{}
}

// losing are the addresses that are served by a router that will not have them.
func (e *Engine) losing(configs []Config) map[Address]bool {
	keeps := make(map[Key][]Address, len(configs))
	for _, c := range configs {
		c = c.resolved()
		keeps[c.Key()] = c.held()
	}
	out := make(map[Address]bool)
	for _, m := range e.members {
		if m.router.State() != Active {
			continue
		}
		for _, a := range m.router.all {
			if !slices.Contains(keeps[m.router.Key()], a) {
				out[a] = true
			}
		}
	}
	return out
}

// stop begins to stop.
func (e *Engine) stop(mode StopMode) {
	e.stopping = mode
	if mode != Release {
		return
	}
	now := time.Now()
	for _, m := range e.members {
		if m.started {
			e.step(m, now, Shutdown{})
		} else {
			// The last process may have left them, and nobody comes after us.
			e.stagePaths(m, jobRemove, m.router.cfg.Routes, m.router.cfg.Rules)
			e.stage(m, jobRemove, slices.DeleteFunc(slices.Clone(m.router.all), m.router.cfg.owns), 0)
		}
	}
}

// replace moves what a router has installed when its virtual interface has
// changed, and installs it anew when it begins or ends to refuse packets. Those
// are no differences between addresses, which is what the router looks at.
func (e *Engine) replace(m *member, before *Config) {
	cfg := &m.router.cfg
	if before.Virtual == cfg.Virtual && before.Refuses() == cfg.Refuses() {
		return
	}
	if m.router.Serving() {
		e.stage(m, jobInstall, cfg.held(), 0)
		e.stagePaths(m, jobInstall, cfg.Routes, cfg.Rules)
	}
	if before.Virtual == cfg.Virtual {
		return
	}
	// Hosts are to learn the hardware address of the new interface. The old one
	// goes even if nothing is served: it may be what a former process left.
	moved := slices.DeleteFunc(before.held(), func(a Address) bool {
		return before.carrier(a) == a.Interface && cfg.carrier(a) == a.Interface || before.owns(a)
	})
	e.stageFor(m, before, jobSilence, moved, 0)
	e.removePaths(m, before)
	e.stageFor(m, before, jobRemove, moved, 0)
	if m.router.State() == Active {
		e.stage(m, jobAnnounce, cfg.held(), m.router.rounds())
	}
}

// removePaths has the worker that had routes and rules let them go.
func (e *Engine) removePaths(m *member, before *Config) {
	w := e.worker(before.pathCarrier())
	w.staged = append(w.staged, job{kind: jobRemove, key: m.router.Key(), routes: before.Routes, rules: before.Rules})
}

// sawLinks takes in the interfaces as they are now.
func (e *Engine) sawLinks(now *seen) {
	e.looked = true
	before := e.links
	e.links = now
	e.renamed(before)
	e.checkLinks(time.Now())
	for name, w := range e.workers {
		b, _ := before.link(name)
		if n, _ := now.link(name); b.Index != n.Index || b.Up != n.Up {
			w.staged = append(w.staged, job{kind: jobRetry})
		}
	}
	for _, m := range e.members {
		if !m.router.Serving() {
			continue
		}
		e.rehardened(m, before)
		cfg := &m.router.cfg
		var doubtful []Address
		var on string
		var l *seenLink
		for _, a := range m.router.all {
			if iface := cfg.carrier(a); iface != on {
				on, l = iface, now.links[iface]
			}
			// The virtual interface is ours: somebody has removed it, or switched it off.
			if broken := on == cfg.Virtual && (l == nil || !l.Up); broken || l != nil && !l.carries(a.Prefix) {
				doubtful = append(doubtful, a)
			}
		}
		if len(doubtful) > 0 {
			e.stage(m, jobVerify, doubtful, 0)
		}
		if len(cfg.Routes)+len(cfg.Rules) > 0 {
			e.stagePaths(m, jobVerifyPaths, nil, nil)
		}
	}
}

// rehardened announces what is on an interface that has another hardware address than
// before, as after the failover of a bond, or that has come up: its address may have been
// changed while it was down, and switches may have forgotten it.
func (e *Engine) rehardened(m *member, before *seen) {
	if m.router.State() != Active {
		return
	}
	other := make(map[string]bool)
	var moved []Address
	for _, a := range m.router.all {
		iface := m.router.cfg.carrier(a)
		is, seen := other[iface]
		if !seen {
			was, there := before.link(iface)
			now, _ := e.links.link(iface)
			is = there && now.Up && (now.MAC != was.MAC || !was.Up)
			other[iface] = is
		}
		if is {
			moved = append(moved, a)
		}
	}
	if len(moved) > 0 {
		e.stage(m, jobAnnounce, moved, m.router.rounds())
	}
}

// renamed removes the addresses that an interface took along when it got
// another name. Under its new name it carries no virtual router, or not these.
func (e *Engine) renamed(before *seen) {
	moved := make(map[string]string)
	for name, l := range before.links {
		if to, ok := e.links.names[l.Index]; ok && to != name {
			moved[name] = to
		}
	}
	if len(moved) == 0 {
		return
	}
	for _, m := range e.members {
		for _, a := range m.router.all {
			to, ok := moved[m.router.cfg.carrier(a)]
			if !ok {
				continue
			}
			if e.links.links[to].carries(a.Prefix) && !m.router.cfg.owns(a) {
				e.stage(m, jobRemove, []Address{{Prefix: a.Prefix, Interface: to}}, 0)
			}
		}
	}
}

// checkLinks tells every router about its interface, if that is news, and
// starts those that wait for the first look.
func (e *Engine) checkLinks(now time.Time) {
	replaced := make(map[string]bool)
	for key, port := range e.ports {
		if l, _ := e.links.link(key.iface); port.index != 0 && l.Index != port.index {
			replaced[key.iface] = true
			e.opt.Port.Close(key.iface, key.family)
			*port = openPort{foreign: port.foreign}
		}
	}
	for _, m := range e.members {
		name := m.router.Key().Interface
		if _, ok := e.links.link(name); ok && replaced[name] && m.started && m.link.Problem == "" {
			// Whatever we had is gone with the old interface of that name.
			m.link = LinkChange{Problem: name + " was replaced"}
			e.step(m, now, m.link)
		}
		if link := e.assess(now, m); link != m.link {
			m.link, m.packet = link, nil
			e.step(m, now, link)
		}
		if !m.started && !m.removed && e.stopping == 0 {
			m.started = true
			e.step(m, now, Startup{Resume: m.resume, HoldOff: m.holdOff})
			m.resume = nil
		}
	}
}

// assess says whether a router's interface can be used, and opens the port on
// it.
func (e *Engine) assess(now time.Time, m *member) LinkChange {
	key := m.router.Key().port()
	name := key.iface
	l, ok := e.links.link(name)
	source := e.source(m, e.links.links[name])
	switch {
	case !ok:
		return LinkChange{Problem: fmt.Sprintf("interface %s does not exist (waiting for it)", name)}
	case !l.Up:
		return LinkChange{Problem: name + " is down"}
	case !source.IsValid():
		return e.absent(now, m)
	}
	m.absentSince = time.Time{}
	port := e.ports[key]
	if port == nil {
		port = &openPort{}
		e.ports[key] = port
	}
	if port.index == 0 && port.retryAt.IsZero() {
		if port.err = e.opt.Port.Open(name, l.Index, key.family); port.err == nil {
			port.index, port.failures = l.Index, 0
		} else {
			port.retryAt = now.Add(min(retryFirst<<min(port.failures, 10), retryMax))
			port.failures++
		}
	}
	if port.err != nil {
		return LinkChange{Problem: port.err.Error()}
	}
	return LinkChange{Source: source}
}

// defaultAbsence is how long the address to send from may be missing.
const defaultAbsence = 100 * time.Millisecond

func (c *Config) absence() time.Duration {
	if c.Absence == 0 {
		return defaultAbsence
	}
	return max(c.Absence, 0)
}

// absent is what the missing of the address to send from means: nothing for a while, and
// then a problem that the others are told of from that very address.
func (e *Engine) absent(now time.Time, m *member) LinkChange {
	cfg := &m.router.cfg
	problem := fmt.Sprintf("%s has no %s of its own", cfg.Interface, cfg.sourceKind())
	if cfg.Source.IsValid() {
		problem = fmt.Sprintf("no interface has %s, from which the unicast peers expect advertisements (waiting for it)", cfg.Source)
	}
	if m.link.Problem != "" || !m.link.Source.IsValid() {
		return LinkChange{Problem: problem, Source: m.link.Source, Speaks: m.link.Speaks}
	}
	if m.absentSince.IsZero() {
		m.absentSince = now
	}
	if now.Before(m.absentSince.Add(cfg.absence())) {
		return m.link
	}
	return LinkChange{Problem: problem, Source: m.link.Source, Speaks: true}
}

// source is the address to send from: the one that the configuration wants, or else
// the one in use as long as it is there, or else the interface's first that no virtual
// router has.
func (e *Engine) source(m *member, l *seenLink) netip.Addr {
	if l == nil {
		return netip.Addr{}
	}
	cfg := &m.router.cfg
	if cfg.Source.IsValid() {
		return e.anywhere(cfg.Source, l)
	}
	own := e.ownOf(l, cfg.senderKind())
	if _, there := own.set[m.router.Source()]; there {
		return m.router.Source()
	}
	if !own.first.IsValid() && cfg.Priority == priorityOwner {
		// The owner's virtual address is its own.
		return own.virtual
	}
	return own.first
}
