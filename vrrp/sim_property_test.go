package vrrp_test

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lvsha/vrrp"
)

// segment describes a small simulation in which one property shows.
type segment struct {
	seed              uint64
	priorities        []uint8
	interval          time.Duration
	dmin, dmax, sigma time.Duration
	each              func(i int, c *vrrp.Config)
	late              bool // nobody is started
}

// sim makes it, with everybody running.
func (g segment) sim() *sim {
	s := &sim{random: rand.New(rand.NewPCG(g.seed, 1)), trace: fnv.New64a(), dmin: g.dmin, dmax: g.dmax, sigma: g.sigma, tau: g.sigma, record: true}
	for i, p := range g.priorities {
		n := &node{
			id: i, source: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), linkUp: true, packets: make(map[uint8][]byte),
			cfg: vrrp.Config{
				Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: p, Interval: g.interval,
				Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.100/24")}},
			},
		}
		if g.each != nil {
			g.each(i, &n.cfg)
		}
		s.nodes, s.cache = append(s.nodes, n), append(s.cache, -1)
	}
	s.mesh()
	for _, n := range s.nodes {
		if !g.late {
			s.start(n, nil)
		}
	}
	return s
}

// became is when a node last became what it is asked for; -1 is never.
func (s *sim) became(id int, to vrrp.State) time.Duration {
	for i := len(s.changes) - 1; i >= 0; i-- {
		if c := s.changes[i]; c.node == id && c.to == to {
			return c.at
		}
	}
	return -1
}

// promotions counts how often anybody became Active since a time.
func (s *sim) promotions(since time.Duration) (n int) {
	for _, c := range s.changes {
		if c.to == vrrp.Active && c.at >= since {
			n++
		}
	}
	return n
}

// states are those of all nodes.
func (s *sim) states() string {
	var out []string
	for _, n := range s.nodes {
		word := "-"
		if n.alive {
			word = n.m.State().String()
		}
		out = append(out, word)
	}
	return fmt.Sprint(out)
}

// die ends a node's machine.
func (n *node) die() { n.alive, n.vip = false, false }

const ms = time.Millisecond

func TestSimulatedElections(t *testing.T) {
	t.Run("SIM-ELECT-01 SIM-ELECT-12 a crash is found by the interval of the Active", func(t *testing.T) {
		// The Active advertises every 300 ms, the Backup would every 100 ms.
		s := segment{priorities: []uint8{200, 150}, interval: 300 * ms, dmin: ms, dmax: 2 * ms, sigma: ms,
			each: func(i int, c *vrrp.Config) { c.Interval = []time.Duration{300 * ms, 100 * ms}[i] }}.sim()
		s.advance(10*time.Second + 50*ms)
		died := s.now
		s.nodes[0].die()
		s.advance(2 * time.Second)
		took := s.became(1, vrrp.Active) - died
		if d := down(s.nodes[1].cfg, 300*ms); took > d+s.dmax+s.sigma || took < d-300*ms-s.sigma {
			t.Errorf("took over after %s, want %s less an interval at most", took, d)
		}
	})
	t.Run("SIM-ELECT-02 a stop", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 150}, interval: time.Second, dmin: ms, dmax: 2 * ms, sigma: ms}.sim()
		s.advance(10 * time.Second)
		stopped := s.now
		s.step(s.nodes[0], vrrp.Shutdown{})
		s.advance(2 * time.Second)
		if took, most := s.became(1, vrrp.Active)-stopped, skew(s.nodes[1].cfg, time.Second)+s.dmax+s.sigma; took > most {
			t.Errorf("took over after %s, want at most %s", took, most)
		}
	})
	t.Run("SIM-ELECT-03 one takes over where skews differ by more than the network", func(t *testing.T) {
		for seed := range uint64(50) {
			s := segment{seed: seed, priorities: []uint8{200, 150, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms}.sim()
			s.advance(10*time.Second + s.chance(time.Second))
			died := s.now
			s.nodes[0].die()
			s.advance(10 * time.Second)
			if n := s.promotions(died); n != 1 {
				t.Errorf("seed %d: %d became active", seed, n)
			}
		}
	})
	t.Run("SIM-ELECT-04 equal priorities", func(t *testing.T) {
		const d = 5 * ms
		s := segment{priorities: []uint8{200, 100, 100}, interval: time.Second, dmin: d, dmax: d}.sim()
		s.advance(10 * time.Second)
		died := s.now
		s.nodes[0].die()
		s.advance(10 * time.Second)
		if n := s.promotions(died); n != 2 {
			t.Errorf("%d became active, want both", n)
		}
		if dual := s.became(1, vrrp.Leaving) - s.became(2, vrrp.Active); dual > d {
			t.Errorf("both were active for %s, want at most %s", dual, d)
		}
		if got := s.states(); got != "[- backup active]" {
			t.Errorf("at the end %s", got)
		}
	})
	t.Run("SIM-ELECT-05 a higher priority joins", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms, late: true}.sim()
		s.start(s.nodes[1], nil)
		s.advance(10 * time.Second)
		joined := s.now
		s.start(s.nodes[0], nil)
		s.advance(10 * time.Second)
		if took, d := s.became(0, vrrp.Active)-joined, down(s.nodes[0].cfg, time.Second); took < d || took > d+s.sigma {
			t.Errorf("active after %s, want %s", took, d)
		}
		if dual := s.became(1, vrrp.Leaving) - s.became(0, vrrp.Active); dual > s.dmax+s.sigma {
			t.Errorf("both were active for %s", dual)
		}
	})
	t.Run("SIM-ELECT-06 and never without preemption", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms, late: true,
			each: func(_ int, c *vrrp.Config) { c.NoPreempt = true }}.sim()
		s.start(s.nodes[1], nil)
		s.advance(10 * time.Second)
		s.start(s.nodes[0], nil)
		s.advance(10 * time.Minute)
		if got := s.states(); got != "[backup active]" || s.promotions(0) != 1 {
			t.Errorf("%s after %d promotions", got, s.promotions(0))
		}
	})
	t.Run("SIM-ELECT-07 a lower or equal priority joins", func(t *testing.T) {
		for _, p := range []uint8{50, 100} {
			s := segment{priorities: []uint8{100, p}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms, late: true}.sim()
			s.start(s.nodes[0], nil)
			s.advance(10 * time.Second)
			s.start(s.nodes[1], nil)
			s.advance(time.Minute)
			if got := s.states(); got != "[active backup]" || s.promotions(0) != 1 {
				t.Errorf("priority %d: %s after %d promotions", p, got, s.promotions(0))
			}
		}
	})
	t.Run("SIM-ELECT-08 the Active's priority falls below the Backup's", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms}.sim()
		s.advance(10*time.Second + 300*ms)
		fell := s.now
		s.nodes[0].cfg.Priority = 50
		s.step(s.nodes[0], vrrp.Tracked{Adjust: -150})
		s.advance(10 * time.Second)
		took, d := s.became(1, vrrp.Active)-fell, down(s.nodes[1].cfg, time.Second)
		if took <= d-time.Second-s.sigma || took > d+s.dmax+s.sigma {
			t.Errorf("took over after %s, want %s less an interval at most", took, d)
		}
	})
	t.Run("SIM-ELECT-09 the owner returns", func(t *testing.T) {
		s := segment{priorities: []uint8{255, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms, late: true}.sim()
		s.start(s.nodes[1], nil)
		s.advance(10 * time.Second)
		joined := s.now
		s.start(s.nodes[0], nil)
		s.advance(time.Second)
		if got := s.sent[slices.IndexFunc(s.sent, func(x sent) bool { return x.node == 0 })]; got.at != joined || got.priority != 255 {
			t.Errorf("first sent %+v, joined at %s", got, joined)
		}
		if gone := s.became(1, vrrp.Leaving) - joined; gone > s.dmax+s.sigma {
			t.Errorf("the stand-in was active for another %s", gone)
		}
	})
	t.Run("SIM-ELECT-10 a stray priority 0", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 150, 100}, interval: time.Second, dmin: 2 * ms, dmax: 2 * ms}.sim()
		s.advance(10 * time.Second)
		from, before := s.now, len(s.sent)
		s.send(s.nodes[2], 0, false)
		s.advance(900 * ms)
		if n := s.promotions(from); n != 0 {
			t.Errorf("%d became active", n)
		}
		answer := s.sent[before+1:]
		if len(answer) == 0 || answer[0].node != 0 || answer[0].at-from > 2*s.dmax {
			t.Errorf("answered by %v", answer)
		}
	})
	t.Run("SIM-ELECT-11 two owners", func(t *testing.T) {
		s := segment{priorities: []uint8{255, 255}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: ms}.sim()
		s.advance(s.dmax + 60*ms)
		if got := s.states(); got != "[backup active]" {
			t.Errorf("%s after one exchange", got)
		}
	})
	t.Run("SIM-SAFE-10 the winner is one of all, whoever they are", func(t *testing.T) {
		for seed := range uint64(200) {
			r := rand.New(rand.NewPCG(seed, 7))
			g := segment{seed: seed, interval: 100 * ms, dmin: ms, dmax: ms, sigma: ms, late: true}
			for range 5 {
				g.priorities = append(g.priorities, uint8(100+r.IntN(2)))
			}
			s := g.sim()
			s.disconnect()
			for _, n := range s.nodes {
				s.start(n, nil)
			}
			s.advance(time.Second)
			s.connectAll()
			s.advance(time.Second)
			best := s.best(func(n *node) bool { return n.cfg.Priority == slices.Max(g.priorities) })
			for _, n := range s.nodes {
				if n.cfg.Priority == best.cfg.Priority && n.source.Compare(best.source) > 0 {
					best = n
				}
			}
			if active := s.activeOf(0); len(active) != 1 || active[0] != best.id {
				t.Errorf("seed %d: active %v of priorities %v, want %d", seed, active, g.priorities, best.id)
			}
		}
	})
}

// disconnect cuts every link, and connectAll mends them.
func (s *sim) disconnect() {
	for i := range s.up {
		clear(s.up[i])
	}
}

func (s *sim) connectAll() {
	for i := range s.up {
		for j := range s.up[i] {
			s.up[i][j] = i != j
		}
	}
}

// activeCount is how many are Active.
func (s *sim) activeCount() (n int) {
	for _, x := range s.nodes {
		if x.alive && x.m.State() == vrrp.Active {
			n++
		}
	}
	return n
}

// TestSimulatedLeaves has the heir be starved of its processor while the Active gives
// its addresses away: somebody serves all the time (SIM-LIVE-02).
func TestSimulatedLeaves(t *testing.T) {
	leaves := map[string]func(s *sim){
		"stop":  func(s *sim) { s.step(s.nodes[0], vrrp.Shutdown{}) },
		"yield": func(s *sim) { s.nodes[0].yielding = true; s.step(s.nodes[0], vrrp.Yield{}) },
		"fault": func(s *sim) { s.step(s.nodes[0], vrrp.Tracked{Fault: "process haproxy is not running"}) },
	}
	for name, leave := range leaves {
		for _, interval := range []time.Duration{10 * ms, 100 * ms, time.Second} {
			t.Run(fmt.Sprintf("%s every %s", name, interval), func(t *testing.T) {
				for seed := range uint64(50) {
					s := segment{seed: seed, priorities: []uint8{150, 100}, interval: interval, dmin: ms / 10, dmax: ms, sigma: ms}.sim()
					s.advance(10*interval + s.chance(interval))
					leave(s)
					begun := s.now
					s.advance(s.chance(skew(s.nodes[1].cfg, interval)))
					stall := s.chance(900 * ms)
					s.pause(s.nodes[1], stall)
					for s.now < begun+3*time.Second {
						s.advance(ms)
						if !s.nodes[0].vip && !s.nodes[1].vip {
							t.Fatalf("seed %d: nobody has the address %s after the leave, the heir was stalled for %s: %s", seed, s.now-begun, stall, s.states())
						}
					}
					if got := s.nodes[1].m.State(); got != vrrp.Active {
						t.Errorf("seed %d: the heir is %s", seed, got)
					}
				}
			})
		}
	}
}

func TestSimulatedPartitions(t *testing.T) {
	t.Run("SIM-PART-02 a split heals", func(t *testing.T) {
		for seed := range uint64(300) {
			// The winner is slow: the loser's advertisement and the answer to it heal.
			s := segment{seed: seed, priorities: []uint8{200, 100}, interval: time.Second, dmin: ms, dmax: 5 * ms, sigma: 2 * ms,
				each: func(i int, c *vrrp.Config) { c.Interval = []time.Duration{2 * time.Second, 200 * ms}[i] }}.sim()
			s.disconnect()
			s.advance(20*time.Second + s.chance(2*time.Second))
			s.connectAll()
			s.advance(min(2*time.Second+s.dmax, 200*ms+2*s.dmax) + 2*s.sigma)
			if got := s.nodes[1].m.State(); s.activeCount() != 1 || got == vrrp.Active {
				t.Errorf("seed %d: %s", seed, s.states())
			}
		}
	})
	t.Run("SIM-PART-03 and under loss", func(t *testing.T) {
		const trials, p = 3000, 0.3
		q := p * (2*p - p*p)
		var after [2]int
		for seed := range uint64(trials) {
			s := segment{seed: seed, priorities: []uint8{200, 100}, interval: 100 * ms, dmin: ms / 10, dmax: ms / 10}.sim()
			s.disconnect()
			s.advance(2*time.Second + s.chance(100*ms))
			s.connectAll()
			s.loss = p
			for k := range after {
				s.advance(100 * ms)
				if s.activeCount() == 2 {
					after[k]++
				}
			}
		}
		for k, n := range after {
			want := math.Pow(q, float64(k+1))
			if got := float64(n) / trials; math.Abs(got-want) > 4*math.Sqrt(want/trials) {
				t.Errorf("dual after %d intervals in %.4f of the cases, want %.4f", k+1, got, want)
			}
		}
	})
}

func TestSimulatedLoss(t *testing.T) {
	t.Run("SIM-LOSS-01 SIM-LOSS-04 it takes three in a row", func(t *testing.T) {
		const slots, p = 30_000, 0.3
		s := segment{seed: 1, priorities: []uint8{200, 100}, interval: 10 * ms, dmin: ms / 10, dmax: ms / 10}.sim()
		s.advance(time.Second)
		from := s.now
		s.loss = p
		s.advance(slots * 10 * ms)
		taken := 0
		for _, c := range s.changes {
			if c.node == 1 && c.to == vrrp.Active && c.at > from {
				taken++
			}
		}
		// (1-p)p³ for each slot in which the Active is alone, which it is not in some.
		want := slots * (1 - p) * p * p * p
		if math.Abs(float64(taken)-want) > 0.2*want {
			t.Errorf("taken over %d times, want about %.0f", taken, want)
		}
		s.loss = 0
		s.advance(200 * ms)
		if got := s.states(); got != "[active backup]" {
			t.Errorf("at the end %s", got)
		}
	})
	t.Run("SIM-LOSS-05 bursts of two change nothing", func(t *testing.T) {
		s := segment{seed: 2, priorities: []uint8{200, 150, 100}, interval: 100 * ms, dmin: ms, dmax: 5 * ms, sigma: 2 * ms}.sim()
		s.advance(5 * time.Second)
		from := s.now
		var row [3]int
		s.drop = func(_, to int) bool {
			if row[to] < 2 && s.random.IntN(3) > 0 {
				row[to]++
				return true
			}
			row[to] = 0
			return false
		}
		s.advance(10 * time.Minute)
		if n := len(slices.DeleteFunc(s.changes, func(c change) bool { return c.at < from })); n != 0 {
			t.Errorf("%d changes of state", n)
		}
	})
	t.Run("SIM-CLOCK-03 and neither do clocks that differ by a little", func(t *testing.T) {
		for _, c := range []struct {
			rate float64
			want bool // that the backup takes over
		}{{0.15, false}, {0.25, true}} {
			// S is 156/256 of A, so the tolerance is a fifth.
			s := segment{seed: 3, priorities: []uint8{200, 100}, interval: time.Second, dmin: ms, dmax: ms}.sim()
			s.nodes[1].rate = c.rate
			s.nodes[1].die()
			s.start(s.nodes[1], nil)
			s.advance(10 * time.Second)
			from, i := s.now, 0
			s.drop = func(_, _ int) bool { i++; return i%3 != 0 }
			s.advance(time.Minute)
			if got := s.promotions(from) > 0; got != c.want {
				t.Errorf("with a rate of %+.2f the backup took over: %t", c.rate, got)
			}
		}
	})
}

func TestSimulatedStorms(t *testing.T) {
	t.Run("SIM-STORM-01 many Actives meet", func(t *testing.T) {
		for n := 2; n <= 6; n++ {
			for seed := range uint64(30) {
				g := segment{seed: seed, interval: time.Second, dmin: ms, dmax: 2 * ms, sigma: ms, late: true}
				for i := range n {
					g.priorities = append(g.priorities, uint8(100+i))
				}
				s := g.sim()
				s.disconnect()
				for _, x := range s.nodes {
					s.start(x, nil)
				}
				s.advance(10*time.Second + s.chance(time.Second))
				s.connectAll()
				from := len(s.sent)
				s.advance(time.Second)
				if got, most := len(s.sent)-from, n+(n-1)*(n-1); got > most {
					t.Errorf("%d Actives sent %d advertisements in an interval, at most %d", n, got, most)
				}
				s.advance(time.Second)
				if s.activeCount() != 1 {
					t.Errorf("%d Actives, seed %d: %s", n, seed, s.states())
				}
			}
		}
	})
	t.Run("SIM-STORM-02 a twin", func(t *testing.T) {
		s := segment{priorities: []uint8{100, 100}, interval: time.Second, dmin: ms, dmax: ms, late: true}.sim()
		s.nodes[1].source = s.nodes[0].source
		s.disconnect()
		for _, n := range s.nodes {
			s.start(n, nil)
		}
		s.advance(10 * time.Second)
		s.connectAll()
		from := len(s.sent)
		s.advance(20 * time.Second)
		if n := len(s.sent) - from; n < 39 || n > 41 {
			t.Errorf("%d advertisements in 20 intervals of two routers", n)
		}
	})
	t.Run("SIM-STORM-04 a flood of priority 0", func(t *testing.T) {
		s := segment{priorities: []uint8{200, 100, 1}, interval: time.Second, dmin: ms, dmax: 2 * ms, sigma: ms}.sim()
		s.advance(10 * time.Second)
		from := s.now
		forger := s.nodes[2]
		for range 2000 {
			s.send(forger, 0, false)
			s.advance(5 * ms)
		}
		if n := s.promotions(from); n != 0 {
			t.Errorf("%d became active while the Active lived", n)
		}
		s.nodes[0].die()
		died := s.now
		for s.promotions(died) == 0 && s.now-died < 10*time.Second {
			s.send(forger, 0, false)
			s.advance(5 * ms)
		}
		backup := s.nodes[1].cfg
		if took, most := s.now-died, down(backup, time.Second)+skew(backup, time.Second); took > most {
			t.Errorf("took over after %s under the flood, want at most %s", took, most)
		}
	})
}
