package vrrp_test

import (
	"slices"
	"time"

	"lvsha/vrrp"
)

// run plays episodes, one fault each, until the time is up.
func (s *sim) run(length time.Duration) {
	s.episode = "start"
	if s.grouped {
		s.runGroups(length)
		return
	}
	for _, n := range s.nodes {
		s.start(n, nil)
	}
	s.settle(0)
	s.play(length, []episode{
		{"crash", s.crash}, {"stop", s.stop}, {"link down", s.linkDown}, {"partition", s.partition},
		{"stall", s.stall}, {"short stall", s.shortStall}, {"loss", s.lossy}, {"restart", s.restart},
		{"late restart", s.lateRestart}, {"priority", s.priority}, {"kill", s.kill}, {"deaf", s.deaf}, {"tracked", s.trackedPriority}, {"tracked fault", s.trackedFault},
		{"yield", s.yieldAway}, {"path down", s.pathDown}, {"path alarm", s.pathAlarm}, {"asymmetric", s.asymmetric}, {"clock", s.clockStep},
	})
}

// episode is one fault and its end.
type episode struct {
	name string
	play func()
}

// play plays episodes at random until the time is up.
func (s *sim) play(length time.Duration, episodes []episode) {
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
	n := s.nodes[s.random.IntN(len(s.nodes))]
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
	n := s.nodes[s.random.IntN(len(s.nodes))]
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

// trackedPriority lowers the Active's priority by what it depends on (SIM-ELECT-08).
func (s *sim) trackedPriority() {
	n := s.active()
	b := s.best(others(n))
	old := n.cfg.Priority
	if b.cfg.Priority < 2 || b.cfg.NoPreempt {
		return
	}
	n.cfg.Priority = 1 + uint8(s.random.IntN(int(b.cfg.Priority)-1))
	s.step(n, vrrp.Tracked{Adjust: int(n.cfg.Priority) - int(old)})
	s.takeover("SIM-ELECT-08", down(b.cfg, n.cfg.Interval)+s.dmax+2*s.sigma, others(n))
	s.settle(0)
	n.cfg.Priority = old
	s.step(n, vrrp.Tracked{})
	s.settle(0)
}

// trackedFault has the Active fail although its network works: it tells the others,
// which take over as after a stop (SIM-LIVE-02).
func (s *sim) trackedFault() {
	n := s.active()
	b := s.best(others(n))
	s.step(n, vrrp.Tracked{Fault: "process haproxy is not running"})
	s.takeover("SIM-LIVE-02", skew(b.cfg, n.cfg.Interval)+s.dmax+s.sigma, others(n))
	n.faulty = true
	s.settle(0)
	n.faulty = false
	if n.m.State() != vrrp.Fault || n.vip {
		s.fail("SIM-SAFE-03", "%d is %s with a fault, address: %t", n.id, n.m.State(), n.vip)
	}
	s.step(n, vrrp.Tracked{})
	s.settle(0)
}

// yieldAway has an operator give the addresses away, and take them back. While it
// lasts nobody takes them back, unless the others die.
func (s *sim) yieldAway() {
	n := s.active()
	b := s.best(others(n))
	n.yielding = true
	s.step(n, vrrp.Yield{})
	s.takeover("SIM-LIVE-02", skew(b.cfg, n.cfg.Interval)+s.dmax+s.sigma, others(n))
	s.settle(0)
	if n.m.State() == vrrp.Active {
		s.fail("yield", "%d took the addresses back", n.id)
	}
	if s.random.IntN(2) == 0 {
		for _, o := range s.nodes {
			if o != n {
				o.alive, o.vip = false, false
			}
		}
		s.settle(0)
		for _, o := range s.nodes {
			if o != n {
				s.start(o, nil)
			}
		}
		s.settle(0)
	}
	n.yielding = false
	s.step(n, vrrp.Unyield{})
	s.settle(0)
}

// pathDown has BFD tell of the Active's end (SIM-LIVE-07).
func (s *sim) pathDown() {
	n := s.active()
	b := s.best(others(n))
	n.alive, n.vip = false, false
	s.advance(s.dmax + s.chance(n.cfg.Interval/2))
	s.tellPathDown(n)
	s.takeover("SIM-LIVE-07", min(skew(b.cfg, n.cfg.Interval), down(b.cfg, n.cfg.Interval))+s.dmax+s.sigma, others(n))
	s.settle(0)
	s.start(n, nil)
	s.settle(0)
}

// tellPathDown tells every other router of a path's end.
func (s *sim) tellPathDown(n *node) {
	for _, o := range s.nodes {
		if o != n && o.alive {
			o.pathAt = s.now
			s.step(o, vrrp.PeerDown{Source: n.source, At: epoch.Add(s.now)})
		}
	}
}

// pathAlarm has BFD be wrong: the Active lives. It may cost a transient takeover, and
// never more (BFD-VR-03).
func (s *sim) pathAlarm() {
	s.tellPathDown(s.active())
	s.settle(s.slowest())
}

// asymmetric cuts any links one way. Where routers preempt and no two are equal the
// end is known: each router in the order of priority is Active unless it hears an
// Active (SIM-PART-06).
func (s *sim) asymmetric() {
	for i := range s.nodes {
		for j := range s.nodes {
			s.up[i][j] = i != j && s.random.IntN(3) > 0
		}
	}
	s.cut = true
	s.advance(time.Duration(len(s.nodes)) * (s.converge() + 2*s.slowest()))
	order := slices.Clone(s.nodes)
	slices.SortFunc(order, func(a, b *node) int { return int(b.cfg.Priority) - int(a.cfg.Priority) })
	known := !s.nodes[0].cfg.NoPreempt
	for i := 1; i < len(order); i++ {
		known = known && order[i].cfg.Priority != order[i-1].cfg.Priority
	}
	active := make(map[*node]bool)
	for _, n := range order {
		active[n] = !slices.ContainsFunc(order, func(o *node) bool { return active[o] && s.up[o.id][n.id] })
		if got := n.m.State() == vrrp.Active; known && got != active[n] {
			s.fail("SIM-PART-06", "%d is %s, want it active: %t", n.id, n.m.State(), active[n])
		}
	}
	from := len(s.changes)
	s.advance(5 * s.slowest())
	for _, c := range s.changes[from:] {
		if known && c.to == vrrp.Active {
			s.fail("SIM-PART-06", "%d became %s although nothing changed", c.node, c.to)
		}
	}
	for i := range s.nodes {
		for j := range s.nodes {
			s.up[i][j] = i != j
		}
	}
	s.settle(s.slowest())
}

// clockStep sets the wall clocks, which must not matter (SIM-CLOCK-01).
func (s *sim) clockStep() {
	s.settled = true
	for range 20 {
		n := s.nodes[s.random.IntN(len(s.nodes))]
		n.wall += s.chance(2*time.Hour) - time.Hour
		s.advance(s.chance(n.cfg.Interval))
	}
	s.settled = false
	s.settle(0)
}

// deaf has one router hear nobody, while all hear it (SIM-PART-04, 05).
func (s *sim) deaf() {
	n := s.nodes[s.random.IntN(len(s.nodes))]
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
