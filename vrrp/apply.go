package vrrp

import (
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
			m = &member{router: NewRouter(c), problems: make(map[Address]problem)}
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
		e.step(m, now, Reconfigure{Config: c})
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
			e.stage(m, jobRemove, m.router.all, 0)
		}
	}
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
		for _, a := range m.router.all {
			if l, ok := e.links[a.Interface]; ok && !slices.Contains(l.Addresses, a.Prefix) {
				e.stage(m, jobVerify, []Address{a}, 0)
			}
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
			name, ok := names[before[a.Interface].Index]
			if ok && name != a.Interface && slices.Contains(e.links[name].Addresses, a.Prefix) {
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

// reported takes in what a worker found out.
func (e *Engine) reported(r report) {
	now := time.Now()
	if !r.prefix.IsValid() {
		// A worker has nothing left to do; the loop looks whether it can end.
		return
	}
	address := Address{Prefix: r.prefix, Interface: r.iface}
	for _, key := range r.owners {
		m := e.find(key)
		if m == nil {
			continue
		}
		if r.lost {
			e.step(m, now, AddressLost{Address: address})
			continue
		}
		e.problem(m, now, address, r)
	}
	if len(r.owners) == 0 && r.err != nil {
		e.notice(Notice{
			Key: Key{Interface: r.iface}, Kind: NoticeOperation, At: now, Text: fmt.Sprintf("removing address %s: %v", address, r.err),
		})
	}
}

// problem is an operation on an address that fails.
type problem struct {
	text string
	// missing says that the address is not there.
	missing bool
}

// problem notes that an operation on an address fails, or works again.
func (e *Engine) problem(m *member, now time.Time, a Address, r report) {
	old, had := m.problems[a]
	notice := func(text string) {
		e.notice(Notice{Router: m.router.cfg.Name, Key: m.router.key, Kind: NoticeOperation, Text: text, At: now})
	}
	if r.err == nil {
		if had {
			delete(m.problems, a)
			notice(fmt.Sprintf("%s works again", a))
		}
		return
	}
	m.problems[a] = problem{r.err.Error(), !r.installed}
	if old.text != r.err.Error() {
		notice(r.err.Error())
	}
	missing := 0
	for _, p := range m.problems {
		if p.missing {
			missing++
		}
	}
	patience := max(time.Second, 3*m.router.cfg.Interval)
	if m.router.State() == Active && missing == len(m.router.all) && now.Sub(m.router.since) >= patience {
		e.step(m, now, InstallFailed{Err: r.err})
	}
}
