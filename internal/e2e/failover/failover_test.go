package failover_test

import (
	"fmt"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// TestFailover: the backup takes over in time, and alone. The timed limit has slack
// for a busy machine; the benchmark has none. TestInterop has the other programs.
func TestFailover(t *testing.T) {
	for _, advertise := range []time.Duration{rig.Fast, 10 * time.Millisecond} {
		t.Run(advertise.String(), func(t *testing.T) {
			rig.Families(t, func(r *rig.Rig) {
				a := r.Start("lvsha", 0, 3, advertise)
				r.Holds(0, 10*time.Second)
				r.Start("lvsha", 1, 3, advertise)
				r.Settle(rig.Bound(advertise) + 500*time.Millisecond)
				r.Holds(0, time.Second) // the backup has joined and stays backup
				took, silence, stall := r.Failover(a)
				r.Logf("last advertisement to first answer %v (bound %v), silence %v; stalls explain %v", took, rig.Bound(advertise), silence, stall)
				if limit := rig.Bound(advertise) + 100*time.Millisecond + stall; took > limit {
					r.Errorf("failover took %v, at most %v", took, limit)
				}
				r.OneActive()
			})
		})
	}
}

// TestPreempt: a director of higher priority that joins takes the address over
// from a living one without losing a probe. TestInterop has the rest of what
// keepalived does beside lvsha.
func TestPreempt(t *testing.T) {
	for _, c := range []struct {
		joins, holds string
		ipv6         bool
		lost         int
	}{
		{"lvsha", "lvsha", false, 1},
		{"lvsha", "lvsha", true, 1},
		// keepalived removes its address before ours is announced.
		{"lvsha", "keepalived", true, 20},
		// See TestStop.
		{"keepalived", "lvsha", true, 40},
	} {
		t.Run(fmt.Sprintf("%s joins %s, %s", c.joins, c.holds, rig.FamilyName(c.ipv6)), func(t *testing.T) {
			r := rig.NewOf(t, c.ipv6)
			r.Start(c.holds, 1, 3, rig.Fast)
			r.Holds(1, 10*time.Second)
			lost := r.LostWhile(func() {
				r.Start(c.joins, 0, 3, rig.Fast)
				r.Holds(0, 10*time.Second)
			})
			if lost > c.lost {
				t.Errorf("%d probes lost, at most %d", lost, c.lost)
			}
			r.OneActive()
		})
	}
}

// TestStop: SIGTERM to the active director, make before break: it serves until the
// announcement of the other one is heard.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		peer string
		ipv6 bool
		lost int
	}{
		{"lvsha", false, 1},
		{"lvsha", true, 1},
		// keepalived announces before its kernel's work queue has made the addresses
		// local: the client is drawn to a machine that does not answer yet.
		{"keepalived", true, 40},
	} {
		for _, advertise := range []time.Duration{rig.Fast, time.Second} {
			t.Run(fmt.Sprintf("%s is the peer, %s, %v", c.peer, rig.FamilyName(c.ipv6), advertise), func(t *testing.T) {
				if c.peer == "lvsha" {
					t.Parallel()
				}
				r := rig.NewOf(t, c.ipv6)
				d := r.Start("lvsha", 0, 3, advertise)
				r.Holds(0, 10*time.Second)
				r.Start(c.peer, 1, 3, advertise)
				r.Settle(rig.Bound(advertise) + 500*time.Millisecond)
				lost := r.LostWhile(func() {
					r.Check(d.Stop())
					r.Holds(1, 10*time.Second)
				})
				if lost > c.lost {
					t.Errorf("%d probes lost by a stop, at most %d", lost, c.lost)
				}
				if r.VIP.Is6() && (r.Has(r.LVS[0], rig.LinkLocal6) || !r.Has(r.LVS[1], rig.LinkLocal6)) {
					t.Error("the link-local address did not move along")
				}
				r.OneActive()
			})
		}
	}
}
