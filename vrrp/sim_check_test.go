package vrrp_test

import (
	"encoding/binary"
	"slices"
	"time"

	"lvsha/vrrp"
)

// grace is the promise of the package documentation: how long a leaving router
// serves after the winner's advertisement.
const grace = 50 * time.Millisecond

// refresh is how often an Active announces in any case.
const refresh = 10 * time.Second

// skew and down are the formulas of RFC 9568 section 6.1 and RFC 3768, written
// down once more.
func skew(cfg vrrp.Config, interval time.Duration) time.Duration {
	if cfg.Version == 2 {
		interval = time.Second
	}
	return time.Duration(256-int64(cfg.Priority)) * interval / 256
}

func down(cfg vrrp.Config, interval time.Duration) time.Duration {
	return 3*interval + skew(cfg, interval)
}

// noteSent checks the beat (SIM-SAFE-07).
func (s *sim) noteSent(n *node, priority uint8) {
	if priority == 0 {
		return
	}
	if n.lastSent > 0 && n.m.State() == vrrp.Active && !n.excused {
		if gap := s.now - n.lastSent; gap > n.cfg.Interval+s.sigma {
			s.fail("SIM-SAFE-07", "%d let %s pass between advertisements", n.id, gap)
		}
	}
	n.lastSent, n.lastAdvert, n.excused = s.now, s.now, false
}

// noteReceived follows what a Backup may go by (SIM-SAFE-05).
func (s *sim) noteReceived(n *node, before vrrp.State, ev *vrrp.Received) {
	adv := &ev.Advertisement
	at := n.trueTime(ev.At.Sub(epoch))
	switch {
	case before == vrrp.Active && n.m.State() == vrrp.Active:
	case adv.Priority == 0:
		if n.zeroAt < 0 {
			n.zeroAt = at
		}
	case before == vrrp.Active || n.cfg.NoPreempt || n.yielding || adv.Priority >= n.cfg.Priority:
		n.accepted, n.zeroAt, n.learned, n.resumed = at, -1, adv.Interval, false
		if at >= n.pathAt {
			n.pathAt = -1
		}
	}
}

// noteChange checks a transition.
func (s *sim) noteChange(n *node, from, to vrrp.State) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(s.now))
	b[8], b[9] = byte(n.id), byte(to)
	s.trace.Write(b[:])
	s.changes = append(s.changes, change{s.now, n.id, to})
	if s.settled && from != vrrp.Leaving {
		s.fail("SIM-SAFE-01", "%d went from %s to %s though nothing happened", n.id, from, to)
	}
	switch {
	case to == vrrp.Active:
		n.lastSent = 0
		if n.cfg.Priority == 255 || n.resumed {
			break
		}
		if from == vrrp.Leaving && n.yielding {
			// Nobody took the addresses.
			n.yielding = false
			break
		}
		silent := s.now - n.accepted
		for _, at := range []time.Duration{n.zeroAt, n.pathAt} {
			if at >= 0 && s.now-at >= skew(n.cfg, n.learned) {
				silent = down(n.cfg, n.learned)
			}
		}
		if silent < down(n.cfg, n.learned) {
			s.fail("SIM-SAFE-05", "%d became active %s after the last acceptable advertisement", n.id, silent)
		}
	case to == vrrp.Backup && (from == vrrp.Fault || from == vrrp.Initialize):
		n.accepted, n.zeroAt, n.pathAt, n.learned = s.now, -1, -1, n.cfg.Interval
	}
	if from == vrrp.Leaving && s.now-n.leftAt > s.leaveBound(n) && s.now > n.stalled+s.sigma {
		s.fail("SIM-SAFE-03", "%d took %s to leave", n.id, s.now-n.leftAt)
	}
}

// leaveBound is the part of τ_del that Leaving takes.
func (s *sim) leaveBound(n *node) time.Duration {
	bound := max(time.Second, n.cfg.Interval) + time.Second + grace + 2*s.sigma
	if s.grouped {
		// A yield that nobody answered waits for the rest of the group.
		bound += n.cfg.Interval
	}
	return bound
}

// beaten says whether what waits in a stalled Active's queue takes the role
// from it (SIM-PAUSE-03). A release after that changes the picture.
func (s *sim) beaten(n *node) bool {
	if n.m.State() != vrrp.Active {
		return false
	}
	for _, d := range n.inbox {
		if d.payload == nil {
			continue
		}
		if p := d.payload[2]; p > n.cfg.Priority || (p == n.cfg.Priority && s.nodes[d.from].source.Compare(n.source) > 0) {
			// Only a fresh one counts: an old winner may be dead by now.
			return s.now-d.at < 2*n.cfg.Interval && !slices.ContainsFunc(n.inbox, func(x delivery) bool { return x.payload != nil && x.payload[2] == 0 })
		}
	}
	return false
}

// checkAddresses compares addresses with states (SIM-SAFE-02, SIM-SAFE-03).
func (s *sim) checkAddresses() {
	for _, n := range s.nodes {
		if !n.alive || s.now < n.stalled+s.sigma {
			continue
		}
		switch state := n.m.State(); {
		case state == vrrp.Active && !n.vip && s.now-n.since(s) > s.tau+s.sigma:
			s.fail("SIM-SAFE-02", "%d is active without the address", n.id)
		case state != vrrp.Active && state != vrrp.Leaving && !n.resumed && n.vip && s.now-n.since(s) > s.tau+s.sigma:
			s.fail("SIM-SAFE-03", "%d has the address in %s", n.id, state)
		}
	}
}

// since is when the node's state began.
func (n *node) since(s *sim) time.Duration {
	for i := len(s.changes) - 1; i >= 0; i-- {
		if s.changes[i].node == n.id {
			return s.changes[i].at
		}
	}
	return n.began
}

// converge is T_conv of SIM-LIVE-06, with the grace of SIM-PAUSE-07 where a
// process was stalled.
func (s *sim) converge() time.Duration {
	var interval, most time.Duration
	for _, n := range s.nodes {
		interval = max(interval, n.cfg.Interval)
		if n.alive && n.learned > 0 {
			interval = max(interval, n.learned)
		}
	}
	for _, n := range s.nodes {
		most = max(most, down(n.cfg, interval))
	}
	return most + interval + 2*s.dmax + 2*s.sigma
}

// settle lets the segment come to rest and checks that it does and stays so
// (SIM-SAFE-01), with addresses and caches as they should be (SIM-CACHE-01).
func (s *sim) settle(extra time.Duration) {
	s.advance(s.converge() + extra)
	s.oneActive("SIM-LIVE-06")
	s.settled = true
	// The last announcement against a loser comes a second after it spoke.
	s.advance(1100*time.Millisecond + s.tau + s.dmax + 2*s.sigma)
	if s.cut && s.stale() >= 0 {
		// Hosts that were out of reach wait for the refresh.
		s.advance(refresh + s.tau + s.dmax + 2*s.sigma)
	}
	s.cut, s.settled = false, false
	if host := s.stale(); host >= 0 {
		s.fail("SIM-CACHE-01", "host %d believes in %d, active is %d", host, s.cache[host], s.activeOf(host)[0])
	}
	s.changes = s.changes[:0]
	for _, n := range s.nodes {
		// Changes are forgotten, so states are old.
		n.began = min(n.began, s.now-time.Second)
	}
}

// stale is a host that believes in another than its one Active; -1 is none.
func (s *sim) stale() int {
	for _, n := range s.nodes {
		if active := s.activeOf(n.id); len(active) == 1 && s.cache[n.id] != active[0] {
			return n.id
		}
	}
	return -1
}

// activeOf are the Actives that a node's host can reach.
func (s *sim) activeOf(id int) []int {
	var out []int
	for _, n := range s.nodes {
		if n.alive && n.linkUp && n.m.State() == vrrp.Active && (n.id == id || s.up[n.id][id]) {
			out = append(out, n.id)
		}
	}
	return out
}

// oneActive wants exactly one Active in each part of the segment that has a
// live router.
func (s *sim) oneActive(id string) {
	if s.grouped {
		s.together(id)
		return
	}
	for _, n := range s.nodes {
		if !n.alive || !n.linkUp || n.faulty {
			continue
		}
		if got := s.activeOf(n.id); len(got) != 1 {
			s.fail(id, "actives within reach of %d: %v", n.id, got)
		}
	}
}

// active is the one Active of a segment at rest.
func (s *sim) active() *node {
	for _, n := range s.nodes {
		if n.alive && n.m.State() == vrrp.Active {
			return n
		}
	}
	return nil
}

// best is the router among those asked for that wins an election.
func (s *sim) best(ok func(*node) bool) *node {
	var best *node
	for _, n := range s.nodes {
		if n.alive && n.linkUp && !n.faulty && ok(n) && (best == nil || n.cfg.Priority > best.cfg.Priority) {
			best = n
		}
	}
	return best
}

// takeover runs until there must be an Active among some routers, and checks
// that there was one in time.
func (s *sim) takeover(id string, bound time.Duration, among func(*node) bool) {
	start, from := s.now, len(s.changes)
	s.advance(bound)
	for _, c := range s.changes[from:] {
		if c.to == vrrp.Active && among(s.nodes[c.node]) {
			return
		}
	}
	s.fail(id, "no active %s after the fault at %s", bound, start)
}
