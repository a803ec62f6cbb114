package vrrp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Track tells a virtual router what it depends on. It waits for nothing; a router
// that is not there is fine.
func (e *Engine) Track(key Key, t Tracked) {
	e.post(func() {
		if m := e.find(key); m != nil {
			e.step(m, time.Now(), t)
		}
	})
}

// PeerDown tells that the path to an address over an interface is known to be dead,
// for those virtual routers on it whose Active it is. A link-local address says
// nothing about other interfaces.
func (e *Engine) PeerDown(iface string, addr netip.Addr, at time.Time) {
	e.post(func() {
		now := time.Now()
		for _, m := range e.members {
			if m.router.key.Interface != iface {
				continue
			}
			e.step(m, now, PeerDown{Source: addr, At: at})
		}
	})
}

// ErrNoRouter is a virtual router that is not configured.
var ErrNoRouter = errors.New("no such virtual router")

// Yield gives a virtual router's addresses, and its sync group's, to another
// director until a time; zero is until an Unyield. It returns when that has begun:
// the router leaves, and is Active again if nobody takes them.
func (e *Engine) Yield(ctx context.Context, key Key, until time.Time) error {
	return e.steer(ctx, key, func(m *member) error {
		if m.router.cfg.Priority == priorityOwner {
			return fmt.Errorf("%s owns its addresses (priority 255) and cannot yield them", m.router.cfg.Name)
		}
		now := time.Now()
		if !until.IsZero() {
			// By the clock that nobody sets.
			until = now.Add(until.Sub(now))
		}
		e.step(m, now, Yield{Until: until})
		return nil
	})
}

// Unyield ends a Yield.
func (e *Engine) Unyield(ctx context.Context, key Key) error {
	return e.steer(ctx, key, func(m *member) error {
		e.step(m, time.Now(), Unyield{})
		return nil
	})
}

// steer does something to a router and the rest of its group.
func (e *Engine) steer(ctx context.Context, key Key, do func(*member) error) error {
	err := ErrNoRouter
	if called := e.do(ctx, func() {
		m := e.find(key)
		if m == nil {
			return
		}
		together := []*member{m}
		if m.group != nil {
			together = nil
			for _, r := range m.group.members {
				together = append(together, e.find(r.key))
			}
		}
		err = nil
		for _, m := range together {
			err = errors.Join(err, do(m))
		}
		e.flush()
	}); called != nil {
		return called
	}
	return err
}

// checkGroups says what is wrong with sync groups of these routers.
func checkGroups(configs []Config, groups []GroupConfig) error {
	var errs []error
	taken := make(map[Key]string)
	for _, g := range groups {
		if len(g.Members) < 2 {
			errs = append(errs, fmt.Errorf("sync group %q has %d members, want two or more", g.Name, len(g.Members)))
		}
		for _, key := range g.Members {
			if !slices.ContainsFunc(configs, func(c Config) bool { return c.Key() == key }) {
				errs = append(errs, fmt.Errorf("sync group %q: %s: %w", g.Name, key, ErrNoRouter))
			}
			if other, ok := taken[key]; ok {
				errs = append(errs, fmt.Errorf("sync groups %q and %q both have %s", other, g.Name, key))
			}
			taken[key] = g.Name
		}
	}
	return errors.Join(errs...)
}

// regroup makes the sync groups equal to the list.
func (e *Engine) regroup(now time.Time, groups []GroupConfig) {
	for _, m := range e.members {
		m.group = nil
		m.router.Leave()
	}
	for _, g := range groups {
		var routers []*Router
		for _, key := range g.Members {
			routers = append(routers, e.find(key).router)
		}
		group := NewGroup(g.Name, routers)
		for _, key := range g.Members {
			e.find(key).group = group
		}
	}
	for _, m := range e.members {
		if m.group == nil && m.router.group.problem != "" {
			e.step(m, now, GroupFault{})
		} else {
			e.follow(m, now)
		}
	}
}

// follow tells the members of a router's sync group what its step means to them.
func (e *Engine) follow(m *member, now time.Time) {
	if m.group == nil || e.stopping != 0 {
		return
	}
	for {
		r, ev, ok := m.group.Next()
		if !ok {
			return
		}
		e.stepOne(e.find(r.key), now, ev)
	}
}
