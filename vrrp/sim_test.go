package vrrp_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"lvsha/vrrp"
)

// machine is a virtual router under simulation: *vrrp.Router, or one with a rule
// broken on purpose.
type machine interface {
	Step(now time.Time, ev vrrp.Event) []vrrp.Action
	Deadline() time.Time
	State() vrrp.State
}

// epoch is when simulations begin. Only differences matter.
var epoch = time.Unix(1_000_000_000, 0).UTC()

// sim is a segment with 2 to 5 routers on it: a queue of events in virtual time, a
// seeded source of chance, and the checks of sim_check_test.go. A host with a
// neighbour cache sits next to each router. Some seeds have two segments, on which
// 2 or 3 directors have a router each that moves with the other (sim_group_test.go).
type sim struct {
	random *rand.Rand
	now    time.Duration
	queue  eventQueue
	seq    uint64
	nodes  []*node
	// up is the link graph, from to.
	up [][]bool
	// lastArrival keeps each link in order.
	lastArrival [][]time.Duration
	loss        float64
	// drop, if not nil, says whether an advertisement is lost.
	drop func(from, to int) bool
	// sent are the advertisements of all, in order.
	sent       []sent
	dmin, dmax time.Duration
	// sigma bounds how late a live process runs, tau how long the kernel takes
	// for an address.
	sigma, tau time.Duration
	cache      []int
	// record has sent kept.
	record bool
	// grouped says that the nodes are pairs in sync groups.
	grouped bool
	// settled says that no state may change.
	settled bool
	// cut says that frames were lost since the last rest.
	cut        bool
	episode    string
	changes    []change
	violations []string
	trace      interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
	// wrap breaks a rule, nil breaks none. tickFirst lets timers run before
	// the queue is read.
	wrap      func(machine) machine
	tickFirst bool
}

// change is a transition somewhere.
type change struct {
	at   time.Duration
	node int
	to   vrrp.State
}

// sent is an advertisement.
type sent struct {
	at       time.Duration
	node     int
	priority uint8
}

// node is a director: a process with a router in it, and a kernel.
type node struct {
	id      int
	cfg     vrrp.Config
	source  netip.Addr
	m       machine
	router  *vrrp.Router // the one inside m
	sibling *node        // in the same process and sync group
	group   *vrrp.Group
	// wall is how far the wall clock is off, and drained when nothing was left
	// to read: what the port has to tell when a packet came.
	wall, drained time.Duration
	alive         bool
	linkUp        bool
	stalled       time.Duration
	inbox         []delivery
	wakeAt        time.Duration
	wakeGen       uint64

	// The kernel.
	vip    bool
	opsAt  time.Duration
	active uint64 // grows with each departure from Active

	// What the checks remember.
	began      time.Duration
	leftAt     time.Duration
	lastSent   time.Duration
	excused    bool // stalled since lastSent
	accepted   time.Duration
	learned    time.Duration
	zeroAt     time.Duration
	pathAt     time.Duration // when BFD told of the Active's end, -1 is never
	rate       float64       // how much faster than true its clock runs
	yielding   bool
	faulty     bool // on purpose, so that it has no part in an election
	resumed    bool
	lastAdvert time.Duration
	packets    map[uint8][]byte
}

// delivery is a frame that has arrived.
type delivery struct {
	at      time.Duration
	wall    time.Duration
	from    int
	payload []byte // nil is a gratuitous ARP
}

// event is something that happens.
type event struct {
	at      time.Duration
	seq     uint64
	kind    uint8
	node    int
	from    int
	gen     uint64
	payload []byte
}

const (
	evWake uint8 = iota
	evDeliver
	evInstall
	evRemove
	evAnnounce
)

// eventQueue is a binary heap by time, then order of insertion.
type eventQueue []event

func (q eventQueue) less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].seq < q[j].seq)
}

func (s *sim) push(e event) {
	s.seq++
	e.seq = s.seq
	q := append(s.queue, e)
	for i := len(q) - 1; i > 0 && q.less(i, (i-1)/2); i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
	}
	s.queue = q
}

func (s *sim) pop() event {
	q := s.queue
	e := q[0]
	n := len(q) - 1
	q[0] = q[n]
	q[n] = event{}
	q = q[:n]
	for i := 0; ; {
		c := 2*i + 1
		if c+1 < n && q.less(c+1, c) {
			c++
		}
		if c >= n || !q.less(c, i) {
			break
		}
		q[i], q[c] = q[c], q[i]
		i = c
	}
	s.queue = q
	return e
}

// newSim makes the segment of a seed; nothing runs yet.
func newSim(seed uint64, wrap func(machine) machine) *sim {
	r := rand.New(rand.NewPCG(seed, 0x6c767368))
	s := &sim{random: r, wrap: wrap, trace: fnv.New64a()}
	intervals := []time.Duration{10, 20, 50, 100, 200, 500, 1000}
	interval := intervals[r.IntN(len(intervals))] * time.Millisecond
	version := uint8(3)
	if interval == time.Second && r.IntN(3) == 0 {
		version = 2
	}
	mixed, noPreempt, equal := version == 3 && r.IntN(10) == 0, r.IntN(5) == 0, r.IntN(10) == 0
	directors := 2 + r.IntN(4)
	if s.grouped = r.IntN(5) == 0; s.grouped {
		directors, mixed, equal = 2+r.IntN(2), false, false
	}
	s.dmax = time.Duration(float64(interval) * (0.001 + 0.05*r.Float64()))
	s.dmin = time.Duration(float64(s.dmax) * r.Float64())
	s.sigma = time.Duration(float64(interval) * (0.001 + 0.05*r.Float64()))
	s.tau = s.sigma
	priorities := r.Perm(254)
	s.nodes, s.cache = make([]*node, directors), make([]int, directors)
	for i := range s.nodes {
		a := interval
		if mixed {
			// The network fits the shortest.
			a *= time.Duration(1 + r.IntN(10))
		}
		priority := uint8(priorities[i] + 1)
		if equal && i > 0 {
			priority = s.nodes[0].cfg.Priority
		}
		s.nodes[i] = &node{
			id: i, source: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), linkUp: true,
			packets: make(map[uint8][]byte),
			cfg: vrrp.Config{
				Name: "web", Interface: "eth0", VRID: 51, Version: version, Priority: priority, Interval: a, NoPreempt: noPreempt,
				Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.100/24")}},
			},
		}
		s.cache[i] = -1
	}
	if s.grouped {
		s.pairUp()
	}
	s.mesh()
	return s
}

// mesh connects every node with all others of its segment.
func (s *sim) mesh() {
	for i := range s.nodes {
		s.up, s.lastArrival = append(s.up, make([]bool, len(s.nodes))), append(s.lastArrival, make([]time.Duration, len(s.nodes)))
		for j := range s.up[i] {
			s.up[i][j] = i != j && s.nodes[i].cfg.VRID == s.nodes[j].cfg.VRID
		}
	}
}

// mac is the hardware address of a node.
func nodeMAC(id int) [6]byte { return [6]byte{2, 0, 0, 0, 0, byte(id + 1)} }

// chance is a duration up to most.
func (s *sim) chance(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(s.random.Int64N(int64(most) + 1))
}

// boot makes a director's process.
func (s *sim) boot(n *node, resume *vrrp.Resume) {
	n.alive, n.inbox, n.wakeAt, n.drained, n.yielding = true, nil, 0, s.now, false
	n.wakeGen++
	n.router = vrrp.NewRouter(n.cfg)
	n.m = n.router
	if s.wrap != nil {
		n.m = s.wrap(n.m)
	}
	n.began, n.accepted, n.zeroAt, n.pathAt, n.learned, n.resumed = s.now, s.now, -1, -1, n.cfg.Interval, resume != nil
	// Wherever the clock stands.
	n.wall = s.chance(time.Hour)
}

// start boots a director's process and starts its router.
func (s *sim) start(n *node, resume *vrrp.Resume) {
	s.boot(n, resume)
	s.step(n, s.link(n))
	s.step(n, vrrp.Startup{Resume: resume})
}

// link is the state of a node's interface.
func (s *sim) link(n *node) vrrp.LinkChange {
	if !n.linkUp {
		return vrrp.LinkChange{Problem: "eth0 is down"}
	}
	return vrrp.LinkChange{Source: n.source}
}

// advance runs everything up to a moment.
func (s *sim) advance(d time.Duration) {
	end := s.now + d
	for len(s.queue) > 0 && s.queue[0].at <= end {
		e := s.pop()
		s.now = e.at
		n := s.nodes[e.node]
		switch e.kind {
		case evWake:
			if e.gen == n.wakeGen {
				s.wake(n)
			}
		case evDeliver:
			s.deliver(n, e)
		case evInstall:
			if n.m != nil && n.alive {
				n.vip = true
			}
		case evRemove:
			n.vip = false
		case evAnnounce:
			if e.gen == n.active && n.alive {
				s.cache[n.id] = n.id
				s.transmit(n, nil)
			}
		}
	}
	s.now = end
	s.checkAddresses()
}

// transmit puts a frame on the wire.
func (s *sim) transmit(n *node, payload []byte) {
	for to := range s.nodes {
		if !s.up[n.id][to] || (s.loss > 0 && s.random.Float64() < s.loss) || (s.drop != nil && payload != nil && s.drop(n.id, to)) {
			continue
		}
		at := max(s.now+s.dmin+s.chance(s.dmax-s.dmin), s.lastArrival[n.id][to])
		s.lastArrival[n.id][to] = at
		s.push(event{at: at, kind: evDeliver, node: to, from: n.id, payload: payload})
	}
}

// deliver is a frame that arrives: the host hears it, and the process later.
func (s *sim) deliver(n *node, e event) {
	if !s.up[e.from][n.id] {
		return
	}
	if e.payload == nil {
		s.cache[n.id] = e.from
	}
	if n.alive && n.linkUp && len(n.inbox) < 200 {
		n.inbox = append(n.inbox, delivery{e.at, e.at + n.wall, e.from, e.payload})
		s.schedule(n)
	}
}

// schedule has the process run when there is something to do.
func (s *sim) schedule(n *node) {
	var want time.Duration
	if len(n.inbox) > 0 {
		want = s.now
	} else if d := n.m.Deadline(); !d.IsZero() {
		want = max(n.trueTime(d.Sub(epoch)), s.now)
	} else {
		return
	}
	if want = max(want, n.stalled) + s.chance(s.sigma); n.wakeAt == 0 || want < n.wakeAt {
		n.wakeAt = want
		n.wakeGen++
		s.push(event{at: want, kind: evWake, node: n.id, gen: n.wakeGen})
	}
}

// wake is one round of the engine's loop: read all, answer, run timers.
func (s *sim) wake(n *node) {
	n.wakeAt = 0
	if !n.alive {
		return
	}
	if s.now < n.stalled {
		s.schedule(n)
		return
	}
	mustBeSilent := s.beaten(n)
	if s.tickFirst {
		s.tick(n, mustBeSilent)
	}
	inbox := n.inbox
	n.inbox = nil
	reply := false
	for _, d := range inbox {
		if d.payload == nil {
			s.step(n, vrrp.Announced{Address: n.cfg.Addresses[0].Prefix.Addr(), MAC: nodeMAC(d.from)})
			continue
		}
		from := s.nodes[d.from].source
		// As the port does: the kernel's stamp is wall clock time, which may have
		// been set since.
		age := min(max(s.now+n.wall-d.wall, 0), s.now-n.drained)
		ev := &vrrp.Received{At: epoch.Add(n.clock(s.now - age)), Source: from}
		packet := vrrp.Packet{Source: from, Destination: vrrp.GroupAddress(vrrp.IPv4), TTL: 255, Payload: d.payload}
		if _, reason := ev.Advertisement.Decode(&packet, n.cfg.Version, vrrp.ChecksumAuto); reason != vrrp.Accepted {
			s.fail("SIM-SAFE-08", "packet of %d refused: %s", d.from, reason)
			continue
		}
		before := n.m.State()
		for _, a := range s.step(n, ev) {
			if _, ok := a.(vrrp.Send); ok {
				reply = true
			}
		}
		s.noteReceived(n, before, ev)
	}
	n.drained = s.now
	if reply && n.m.State() == vrrp.Active {
		s.send(n, n.cfg.Priority, mustBeSilent)
	}
	if !s.tickFirst {
		s.tick(n, mustBeSilent)
	}
	s.schedule(n)
}

// clock is what a node's clock shows, and trueTime the time at which it shows it.
func (n *node) clock(t time.Duration) time.Duration {
	if n.rate == 0 {
		return t
	}
	return time.Duration(float64(t) * (1 + n.rate))
}

func (n *node) trueTime(t time.Duration) time.Duration {
	if n.rate == 0 {
		return t
	}
	return time.Duration(float64(t)/(1+n.rate)) + 1
}

// tick runs timers that are due.
func (s *sim) tick(n *node, mustBeSilent bool) {
	if d := n.m.Deadline(); !d.IsZero() && d.Sub(epoch) <= n.clock(s.now) {
		for _, a := range s.step(n, vrrp.Tick{}) {
			if a, ok := a.(vrrp.Send); ok && mustBeSilent {
				s.fail("SIM-PAUSE-03", "%d sent priority %d after a stall although it is beaten", n.id, a.Priority)
			}
		}
	}
}

// step tells a router an event and does what it wants, and has its sync group
// follow.
func (s *sim) step(n *node, ev vrrp.Event) []vrrp.Action {
	actions := s.stepOne(n, ev)
	for range 10 { // a router with a rule broken may never agree
		if n.group == nil {
			break
		}
		router, ev, ok := n.group.Next()
		if !ok {
			break
		}
		if router == n.router {
			s.stepOne(n, ev)
		} else {
			s.stepOne(n.sibling, ev)
		}
	}
	return actions
}

// stepOne is step without the group.
func (s *sim) stepOne(n *node, ev vrrp.Event) []vrrp.Action {
	before := n.m.State()
	actions := n.m.Step(epoch.Add(n.clock(s.now)), ev)
	_, answer := ev.(*vrrp.Received)
	after := n.m.State()
	if before == vrrp.Active && after != vrrp.Active {
		n.active++
	}
	if before != vrrp.Leaving && after == vrrp.Leaving {
		n.leftAt = s.now
	}
	if before != after {
		s.noteChange(n, before, after)
	}
	for _, a := range actions {
		switch a := a.(type) {
		case vrrp.Send:
			if a.Priority > 0 && after != vrrp.Active {
				s.fail("SIM-SAFE-04", "%d sent priority %d in %s", n.id, a.Priority, after)
			}
			if !answer {
				s.send(n, a.Priority, false)
			}
		case vrrp.Install:
			s.operate(n, evInstall)
		case vrrp.Remove:
			s.operate(n, evRemove)
		case vrrp.Announce:
			if after != vrrp.Active {
				s.fail("SIM-SAFE-04", "%d announced in %s", n.id, after)
			}
			s.operate(n, evAnnounce)
		}
	}
	if d := n.m.Deadline(); (after == vrrp.Active || after == vrrp.Backup || after == vrrp.Leaving) == d.IsZero() {
		s.fail("SIM-SAFE-06", "%d in %s has deadline %v", n.id, after, d)
	}
	s.schedule(n)
	return slices.Clone(actions)
}

// operate is slow work in the kernel, in order.
func (s *sim) operate(n *node, kind uint8) {
	n.opsAt = max(n.opsAt, s.now)
	n.opsAt = min(n.opsAt+s.chance(s.tau), s.now+s.tau)
	s.push(event{at: n.opsAt, kind: kind, node: n.id, gen: n.active})
}

// send puts an advertisement on the wire.
func (s *sim) send(n *node, priority uint8, mustBeSilent bool) {
	if mustBeSilent {
		s.fail("SIM-PAUSE-03", "%d sent priority %d after a stall although it is beaten", n.id, priority)
	}
	b := n.packets[priority]
	if b == nil {
		adv := vrrp.NewRouter(n.cfg).Advertisement(priority)
		var err error
		if b, err = adv.AppendTo(nil, n.source, vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto); err != nil {
			panic(err)
		}
		n.packets[priority] = b
	}
	s.noteSent(n, priority)
	if s.record {
		s.sent = append(s.sent, sent{s.now, n.id, priority})
	}
	if n.linkUp {
		s.transmit(n, b)
	}
}

// fail notes a broken bound.
func (s *sim) fail(id, format string, args ...any) {
	if len(s.violations) < 5 {
		s.violations = append(s.violations, fmt.Sprintf("%s at %s in %s: %s", id, s.now, s.episode, fmt.Sprintf(format, args...)))
	}
}
