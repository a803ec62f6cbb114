package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// portKey is what the Port opens: an interface for a family.
type portKey struct {
	iface  string
	family Family
}

// port is what a virtual router needs open.
func (k Key) port() portKey { return portKey{k.Interface, k.Family} }

// familyOf is the family of an address.
func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// openPort is what the loop knows of an interface of the Port.
type openPort struct {
	index int
	// err is why it could not be opened, to be tried again at retryAt.
	err      error
	retryAt  time.Time
	failures int
	// foreign counts packets that belong to no virtual router.
	foreign Counters
}

// drainRounds bounds how many full batches are read before timers run, so that
// a flood cannot stop the timers. A socket's buffer holds fewer packets.
const drainRounds = 16

// loop waits, drains, decides and acts until the Engine has stopped. What has
// arrived is always read before a timer acts (SIM-PAUSE-02).
func (e *Engine) loop() error {
	e.lastMonotonic, e.lastBoottime = time.Now(), e.opt.Boottime()
	for {
		if err := e.drain(e.deadline()); err != nil {
			return err
		}
		e.calls()
		if e.stopping == Hold {
			return nil
		}
		now := time.Now()
		if due(e.deadline(), now) {
			// The process may have been stopped since it last looked.
			if err := e.drain(now); err != nil {
				return err
			}
		}
		e.timers(now)
		if e.stopping == Release && e.settled() {
			return nil
		}
	}
}

// drain waits for packets until a time, and then takes in all that have
// arrived.
func (e *Engine) drain(until time.Time) error {
	packets, err := e.opt.Port.Receive(e.buf[:0], until)
	if err != nil {
		return fmt.Errorf("waiting for advertisements: %w", err)
	}
	e.checkSleep()
	for round := 1; ; round++ {
		for i := range packets {
			e.packet(&packets[i])
		}
		if len(packets) < MaxBatch || round == drainRounds {
			break
		}
		if packets, err = e.opt.Port.Receive(e.buf[:0], time.Now()); err != nil {
			return fmt.Errorf("reading advertisements: %w", err)
		}
	}
	e.replies()
	return nil
}

// replies sends what packets asked for, once everything that had arrived was
// read. A process that wakes up late must not answer a loser when the winner's
// advertisement is next in the queue (SIM-PAUSE-02, SIM-PAUSE-03).
func (e *Engine) replies() {
	for _, m := range e.members {
		if m.reply && m.router.State() == Active {
			e.send(m, m.router.Priority())
		}
		m.reply = false
	}
}

// calls runs what other goroutines asked for.
func (e *Engine) calls() {
	e.mu.Lock()
	queue := e.queue
	e.queue = nil
	e.mu.Unlock()
	for _, call := range queue {
		call()
	}
	if len(queue) > 0 {
		e.flush()
	}
}

// deadline is when the first timer of all is due; zero is never.
func (e *Engine) deadline() time.Time {
	var d time.Time
	for _, m := range e.members {
		d = earliest(earliest(d, m.deadline), m.absentUntil())
	}
	for _, p := range e.ports {
		d = earliest(d, p.retryAt)
	}
	return d
}

// absentUntil is when the missing of the address to send from becomes a problem; zero
// while that is not to be expected.
func (m *member) absentUntil() time.Time {
	if m.absentSince.IsZero() || m.link.Problem != "" {
		return time.Time{}
	}
	return m.absentSince.Add(m.router.cfg.absence())
}

// timers runs what was due at a time after which the queue was read.
func (e *Engine) timers(now time.Time) {
	for _, m := range e.members {
		if !due(m.deadline, now) {
			continue
		}
		beat := m.router.beat()
		e.step(m, now, Tick{})
		if due(beat, now) {
			m.late.add(time.Since(beat))
		}
	}
	check := slices.ContainsFunc(e.members, func(m *member) bool { return due(m.absentUntil(), now) })
	for _, p := range e.ports {
		if due(p.retryAt, now) {
			p.retryAt, check = time.Time{}, true
			break
		}
	}
	if check {
		e.checkLinks(now)
	}
	e.sweep()
	e.flush()
}

// sweep forgets routers that are no longer configured and have left.
func (e *Engine) sweep() {
	gone := func(m *member) bool { return m.removed && m.router.State() == Initialize }
	if !slices.ContainsFunc(e.members, gone) {
		return
	}
	for _, m := range e.members {
		if gone(m) {
			delete(e.byKey, m.router.key)
		}
	}
	e.members = slices.DeleteFunc(e.members, gone)
	e.reconfigured()
	for key := range e.ports {
		if !slices.ContainsFunc(e.members, func(m *member) bool { return m.router.key.port() == key }) {
			e.opt.Port.Close(key.iface, key.family)
			delete(e.ports, key)
		}
	}
}

// settled says that every router has left and every address is gone, or cannot
// be removed.
func (e *Engine) settled() bool {
	for _, m := range e.members {
		if m.router.State() != Initialize {
			return false
		}
	}
	var left []error
	for _, w := range e.workers {
		idle, err := w.settled()
		if !idle {
			return false
		}
		left = append(left, err)
	}
	e.left = errors.Join(left...)
	return true
}

// flush hands jobs to the workers, and then tells what happened. The workers go
// first: those who are told would take the processor from them, and an outage
// waits for the addresses.
func (e *Engine) flush() {
	for _, w := range e.workers {
		w.flush()
	}
	e.tell()
}

// tell tells what happened since it was last called, in order.
func (e *Engine) tell() {
	for i, tell := range e.untold {
		e.untold[i] = nil
		tell()
	}
	e.untold = e.untold[:0]
}

// checkSleep compares the clock that stops while the machine sleeps with the
// one that does not (SIM-PAUSE-09).
func (e *Engine) checkSleep() {
	now, boot := time.Now(), e.opt.Boottime()
	slept := (boot - e.lastBoottime) - now.Sub(e.lastMonotonic)
	e.lastMonotonic, e.lastBoottime = now, boot
	for _, m := range e.members {
		if slept > lateAfter(m.router.cfg.Interval) {
			e.step(m, now, Stalled{For: slept})
		}
	}
}

// packet gives one packet to whom it concerns.
func (e *Engine) packet(p *Packet) {
	if p.Announcement {
		e.announcement(p)
		return
	}
	family := familyOf(p.Source)
	port := e.ports[portKey{p.Interface, family}]
	if port == nil {
		return
	}
	vrid, _ := p.vrid()
	adv := &e.scratch.Advertisement
	m := e.find(Key{Interface: p.Interface, Family: family, VRID: vrid})
	if m == nil {
		_, _, reason := adv.decodeBy(p, rules{ttl: 255, trailer: true})
		if reason == Accepted {
			reason = UnknownVRID
		}
		port.foreign.drop(reason)
		// Other routers' VRIDs on the segment are normal; the rest is not.
		if reason != UnknownVRID {
			e.complain(nil, p, vrid, reason, "")
		}
		return
	}
	now := time.Now()
	if !e.admits(m, p, now) {
		return
	}
	e.scratch.At, e.scratch.Source = p.At, p.Source
	if p.At.After(now) {
		e.scratch.At = now
	}
	e.step(m, now, &e.scratch)
}

// announcement gives a gratuitous ARP or an unsolicited neighbour advertisement
// from elsewhere to the routers that have the address on that interface.
func (e *Engine) announcement(p *Packet) {
	if e.ownMAC(p.MAC) {
		return
	}
	for _, m := range e.holders().on[addressOn{p.Interface, p.Source}] {
		e.step(m, time.Now(), Announced{Address: p.Source, MAC: p.MAC})
	}
}

// ownMAC reports whether a hardware address is this machine's. A virtual router's
// address is not only ours: whoever takes over has it too.
func (e *Engine) ownMAC(mac [6]byte) bool {
	for name, l := range e.links.links {
		if l.MAC == mac && !e.holders().router(name) {
			return true
		}
	}
	return false
}

// find is the member of a key, nil if there is none.
func (e *Engine) find(k Key) *member { return e.byKey[k] }

// step tells a router one event, does what it wants, and has its sync group
// follow.
func (e *Engine) step(m *member, now time.Time, ev Event) {
	e.stepOne(m, now, ev)
	e.follow(m, now)
}

// stepOne is step without the group.
func (e *Engine) stepOne(m *member, now time.Time, ev Event) {
	actions := m.router.Step(now, ev)
	m.deadline = m.router.Deadline()
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			if _, answer := ev.(*Received); answer {
				m.reply = true
			} else {
				e.send(m, a.Priority)
			}
		case Install:
			e.stage(m, jobInstall, a.Addresses, 0)
		case InstallPaths:
			e.stagePaths(m, jobInstall, a.Routes, a.Rules)
		case RemovePaths:
			e.stagePaths(m, jobRemove, a.Routes, a.Rules)
		case Remove:
			e.stage(m, jobRemove, a.Addresses, 0)
		case Disown:
			e.stage(m, jobDisown, a.Addresses, 0)
		case Announce:
			e.stage(m, jobAnnounce, a.Addresses, a.Rounds)
		case Transition:
			e.transition(m, a)
		case Notice:
			e.notice(a)
		}
	}
	e.tellFollowed(m)
}

// stage prepares work for the workers of the addresses' interfaces.
func (e *Engine) stage(m *member, kind jobKind, addresses []Address, rounds int) {
	e.stageFor(m, &m.router.cfg, kind, addresses, rounds)
}

// stageFor is stage by a configuration that may not be the present one.
func (e *Engine) stageFor(m *member, cfg *Config, kind jobKind, addresses []Address, rounds int) {
	byInterface := make(map[string][]Address, 1)
	for _, a := range addresses {
		iface := cfg.carrier(a)
		byInterface[iface] = append(byInterface[iface], a)
		if kind == jobRemove || kind == jobDisown {
			delete(m.problems, place{iface, itemOf(a)})
		}
	}
	for iface, list := range byInterface {
		j := job{kind: kind, key: m.router.Key(), addresses: list, refuse: cfg.Refuses(), rounds: rounds}
		if v, ok := cfg.VirtualInterface(); ok && v.Name == iface {
			j.virtual = v
		}
		w := e.worker(iface)
		w.staged = append(w.staged, j)
	}
}

// stagePaths prepares work on routes and rules.
func (e *Engine) stagePaths(m *member, kind jobKind, routes []Route, rules []Rule) {
	iface := m.router.cfg.pathCarrier()
	if kind == jobRemove {
		for _, it := range pathItems(routes, rules) {
			delete(m.problems, place{iface, it})
		}
	}
	w := e.worker(iface)
	w.staged = append(w.staged, job{kind: kind, key: m.router.Key(), routes: routes, rules: rules})
}

// worker is the worker of an interface, started if it is new.
func (e *Engine) worker(iface string) *worker {
	w := e.workers[iface]
	if w == nil {
		w = newWorker(iface, e.opt.Links, func(r report) { e.post(func() { e.reported(r) }) })
		w.pacer = e.pacerOf(iface)
		e.workers[iface] = w
		e.spawn(w)
	}
	return w
}

// transition takes in a change of state, which is told with the next flush.
func (e *Engine) transition(m *member, t Transition) {
	if t.From == Active {
		m.sendErr = ""
		e.stage(m, jobSilence, m.router.all, 0)
	}
	e.untold = append(e.untold, func() {
		e.log.Info("state changed", "router", t.Name, "interface", t.Key.Interface, "vrid", t.Key.VRID,
			"from", t.From, "to", t.To, "reason", t.Reason)
		if e.opt.OnTransition != nil {
			e.opt.OnTransition(t)
		}
	})
}

// notice takes in something noteworthy, which is told with the next flush.
func (e *Engine) notice(n Notice) {
	e.untold = append(e.untold, func() {
		e.log.Warn(n.Text, "router", n.Router, "interface", n.Key.Interface, "vrid", n.Key.VRID, "kind", n.Kind)
		if e.opt.OnEvent != nil {
			e.opt.OnEvent(n)
		}
	})
}
