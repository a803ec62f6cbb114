package vrrptest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"lvsha/vrrp"
)

// State is what the engine has put into the kernel, as text: interfaces,
// addresses, refusals, routes and rules.
func (l *Links) State() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(l.virtual)) {
		v := l.virtual[name]
		lines = append(lines, fmt.Sprintf("interface %s on %s, %x", name, v.Base, v.MAC))
	}
	var addresses []string
	for at, a := range l.added {
		line := "address " + a.String()
		if l.refuses(at.prefix.Addr()) {
			line += ", refused"
		}
		addresses = append(addresses, line)
	}
	slices.Sort(addresses)
	lines = append(lines, addresses...)
	for _, r := range l.routes {
		lines = append(lines, "route "+r.String())
	}
	for _, r := range l.rules {
		lines = append(lines, "rule "+r.String())
	}
	return strings.Join(lines, "\n")
}

// TakeRoutes removes every route as somebody else would.
func (l *Links) TakeRoutes() { l.change(func() { l.routes = nil }) }

// TakeRules removes every rule as somebody else would.
func (l *Links) TakeRules() { l.change(func() { l.rules = nil }) }

// try does something unless every operation fails, and lets Watch know.
func (l *Links) try(what string, f func() error) error {
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err == nil {
		l.change(func() { err = f() })
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// note adds to the log; mu is held.
func (l *Links) note(format string, args ...any) { l.log = append(l.log, fmt.Sprintf(format, args...)) }

// MakeVirtual implements vrrp.Links.
func (l *Links) MakeVirtual(v vrrp.Virtual) error {
	return l.try("making interface "+v.Name, func() error {
		base := l.links[v.Base]
		if base == nil {
			return errors.New("no such device")
		}
		if link := l.links[v.Name]; link != nil {
			if l.virtual[v.Name] != v {
				return errors.New("there is another one of that name")
			}
			link.Up = base.Up
			return nil
		}
		l.index++
		l.links[v.Name] = &vrrp.Link{Name: v.Name, Index: l.index, Up: base.Up, MAC: v.MAC}
		l.virtual[v.Name] = v
		l.note("make %s on %s", v.Name, v.Base)
		return nil
	})
}

// RemoveVirtual implements vrrp.Links.
func (l *Links) RemoveVirtual(v vrrp.Virtual) error {
	return l.try("removing interface "+v.Name, func() error {
		if l.virtual[v.Name] == v {
			l.unplug(v.Name)
			l.note("unmake %s", v.Name)
		}
		return nil
	})
}

// Refuse implements vrrp.Links.
func (l *Links) Refuse(iface string, a netip.Addr) error {
	return l.try("refusing "+a.String(), func() error {
		if !l.refuses(a) {
			l.note("refuse %s", a)
		}
		l.refused[refusal{iface, a}] = true
		return nil
	})
}

// refuses says whether packets to an address are dropped; mu is held.
func (l *Links) refuses(a netip.Addr) bool {
	for r := range l.refused {
		if r.addr == a {
			return true
		}
	}
	return false
}

// Permit implements vrrp.Links.
func (l *Links) Permit(iface string, a netip.Addr) error {
	return l.try("permitting "+a.String(), func() error {
		had := l.refuses(a)
		delete(l.refused, refusal{iface, a})
		if had && !l.refuses(a) {
			l.note("permit %s", a)
		}
		return nil
	})
}

// AddRoute implements vrrp.Links.
func (l *Links) AddRoute(r vrrp.Route) error {
	return l.try("adding route "+r.String(), func() error {
		if r.Source.IsValid() && !slices.ContainsFunc(slices.Collect(maps.Keys(l.added)), func(at place) bool { return at.prefix.Addr() == r.Source }) {
			return errors.New("invalid argument")
		}
		if !slices.Contains(l.routes, r) {
			l.routes = append(l.routes, r)
			l.note("add route %s", r)
		}
		return nil
	})
}

// RemoveRoute implements vrrp.Links.
func (l *Links) RemoveRoute(r vrrp.Route) error {
	return l.try("removing route "+r.String(), func() error {
		if i := slices.Index(l.routes, r); i >= 0 {
			l.routes = slices.Delete(l.routes, i, i+1)
			l.note("remove route %s", r)
		}
		return nil
	})
}

// AddRule implements vrrp.Links.
func (l *Links) AddRule(r vrrp.Rule) error {
	return l.try("adding rule "+r.String(), func() error {
		if !slices.Contains(l.rules, r) {
			l.rules = append(l.rules, r)
			l.note("add rule %s", r)
		}
		return nil
	})
}

// RemoveRule implements vrrp.Links.
func (l *Links) RemoveRule(r vrrp.Rule) error {
	return l.try("removing rule "+r.String(), func() error {
		if i := slices.Index(l.rules, r); i >= 0 {
			l.rules = slices.Delete(l.rules, i, i+1)
			l.note("remove rule %s", r)
		}
		return nil
	})
}

// MissingPaths implements vrrp.Links.
func (l *Links) MissingPaths(routes []vrrp.Route, rules []vrrp.Rule) (gone []vrrp.Route, goneRules []vrrp.Rule, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, nil, fmt.Errorf("listing routes: %w", l.err)
	}
	for _, r := range routes {
		if !slices.Contains(l.routes, r) {
			gone = append(gone, r)
		}
	}
	for _, r := range rules {
		if !slices.Contains(l.rules, r) {
			goneRules = append(goneRules, r)
		}
	}
	return gone, goneRules, nil
}
