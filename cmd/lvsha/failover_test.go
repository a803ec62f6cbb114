package main_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/lab"
)

// director is one side of a pair, lvsha or keepalived.
type director struct {
	// lvsha is nil for another program.
	lvsha *lab.Daemon
	kill  func() error
	// stop ends it in the ordinary way and returns when it has ended.
	stop func() error
}

// start starts one kind of director and does not wait.
func (r *rig) start(kind string, i, version int, advertise time.Duration) director {
	r.Helper()
	priority := []int{150, 100}[i]
	if kind == "keepalived" {
		return r.keepalivedDirector(i, keepalivedFile(version, advertise, priority))
	}
	return r.lvshaDirector(i, vrrpFile(version, advertise))
}

// keepalivedDirector starts keepalived with a file, in the rig's family.
func (r *rig) keepalivedDirector(i int, file string) director {
	r.Helper()
	k := r.keepalived(r.lvs[i], r.inFamily(file))
	return director{kill: k.Kill, stop: func() error {
		if err := k.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		_, err := k.Wait(10 * time.Second)
		return err
	}}
}

// lvshaDirector starts lvsha with a file, in the rig's family.
func (r *rig) lvshaDirector(i int, file string) director {
	r.Helper()
	d := r.lvsha(r.lvs[i], r.inFamily(file))
	return director{lvsha: d, kill: d.Kill, stop: func() error {
		code, err := d.End(syscall.SIGTERM)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	}}
}

// holds waits until a director has the address and the other has not.
func (r *rig) holds(i int, limit time.Duration) {
	r.Helper()
	r.eventually(r.lvs[i].Name+" has the address alone", limit, func() bool {
		return r.has(r.lvs[i], r.vip) && !r.has(r.lvs[1-i], r.vip)
	})
}

// failover kills the active director with its link cut and returns the time
// from its last advertisement to the first answer of the other, and how long
// nobody answered.
func (r *rig) failover(active director) (fromAdvertisement, silence time.Duration) {
	r.Helper()
	stop := r.ping()
	r.settle(150 * time.Millisecond)
	died := time.Now()
	r.check(r.ports[0].Cut())
	r.check(active.kill())
	r.eventually("lvs2 has the address", 10*time.Second, func() bool { return r.has(r.lvs[1], r.vip) })
	r.settle(100 * time.Millisecond)
	begin, end := lab.Outage(stop(), died.Add(-50*time.Millisecond))
	last, ok := r.sniffer.Last(r.source[0], died.Add(50*time.Millisecond))
	if !ok {
		r.Fatal("no advertisement of lvs1 was seen")
	}
	return end.Sub(last.At), end.Sub(begin)
}

// bound is 3 × A + skew of the backup with priority 100.
func bound(advertise time.Duration) time.Duration { return 3*advertise + 156*advertise/256 }

// TestFailover: the backup takes over in time, and alone. The timed limit has slack
// for a busy machine; the benchmark has none. TestInterop has the other programs.
func TestFailover(t *testing.T) {
	for _, advertise := range []time.Duration{fast, 10 * time.Millisecond} {
		t.Run(advertise.String(), func(t *testing.T) {
			families(t, func(r *rig) {
				a := r.start("lvsha", 0, 3, advertise)
				r.holds(0, 10*time.Second)
				r.start("lvsha", 1, 3, advertise)
				r.settle(bound(advertise) + 500*time.Millisecond)
				r.holds(0, time.Second) // the backup has joined and stays backup
				took, silence := r.failover(a)
				r.Logf("last advertisement to first answer %v (bound %v), silence %v", took, bound(advertise), silence)
				if limit := bound(advertise) + 100*time.Millisecond; took > limit {
					r.Errorf("failover took %v, at most %v", took, limit)
				}
				r.oneActive()
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
		t.Run(fmt.Sprintf("%s joins %s, %s", c.joins, c.holds, familyName(c.ipv6)), func(t *testing.T) {
			r := newRigOf(t, c.ipv6)
			r.start(c.holds, 1, 3, fast)
			r.holds(1, 10*time.Second)
			lost := r.lostWhile(func() {
				r.start(c.joins, 0, 3, fast)
				r.holds(0, 10*time.Second)
			})
			if lost > c.lost {
				t.Errorf("%d probes lost, at most %d", lost, c.lost)
			}
			r.oneActive()
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
		for _, advertise := range []time.Duration{fast, time.Second} {
			t.Run(fmt.Sprintf("%s is the peer, %s, %v", c.peer, familyName(c.ipv6), advertise), func(t *testing.T) {
				r := newRigOf(t, c.ipv6)
				d := r.start("lvsha", 0, 3, advertise)
				r.holds(0, 10*time.Second)
				r.start(c.peer, 1, 3, advertise)
				r.settle(bound(advertise) + 500*time.Millisecond)
				lost := r.lostWhile(func() {
					r.check(d.stop())
					r.holds(1, 10*time.Second)
				})
				if lost > c.lost {
					t.Errorf("%d probes lost by a stop, at most %d", lost, c.lost)
				}
				if r.vip.Is6() && (r.has(r.lvs[0], linkLocal6) || !r.has(r.lvs[1], linkLocal6)) {
					t.Error("the link-local address did not move along")
				}
				r.oneActive()
			})
		}
	}
}
