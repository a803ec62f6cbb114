package vrrp_test

import (
	"time"

	"lvsha/vrrp"
)

// run plays episodes, one fault each, until the time is up.
func (s *sim) run(length time.Duration) {
	s.episode = "start"
	for _, n := range s.nodes {
		s.start(n, nil)
	}
	s.settle(0)
	episodes := []struct {
		name string
		play func()
	}{
		{"crash", s.crash}, {"stop", s.stop}, {"link down", s.linkDown}, {"partition", s.partition},
		{"stall", s.stall}, {"short stall", s.shortStall}, {"loss", s.lossy}, {"restart", s.restart},
		{"late restart", s.lateRestart}, {"priority", s.priority}, {"kill", s.kill}, {"deaf", s.deaf},
	}
	for s.now < length && len(s.violations) == 0 {
		e := episodes[s.random.IntN(len(episodes))]
		s.episode = e.name
		e.play()
	}
}

// others says who is not this node.
func others(n *node) func(*node) bool { return func(o *node) bool { return o != n } }

// crash takes the Active's machine away, and brings it back (SIM-LIVE-01).
func (s *sim) crash() {
	n := s.active()
	n.alive, n.vip = false, false
	s.takeover("SIM-LIVE-01", s.downOf(n)+s.dmax+s.sigma, others(n))
	s.settle(0)
	s.start(n, nil)
	s.settle(0)
}

// downOf is the Active_Down_Interval of the best of the others.
func (s *sim) downOf(n *node) time.Duration {
	return down(s.best(others(n)).cfg, n.cfg.Interval)
}

// stop gives the addresses away and starts again later (SIM-LIVE-02).
func (s *sim) stop() {
	n := s.active()
	b := s.best(others(n))
	s.step(n, vrrp.Shutdown{})
	s.takeover("SIM-LIVE-02", skew(b.cfg, n.cfg.Interval)+s.dmax+s.sigma, others(n))
	s.settle(0)
	if n.m.State() != vrrp.Initialize || n.vip {
		s.fail("SIM-SAFE-03", "%d is %s after a shutdown, address: %t", n.id, n.m.State(), n.vip)
	}
	n.alive = false
	s.start(n, nil)
	s.settle(0)
}

// linkDown cuts the Active's link (SIM-LIVE-03).
func (s *sim) linkDown() {
	n := s.active()
	s.connect(n, false)
	n.linkUp, n.inbox = false, nil
	s.step(n, s.link(n))
	s.takeover("SIM-LIVE-03", s.downOf(n)+s.dmax+s.sigma, others(n))
	s.settle(0)
	if n.m.State() != vrrp.Fault || n.vip {
		s.fail("SIM-LIVE-03", "%d is %s without a link, address: %t", n.id, n.m.State(), n.vip)
	}
	s.connect(n, true)
	n.linkUp = true
	s.step(n, s.link(n))
	s.settle(0)
}

// connect changes every link of a node.
func (s *sim) connect(n *node, up bool) {
	s.cut = true
	for i := range s.nodes {
		if i != n.id {
			s.up[i][n.id], s.up[n.id][i] = up, up
		}
	}
}

// partition cuts one router off and heals (SIM-LIVE-04, SIM-LIVE-05).
func (s *sim) partition() {
	n := s.nodes[s.random.IntN(directors)]
	active := s.active()
	without := others(active)
	if n != active {
		without = func(o *node) bool { return o == n }
	}
	b := s.best(without)
	s.connect(n, false)
	s.takeover("SIM-LIVE-04", down(b.cfg, active.cfg.Interval)+s.dmax+s.sigma, without)
	s.settle(0)
	s.connect(n, true)
	// The winner advertises within its interval. Addresses decide a tie.
	var winner *node
	for _, o := range s.nodes {
		if o.m.State() == vrrp.Active && (winner == nil || o.cfg.Priority > winner.cfg.Priority ||
			(o.cfg.Priority == winner.cfg.Priority && o.source.Compare(winner.source) > 0)) {
			winner = o
		}
	}
	s.advance(winner.cfg.Interval + 2*s.dmax + 2*s.sigma)
	s.oneActive("SIM-LIVE-05")
	s.settle(0)
}

// stall stops a process for any time up to ten intervals.
func (s *sim) stall() {
	n := s.nodes[s.random.IntN(directors)]
	s.pause(n, s.chance(10*n.cfg.Interval))
	s.advance(n.stalled - s.now)
	// A backup that wakes late listens for one more interval.
	s.settle(2*s.slowest() + 20*time.Millisecond)
}

// pause stops a process.
func (s *sim) pause(n *node, d time.Duration) {
	n.stalled, n.excused = s.now+d, true
	n.wakeAt = 0
	n.wakeGen++
	s.schedule(n)
}

// slowest is the longest interval.
func (s *sim) slowest() time.Duration {
	var most time.Duration
	for _, n := range s.nodes {
		most = max(most, n.cfg.Interval)
	}
	return most
}

// shortStall stops the Active so briefly that nobody takes over (SIM-PAUSE-01).
func (s *sim) shortStall() {
	n := s.active()
	most := s.downOf(n) - n.cfg.Interval - (s.dmax - s.dmin) - 3*s.sigma
	if most <= 0 {
		return
	}
	s.pause(n, s.chance(most))
	s.settled = true
	s.advance(n.stalled - s.now + s.sigma)
	s.settled = false
	s.settle(0)
}

// lossy loses packets for a while. What holds always is checked meanwhile.
func (s *sim) lossy() {
	s.loss = 0.4 * s.random.Float64()
	s.advance(20 * s.slowest())
	s.loss, s.cut = 0, true
	s.settle(0)
}

// restart has the next process resume before anybody notices.
func (s *sim) restart() {
	n := s.active()
	most := 3*n.cfg.Interval - (s.now - n.lastAdvert) - s.dmax - s.sigma
	if most <= 0 {
		return
	}
	gap := s.chance(most)
	n.alive, n.excused = false, true
	s.settled = true
	s.advance(gap)
	s.settled = false
	s.start(n, &vrrp.Resume{Active: true, Age: s.now - n.lastAdvert, Interval: n.cfg.Interval})
	s.settled = true
	s.advance(n.cfg.Interval)
	s.settled = false
	s.settle(0)
}

// lateRestart has it resume when somebody has taken over, or not.
func (s *sim) lateRestart() {
	n := s.active()
	n.alive, n.excused = false, true
	s.advance(3*n.cfg.Interval + s.chance(3*n.cfg.Interval))
	s.start(n, &vrrp.Resume{Active: true, Age: s.now - n.lastAdvert, Interval: n.cfg.Interval})
	s.settle(s.slowest())
}

// kill leaves the address in the kernel and no record (SIM-CRASH-01).
func (s *sim) kill() {
	n := s.active()
	n.alive, n.excused = false, true
	s.advance(s.chance(10 * n.cfg.Interval))
	s.start(n, nil)
	s.advance(s.tau + s.sigma)
	if n.vip && n.m.State() == vrrp.Backup {
		s.fail("SIM-CRASH-01", "%d kept the address of a killed process", n.id)
	}
	s.settle(0)
}

// priority lowers the Active's priority below another's (SIM-ELECT-08).
func (s *sim) priority() {
	n := s.active()
	b := s.best(others(n))
	old := n.cfg.Priority
	if b.cfg.Priority < 2 || b.cfg.NoPreempt || old == 255 {
		return
	}
	s.reconfigure(n, 1+uint8(s.random.IntN(int(b.cfg.Priority)-1)))
	s.takeover("SIM-ELECT-08", down(b.cfg, n.cfg.Interval)+s.dmax+2*s.sigma, others(n))
	s.settle(0)
	s.reconfigure(n, old)
	s.settle(0)
}

// reconfigure changes a priority on the fly.
func (s *sim) reconfigure(n *node, priority uint8) {
	n.cfg.Priority = priority
	s.step(n, vrrp.Reconfigure{Config: n.cfg})
}

// deaf has one router hear nobody, while all hear it (SIM-PART-04, 05).
func (s *sim) deaf() {
	n := s.nodes[s.random.IntN(directors)]
	for i := range s.nodes {
		s.up[i][n.id] = false
	}
	s.advance(s.converge() + 10*s.slowest())
	from := len(s.changes)
	s.advance(5 * s.slowest())
	for _, c := range s.changes[from:] {
		if c.to == vrrp.Active || c.to == vrrp.Backup {
			s.fail("SIM-PART-05", "%d became %s although nothing changed", c.node, c.to)
		}
	}
	for i := range s.nodes {
		s.up[i][n.id] = i != n.id
	}
	s.cut = true
	s.settle(0)
}
