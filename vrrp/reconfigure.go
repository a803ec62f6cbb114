package vrrp

import (
	"time"
)

// reconfigure applies a new configuration without leaving the state. What is
// new on the wire is said by the next advertisement (V3-ACT-17).
func (r *Router) reconfigure(now time.Time, cfg Config) {
	if cfg.Key() != r.key {
		panic("vrrp: a configuration of " + cfg.Key().String() + " for " + r.key.String())
	}
	old := r.cfg
	before := r.downInterval()
	held := r.all
	r.cfg, r.all = cfg, cfg.held()
	if !r.active.source.IsValid() {
		r.learned = cfg.Interval
	}
	// One with another label or scope is put in place anew, and stays.
	added, removed := difference(r.all, held, itself), difference(held, r.all, Address.place)
	for _, a := range removed {
		delete(r.lost, a)
		delete(r.restored, a)
	}
	if r.serving {
		// Add before remove.
		if len(added) > 0 && r.state != Leaving {
			r.emit(Install{Addresses: added})
			if r.state == Active {
				r.announce(added, r.rounds())
				r.again(now)
			}
		}
		r.reconfigurePaths(old)
		if len(removed) > 0 {
			r.letGo(&old, removed)
		}
	}
	if !r.preemptAt.IsZero() {
		// Counted from the same advertisement.
		r.preemptAt = r.preemptAt.Add(cfg.PreemptAfter - old.PreemptAfter)
	}
	switch r.state {
	case Active:
		// A shorter interval must not make the others wait for the end of the
		// longer one.
		if next := now.Add(cfg.Interval); next.Before(r.timer) {
			r.timer = next
		}
	case Backup:
		if cfg.Priority == priorityOwner {
			r.becomeActive(now, true, "owner of the addresses")
			return
		}
		if !r.released {
			// The pending expiry moves by the difference, as in keepalived.
			r.timer = r.timer.Add(r.downInterval() - before)
		}
	}
}

// reconfigurePaths adds and removes what changed of the routes and rules.
func (r *Router) reconfigurePaths(old Config) {
	added := InstallPaths{Routes: difference(r.cfg.Routes, old.Routes, itself), Rules: difference(r.cfg.Rules, old.Rules, itself)}
	if len(added.Routes)+len(added.Rules) > 0 && r.state != Leaving {
		r.emit(added)
	}
	removed := RemovePaths{Routes: difference(old.Routes, r.cfg.Routes, itself), Rules: difference(old.Rules, r.cfg.Rules, itself)}
	if len(removed.Routes)+len(removed.Rules) > 0 {
		r.emit(removed)
	}
}

// itself is a key by which values differ as a whole.
func itself[T any](v T) T { return v }

// place is where an address is, whatever its attributes are.
func (a Address) place() Address { return Address{Prefix: a.Prefix, Interface: a.Interface} }

// difference are the values of a that b lacks, going by their keys.
func difference[T any, K comparable](a, b []T, key func(T) K) []T {
	in := make(map[K]bool, len(b))
	for _, x := range b {
		in[key(x)] = true
	}
	var out []T
	for _, x := range a {
		if !in[key(x)] {
			out = append(out, x)
		}
	}
	return out
}
