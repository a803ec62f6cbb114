package vrrp_test

import (
	"net/netip"
	"time"

	"lvsha/vrrp"
)

// pairUp gives every director a second router, on a second segment. Nodes i and
// i+n are one process.
func (s *sim) pairUp() {
	for _, n := range s.nodes {
		cfg := n.cfg
		cfg.Name, cfg.Interface, cfg.VRID = "inside", "eth1", 52
		second := &node{
			id: n.id + len(s.nodes), source: netip.AddrFrom4([4]byte{198, 51, 100, byte(n.id + 1)}), linkUp: true,
			packets: make(map[uint8][]byte), cfg: cfg, sibling: n,
		}
		n.sibling = second
	}
	for _, n := range s.nodes[:len(s.nodes):len(s.nodes)] {
		s.nodes = append(s.nodes, n.sibling)
		s.cache = append(s.cache, -1)
	}
}

// first are the directors, by their nodes on the first segment.
func (s *sim) first() []*node { return s.nodes[:len(s.nodes)/2] }

// pair is both nodes of a director.
func pair(n *node) []*node { return []*node{n, n.sibling} }

// startPair boots a director's process with both its routers.
func (s *sim) startPair(n *node) {
	for _, m := range pair(n) {
		s.boot(m, nil)
	}
	group := vrrp.NewGroup("site", []*vrrp.Router{n.router, n.sibling.router})
	for _, m := range pair(n) {
		m.group = group
	}
	for _, m := range pair(n) {
		s.step(m, s.link(m))
	}
	for _, m := range pair(n) {
		s.step(m, vrrp.Startup{})
	}
}

// together wants the members of each group in one state, and one Active director
// (SIM-SAFE-01 for groups).
func (s *sim) together(id string) {
	actives, able := 0, 0
	for _, n := range s.first() {
		if !n.alive {
			continue
		}
		a, b := n.m.State(), n.sibling.m.State()
		if a != b {
			s.fail(id, "director %d is %s and %s", n.id, a, b)
		}
		if a == vrrp.Active {
			actives++
		}
		if a != vrrp.Fault && a != vrrp.Initialize {
			able++
		}
	}
	if able > 0 && actives != 1 {
		s.fail(id, "%d directors are active, %d are able", actives, able)
	}
}

// activePair is the Active director.
func (s *sim) activePair() *node {
	for _, n := range s.first() {
		if n.alive && n.m.State() == vrrp.Active {
			return n
		}
	}
	return nil
}

// runGroups plays episodes with sync groups until the time is up.
func (s *sim) runGroups(length time.Duration) {
	for _, n := range s.first() {
		s.startPair(n)
	}
	s.settle(0)
	s.play(length, []episode{
		{"group crash", s.groupCrash}, {"group stop", s.groupStop}, {"group link down", s.groupLink}, {"group partition", s.groupPartition},
		{"group split", s.groupSplit}, {"group stall", s.groupStall}, {"group loss", s.groupLoss}, {"group yield", s.groupYield},
		{"group fault", s.groupFault}, {"group priority", s.groupPriority},
	})
}

// groupTakeover wants both addresses with another director in time.
func (s *sim) groupTakeover(id string, gone *node, bound time.Duration) {
	s.advance(bound)
	for _, n := range s.first() {
		if n != gone && n.alive && n.m.State() == vrrp.Active && n.sibling.m.State() == vrrp.Active {
			return
		}
	}
	s.fail(id, "no other director has both addresses %s after the fault", bound)
}

// downOfPair is the Active_Down_Interval of the best of the others, twice an
// interval more for members whose timers do not run in step.
func (s *sim) downOfPair(n *node) time.Duration {
	return down(s.bestPair(n).cfg, n.cfg.Interval) + n.cfg.Interval + 2*s.dmax + 2*s.sigma
}

// bestPair is the other director that wins.
func (s *sim) bestPair(n *node) *node {
	return s.best(func(o *node) bool { return o != n && o.cfg.VRID == n.cfg.VRID })
}

func (s *sim) groupCrash() {
	n := s.activePair()
	for _, m := range pair(n) {
		m.alive, m.vip, m.group = false, false, nil
	}
	s.groupTakeover("SIM-LIVE-01", n, s.downOfPair(n))
	s.settle(0)
	s.startPair(n)
	s.settle(0)
}

// groupStop shuts both down; the engine does not follow a group while it stops.
func (s *sim) groupStop() {
	n := s.activePair()
	for _, m := range pair(n) {
		m.group = nil
	}
	for _, m := range pair(n) {
		s.step(m, vrrp.Shutdown{})
	}
	s.groupTakeover("SIM-LIVE-02", n, skew(s.bestPair(n).cfg, n.cfg.Interval)+s.dmax+s.sigma)
	s.settle(0)
	s.startPair(n)
	s.settle(0)
}

// groupLink takes one member's carrier: both go, and the other segment is told at
// once.
func (s *sim) groupLink() {
	n := s.activePair()
	if s.random.IntN(2) == 0 {
		n = n.sibling
	}
	s.connectPeers(n, false)
	n.linkUp, n.inbox = false, nil
	s.step(n, s.link(n))
	gone := n
	if n.id >= len(s.first()) {
		gone = n.sibling
	}
	s.groupTakeover("SIM-LIVE-03", gone, s.downOfPair(n))
	s.settle(0)
	for _, m := range pair(n) {
		if m.m.State() != vrrp.Fault || m.vip {
			s.fail("SIM-LIVE-03", "%d is %s while a member has no link, address: %t", m.id, m.m.State(), m.vip)
		}
	}
	s.connectPeers(n, true)
	n.linkUp = true
	s.step(n, s.link(n))
	s.settle(0)
}

// connectPeers changes every link of a node on its segment.
func (s *sim) connectPeers(n *node, up bool) {
	s.cut = true
	for i, o := range s.nodes {
		if o != n && o.cfg.VRID == n.cfg.VRID {
			s.up[i][n.id], s.up[n.id][i] = up, up
		}
	}
}

// groupPartition cuts one segment only: the others hear the Active on the other
// segment and stay.
func (s *sim) groupPartition() {
	n := s.activePair()
	s.connectPeers(n, false)
	if len(s.first()) > 2 && n.cfg.NoPreempt {
		s.connectPeers(n, true)
		return
	}
	s.advance(s.converge() + 4*s.slowest())
	for _, o := range s.first() {
		if want := o == n; (o.m.State() == vrrp.Active) != want || (o.sibling.m.State() == vrrp.Active) != want {
			s.fail("SIM-PART-01", "director %d is %s and %s while one segment is cut, want active: %t", o.id, o.m.State(), o.sibling.m.State(), want)
		}
	}
	s.connectPeers(n, true)
	s.settle(0)
}

// groupSplit cuts one director off on both segments and heals one after the other.
func (s *sim) groupSplit() {
	n := s.first()[s.random.IntN(len(s.first()))]
	for _, m := range pair(n) {
		s.connectPeers(m, false)
	}
	s.advance(s.converge() + 4*s.slowest())
	for _, m := range pair(n) {
		if m.m.State() != vrrp.Active {
			s.fail("SIM-PART-01", "%d is %s although it is alone", m.id, m.m.State())
		}
	}
	s.connectPeers(n, true)
	if s.random.IntN(2) == 0 {
		s.advance(s.chance(3 * s.slowest()))
	} else {
		// The loser on one segment gives way on both, on the cut one after it has
		// waited for somebody to take over.
		s.advance(s.converge() + 4*s.slowest() + s.leaveBound(n))
		s.together("SIM-LIVE-05")
	}
	s.connectPeers(n.sibling, true)
	s.settle(4 * s.slowest())
}

func (s *sim) groupStall() {
	n := s.first()[s.random.IntN(len(s.first()))]
	d := s.chance(10 * n.cfg.Interval)
	for _, m := range pair(n) {
		s.pause(m, d)
	}
	s.advance(d)
	s.settle(4*s.slowest() + 20*time.Millisecond)
}

func (s *sim) groupLoss() {
	s.loss = 0.4 * s.random.Float64()
	s.advance(20 * s.slowest())
	s.loss, s.cut = 0, true
	s.settle(4 * s.slowest())
}

func (s *sim) groupYield() {
	n := s.activePair()
	for _, m := range pair(n) {
		m.yielding = true
		s.step(m, vrrp.Yield{})
	}
	s.groupTakeover("SIM-LIVE-02", n, skew(s.bestPair(n).cfg, n.cfg.Interval)+s.dmax+s.sigma)
	s.settle(0)
	for _, m := range pair(n) {
		m.yielding = false
		s.step(m, vrrp.Unyield{})
	}
	s.settle(0)
}

// groupFault has one member depend on something that fails.
func (s *sim) groupFault() {
	n := s.activePair()
	s.step(n, vrrp.Tracked{Fault: "process haproxy is not running"})
	s.groupTakeover("SIM-LIVE-02", n, skew(s.bestPair(n).cfg, n.cfg.Interval)+s.dmax+s.sigma)
	s.settle(0)
	for _, m := range pair(n) {
		if m.m.State() != vrrp.Fault || m.vip {
			s.fail("SIM-SAFE-03", "%d is %s while a member has a fault, address: %t", m.id, m.m.State(), m.vip)
		}
	}
	s.step(n, vrrp.Tracked{})
	s.settle(0)
}

// groupPriority lowers the Active's priority on both segments.
func (s *sim) groupPriority() {
	n := s.activePair()
	b := s.bestPair(n)
	old := n.cfg.Priority
	if b.cfg.Priority < 2 || b.cfg.NoPreempt {
		return
	}
	lower := 1 + uint8(s.random.IntN(int(b.cfg.Priority)-1))
	for _, m := range pair(n) {
		m.cfg.Priority = lower
		s.step(m, vrrp.Tracked{Adjust: int(lower) - int(old)})
	}
	s.groupTakeover("SIM-ELECT-08", n, s.downOfPair(n))
	s.settle(0)
	for _, m := range pair(n) {
		m.cfg.Priority = old
		s.step(m, vrrp.Tracked{})
	}
	s.settle(0)
}
