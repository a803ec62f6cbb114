package vrrp_test

import (
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lvsha/vrrp"
)

// simulated is the length of one seed.
const simulated = 86400 * time.Millisecond

// TestSimulation plays faults among 2 to 5 routers and checks every SIM-SAFE and
// SIM-LIVE bound: ten simulated days in total. Its checks are SIM-SAFE-01 to 07,
// SIM-LIVE-01 to 07, SIM-ELECT-08, SIM-PART-01, 04 to 06, SIM-PAUSE-01, 03 and 07,
// SIM-CACHE-01, SIM-CRASH-01 and SIM-CLOCK-01.
func TestSimulation(t *testing.T) {
	var next atomic.Uint64
	var total atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				seed := next.Add(1)
				if seed > simulatedSeeds || t.Failed() {
					return
				}
				s := newSim(seed, nil)
				s.run(simulated)
				total.Add(int64(s.now))
				for _, v := range s.violations {
					t.Errorf("seed %d (version %d, interval %s): %s", seed, s.nodes[0].cfg.Version, s.nodes[0].cfg.Interval, v)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d seeds, %s simulated", simulatedSeeds, time.Duration(total.Load()).Round(time.Second))
	if want := simulatedSeeds * simulated; !t.Failed() && time.Duration(total.Load()) < want {
		t.Errorf("simulated %s, want %s", time.Duration(total.Load()), want)
	}
}

// TestSimulationRepeats has two runs of one seed leave the same trace
// (SIM-SAFE-09).
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var sums [2]uint64
		for i := range sums {
			s := newSim(seed, nil)
			s.run(simulated / 4)
			sums[i] = s.trace.Sum64()
		}
		if sums[0] != sums[1] {
			t.Errorf("seed %d has two traces", seed)
		}
	}
}

// mutant is a router with one rule broken.
type mutant struct {
	machine
	event  func(m machine, ev vrrp.Event) vrrp.Event // nil drops it
	action func(m machine, a vrrp.Action) []vrrp.Action
	late   time.Duration
	early  time.Duration
}

func (m *mutant) Step(now time.Time, ev vrrp.Event) []vrrp.Action {
	if m.event != nil {
		if ev = m.event(m.machine, ev); ev == nil {
			return nil
		}
	}
	if _, ok := ev.(vrrp.Tick); ok {
		now = now.Add(m.early)
	}
	actions := m.machine.Step(now, ev)
	if m.action == nil {
		return actions
	}
	var out []vrrp.Action
	for _, a := range actions {
		out = append(out, m.action(m.machine, a)...)
	}
	return out
}

func (m *mutant) Deadline() time.Time {
	d := m.machine.Deadline()
	if d.IsZero() || (m.late > 0 && m.machine.State() != vrrp.Active) {
		return d
	}
	return d.Add(m.late - m.early)
}

// TestSimulationCatches plants wrong rules and wants each to be found.
func TestSimulationCatches(t *testing.T) {
	without := func(drop func(vrrp.State, vrrp.Action) bool) func(machine) machine {
		return func(m machine) machine {
			return &mutant{machine: m, action: func(m machine, a vrrp.Action) []vrrp.Action {
				if drop(m.State(), a) {
					return nil
				}
				return []vrrp.Action{a}
			}}
		}
	}
	deafTo := func(drop func(vrrp.State, *vrrp.Received) bool) func(machine) machine {
		return func(m machine) machine {
			return &mutant{machine: m, event: func(m machine, ev vrrp.Event) vrrp.Event {
				if r, ok := ev.(*vrrp.Received); ok && drop(m.State(), r) {
					return nil
				}
				return ev
			}}
		}
	}
	// dropped has a router miss every event of a type.
	dropped := func(which vrrp.Event) func(machine) machine {
		return func(m machine) machine {
			return &mutant{machine: m, event: func(_ machine, ev vrrp.Event) vrrp.Event {
				if reflect.TypeOf(ev) == reflect.TypeOf(which) {
					return nil
				}
				return ev
			}}
		}
	}
	for _, tt := range []struct {
		name      string
		wrap      func(machine) machine
		tickFirst bool
		want      string
	}{
		{"priority 0 is ignored", deafTo(func(s vrrp.State, r *vrrp.Received) bool { return r.Advertisement.Priority == 0 }), false, "SIM-LIVE-02"},
		{"an active never yields", deafTo(func(s vrrp.State, r *vrrp.Received) bool { return s == vrrp.Active }), false, "SIM-LIVE"},
		{"a backup forgets its skew", func(m machine) machine { return &mutant{machine: m, early: 5 * time.Millisecond} }, false, "SIM-SAFE-05"},
		{"a leaving router goes on advertising", func(m machine) machine {
			return &mutant{machine: m, action: func(m machine, a vrrp.Action) []vrrp.Action {
				if t, ok := a.(vrrp.Transition); ok && t.To == vrrp.Leaving {
					return []vrrp.Action{a, vrrp.Send{Priority: 100}}
				}
				return []vrrp.Action{a}
			}}
		}, false, "SIM-SAFE-04"},
		{"addresses are never removed", without(func(_ vrrp.State, a vrrp.Action) bool { _, ok := a.(vrrp.Remove); return ok }), false, "SIM-SAFE-03"},
		{"addresses are never installed", without(func(_ vrrp.State, a vrrp.Action) bool { _, ok := a.(vrrp.Install); return ok }), false, "SIM-SAFE-02"},
		{"nothing is announced", without(func(_ vrrp.State, a vrrp.Action) bool { _, ok := a.(vrrp.Announce); return ok }), false, "SIM-CACHE-01"},
		{"an active advertises late", func(m machine) machine { return &mutant{machine: m, late: 2 * time.Second} }, false, "SIM-"},
		{"timers run before the queue is read", nil, true, "SIM-PAUSE-03"},
		{"a group does not give way together", dropped(vrrp.GroupDemote{}), false, "SIM-"},
		{"a group does not fail together", dropped(vrrp.GroupFault{}), false, "SIM-"},
		{"the end of a path is ignored", dropped(vrrp.PeerDown{}), false, "SIM-LIVE-07"},
		{"a yield does not last", dropped(vrrp.Yield{}), false, "SIM-LIVE-02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 60; seed++ {
				s := newSim(seed, tt.wrap)
				s.tickFirst = tt.tickFirst
				s.run(simulated)
				for _, v := range s.violations {
					if strings.HasPrefix(v, tt.want) {
						return
					}
				}
			}
			t.Errorf("60 seeds did not find it")
		})
	}
}
