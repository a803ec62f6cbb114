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
			e.stage(m, jobRemove, m.router.all, 0)
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
	moved := slices.DeleteFunc(before.held(), func(a Address) bool { return before.carrier(a) == a.Interface && cfg.carrier(a) == a.Interface })
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
func (e *Engine) sawLinks(links []Link) {
	e.looked = true
	before := e.links
	e.links = make(map[string]Link, len(links))
	for _, l := range links {
		e.links[l.Name] = l
	}
	e.renamed(before)
	e.checkLinks(time.Now())
	for name, w := range e.workers {
		if b, n := before[name], e.links[name]; b.Index != n.Index || b.Up != n.Up {
			w.staged = append(w.staged, job{kind: jobRetry})
		}
	}
	for _, m := range e.members {
		if !m.router.Serving() {
			continue
		}
		cfg := &m.router.cfg
		var doubtful []Address
		for _, a := range m.router.all {
			iface := cfg.carrier(a)
			l, ok := e.links[iface]
			// The virtual interface is ours: somebody has removed it, or switched it off.
			broken := iface == cfg.Virtual && !l.Up
			if broken || ok && !slices.Contains(l.Addresses, a.Prefix) {
				doubtful = append(doubtful, a)
			}
		}
		e.stage(m, jobVerify, doubtful, 0)
		if len(cfg.Routes)+len(cfg.Rules) > 0 {
			e.stagePaths(m, jobVerifyPaths, nil, nil)
		}
	}
}

// renamed removes the addresses that an interface took along when it got
// another name. Under its new name it carries no virtual router, or not these.
func (e *Engine) renamed(before map[string]Link) {
	names := make(map[int]string, len(e.links))
	for name, l := range e.links {
		names[l.Index] = name
	}
	for _, m := range e.members {
		for _, a := range m.router.all {
			iface := m.router.cfg.carrier(a)
			name, ok := names[before[iface].Index]
			if ok && name != iface && slices.Contains(e.links[name].Addresses, a.Prefix) {
				e.stage(m, jobRemove, []Address{{Prefix: a.Prefix, Interface: name}}, 0)
			}
		}
	}
}

// checkLinks tells every router about its interface, if that is news, and
// starts those that wait for the first look.
func (e *Engine) checkLinks(now time.Time) {
	replaced := make(map[string]bool)
	for key, port := range e.ports {
		if port.index != 0 && e.links[key.iface].Index != port.index {
			replaced[key.iface] = true
			e.opt.Port.Close(key.iface, key.family)
			*port = openPort{foreign: port.foreign}
		}
	}
	for _, m := range e.members {
		name := m.router.Key().Interface
		if _, ok := e.links[name]; ok && replaced[name] && m.started && m.link.Problem == "" {
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
	l, ok := e.links[name]
	source := e.source(m, l)
	switch {
	case !ok:
		return LinkChange{Problem: fmt.Sprintf("interface %s does not exist (waiting for it)", name)}
	case !l.Up:
		return LinkChange{Problem: name + " is down"}
	case !source.IsValid():
		return LinkChange{Problem: fmt.Sprintf("%s has no %s of its own", name, m.router.cfg.sourceKind())}
	}
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

// source is the address to send from: the one that the configuration prefers, or
// else the one in use as long as it is there, or else the interface's first that
// no virtual router has.
func (e *Engine) source(m *member, l Link) netip.Addr {
	virtual := make(map[netip.Addr]bool)
	for _, other := range e.members {
		for _, a := range other.router.all {
			// A link-local address of one interface says nothing about another's.
			if a.Interface == l.Name || !a.Prefix.Addr().IsLinkLocalUnicast() {
				virtual[a.Prefix.Addr()] = true
			}
		}
	}
	cfg := &m.router.cfg
	var first, current, own netip.Addr
	for _, p := range l.Addresses {
		a := p.Addr()
		if !cfg.canSendFrom(a) {
			continue
		}
		if virtual[a] {
			if !own.IsValid() {
				own = a
			}
			continue
		}
		switch {
		case a == cfg.Source:
			return a
		case a == m.router.Source():
			current = a
		case !first.IsValid():
			first = a
		}
	}
	switch {
	case current.IsValid():
		return current
	case !first.IsValid() && cfg.Priority == priorityOwner:
		// The owner's virtual address is its own.
		return own
	}
	return first
}
