package bfd_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lvsha/internal/bfd"
)

// world is two sessions with each other over a segment that loses, delays,
// reorders and repeats.
type world struct {
	testing.TB
	random *rand.Rand
	now    time.Time
	ends   [2]*end
	flight []flying
	loss   float64
	delay  time.Duration
}

type end struct {
	*bfd.Session
	params bfd.Params
	dead   bool
	// stalled is until when the process does not run.
	stalled time.Time
	failed  int
}

type flying struct {
	at     time.Time
	to     int
	packet bfd.Packet
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{TB: t, random: rand.New(rand.NewPCG(seed, 1)), now: start}
	for i := range w.ends {
		w.ends[i] = &end{params: w.params()}
		w.ends[i].Session = bfd.NewSession(key, w.ends[i].params, uint32(i+1), w.random.Float64, start)
	}
	return w
}

func (w *world) params() bfd.Params {
	return bfd.Params{Interval: time.Duration(5+w.random.IntN(100)) * ms, Multiplier: uint8(1 + w.random.IntN(5))}
}

// step gives an event to one end, and what it sends to the segment.
func (w *world) step(i int, ev bfd.Event) {
	e := w.ends[i]
	for _, a := range e.Step(w.now, ev) {
		switch a := a.(type) {
		case bfd.Transition:
			// A storm is full of false alarms, so that what is left is doubted.
			if a.From == bfd.Up && a.Diag == bfd.DiagExpired {
				e.failed++
			}
		case bfd.Send:
			if a.Packet.Poll && a.Packet.Final {
				w.Fatal("P and F in one packet (BFD-TMR-05)")
			}
			if a.Packet.State != bfd.Up && a.Packet.MinTx < time.Second {
				w.Fatalf("%v (BFD-TMR-03)", a.Packet)
			}
			for n := 1 + w.random.IntN(20)/19; n > 0; n-- {
				if w.random.Float64() >= w.loss {
					w.flight = append(w.flight, flying{w.now.Add(time.Duration(w.random.Int64N(int64(w.delay) + 1))), 1 - i, a.Packet})
				}
			}
		}
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	stop := w.now.Add(d)
	for {
		next, who, packet := stop, -1, -1
		for i, f := range w.flight {
			at := later(f.at, w.ends[f.to].stalled)
			if at.Before(next) || (at.Equal(next) && packet < 0) {
				next, packet = at, i
			}
		}
		for i, e := range w.ends {
			at := e.Deadline()
			if e.dead || at.IsZero() {
				continue
			}
			// A packet that has arrived is read before a timer acts.
			if at = later(at, e.stalled); at.Before(next) {
				next, who, packet = at, i, -1
			}
		}
		w.now = later(w.now, next)
		switch {
		case packet >= 0:
			f := w.flight[packet]
			w.flight = slices.Delete(w.flight, packet, packet+1)
			if !w.ends[f.to].dead {
				w.step(f.to, bfd.Received{At: f.at, Packet: &f.packet})
			}
		case who >= 0:
			w.step(who, bfd.Tick{})
		default:
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestSimulation: whatever happened, two sessions come up on a segment that works,
// agree about their timers, stay up, and find the death of the other in time.
func TestSimulation(t *testing.T) {
	for seed := range uint64(1000) {
		w := newWorld(t, seed)
		// A storm: loss, delay, changes, stalls.
		for range 20 {
			w.loss, w.delay = w.random.Float64(), time.Duration(w.random.IntN(50))*ms
			w.run(time.Duration(w.random.IntN(1000)) * ms)
			i := w.random.IntN(2)
			switch e := w.ends[i]; w.random.IntN(3) {
			case 0:
				e.params = w.params()
				w.step(i, bfd.Reconfigure{Params: e.params})
			case 1:
				e.stalled = w.now.Add(time.Duration(w.random.IntN(2000)) * ms)
			}
		}
		w.loss, w.delay = 0, ms
		w.run(15 * time.Second) // the longest detection time of what was said in the storm, and two packets
		a, b := w.ends[0], w.ends[1]
		for i, e := range w.ends {
			other := w.ends[1-i]
			s := e.Status()
			slower := max(a.params.Interval, b.params.Interval)
			if s.State != bfd.Up || s.Polling || s.Transmission != slower || s.Detection != time.Duration(other.params.Multiplier)*slower {
				t.Fatalf("seed %d: %+v with %+v and %+v", seed, s, e.params, other.params)
			}
			if s.Remote != other.Discriminator() {
				t.Fatalf("seed %d: remote discriminator %d", seed, s.Remote)
			}
			e.failed = 0
		}
		w.run(5 * time.Second)
		if a.State() != bfd.Up || b.State() != bfd.Up || a.failed+b.failed > 0 {
			t.Fatalf("seed %d: a session on a perfect segment went down", seed)
		}
		a.dead = true
		detection := b.Status().Detection
		w.run(detection + w.delay - 1)
		w.run(1)
		if b.State() != bfd.Down || b.failed != 1 {
			t.Fatalf("seed %d: %s, %d failures, %s after the death of the other", seed, b.State(), b.failed, detection+w.delay)
		}
	}
}

// TestSimulationRate: packets that are not due to a change or a poll keep their
// distance (RFC 5880 section 6.8.7).
func TestSimulationRate(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		w.delay = ms
		w.run(10 * time.Second)
		for i, e := range w.ends {
			before := e.Status()
			w.run(10 * time.Second)
			after := e.Status()
			got := time.Duration(after.Counters.Sent - before.Counters.Sent)
			fastest, slowest := after.Transmission*3/4, after.Transmission
			if e.params.Multiplier == 1 {
				slowest = after.Transmission * 9 / 10
			}
			if got > 10*time.Second/fastest+1 || got < 10*time.Second/slowest-1 {
				t.Fatalf("seed %d, end %d: %d packets in 10 s at %s", seed, i, got, after.Transmission)
			}
		}
	}
}
