package bfd

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// drainRounds bounds how many full batches are read before timers run, so that
// a flood cannot stop the timers.
const drainRounds = 8

// loop waits, drains, decides and acts until the Engine is stopped. What has
// arrived is always read before a timer acts.
func (e *Engine) loop() error {
	for {
		if err := e.drain(e.deadline()); err != nil {
			return err
		}
		e.calls()
		if e.stopping {
			return e.farewell()
		}
		now := time.Now()
		if due(e.deadline(), now) {
			// The process may have been stopped since it last looked.
			if err := e.drain(now); err != nil {
				return err
			}
		}
		for _, m := range e.members {
			if due(m.Deadline(), now) {
				e.step(m, now, Tick{})
			}
		}
		if now.Sub(e.lookedAt) >= upkeep {
			e.look(now)
		}
	}
}

// drain waits for packets until a time, and then takes in all that have
// arrived.
func (e *Engine) drain(until time.Time) error {
	for round := 1; ; round++ {
		datagrams, err := e.opt.Port.Receive(e.buf[:0], until)
		if err != nil {
			return fmt.Errorf("waiting for BFD packets: %w", err)
		}
		for i := range datagrams {
			e.datagram(&datagrams[i])
		}
		if len(datagrams) < MaxBatch || round == drainRounds {
			return nil
		}
		until = time.Now()
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
}

// deadline is when the first timer of all is due; zero is never.
func (e *Engine) deadline() time.Time {
	var d time.Time
	if len(e.networks) > 0 || len(e.members) > 0 {
		d = e.lookedAt.Add(upkeep)
	}
	for _, m := range e.members {
		d = earliest(d, m.Deadline())
	}
	return d
}

// farewell tells every peer that this end says nothing about forwarding. One
// that is lost would be a takeover, so there are several.
func (e *Engine) farewell() error {
	for i := range farewells {
		now := time.Now()
		for _, m := range e.members {
			e.step(m, now, Disable{})
		}
		if i == farewells-1 || len(e.members) == 0 {
			break
		}
		for end := now.Add(farewellGap); time.Now().Before(end); {
			if err := e.drain(end); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply is Configure in the loop.
func (e *Engine) apply(now time.Time, cfg Config) {
	old := e.cfg
	e.cfg = cfg
	for n := range e.networks {
		if !slices.ContainsFunc(cfg.Networks, func(l LocalNetwork) bool { return l.Network == n }) {
			e.opt.Port.Unlisten(n)
			delete(e.networks, n)
		}
	}
	for _, l := range cfg.Networks {
		if e.networks[l.Network] == nil {
			e.networks[l.Network] = &network{}
			e.listen(l.Network)
		}
	}
	e.members = slices.DeleteFunc(e.members, func(m *member) bool {
		m.watched = slices.Contains(cfg.Watch, m.Key())
		// One that was never heard is nobody's wish any more.
		silent := m.State() == Down && m.remote.discriminator == 0
		if m.watched || (!silent && e.local(m.Key().network(), m.Key().Local)) {
			if old.Params != cfg.Params {
				e.step(m, now, Reconfigure{cfg.Params})
			}
			return false
		}
		e.step(m, now, Disable{})
		e.opt.Port.Close(m.Key())
		return true
	})
	for _, k := range cfg.Watch {
		if e.find(k) == nil {
			e.add(k, now).watched = true
		}
	}
}

// local says whether an address is our own one on a network.
func (e *Engine) local(n Network, a netip.Addr) bool {
	return slices.Contains(e.cfg.Networks, LocalNetwork{n, a})
}

// listen opens a network, or says once why it cannot.
func (e *Engine) listen(n Network) {
	problem := ""
	if err := e.opt.Port.Listen(n); err != nil {
		problem = err.Error()
	}
	state := e.networks[n]
	if problem != "" && state.err != problem {
		e.log.Warn("BFD is not heard", "interface", n.Interface, "error", problem)
	}
	state.err = problem
}

// look opens again what is not what it was, and forgets sessions that nobody
// wants.
func (e *Engine) look(now time.Time) {
	e.lookedAt = now
	for n := range e.networks {
		if e.opt.Port.Current(n) {
			continue
		}
		e.opt.Port.Unlisten(n)
		for _, m := range e.members {
			if m.Key().network() == n {
				e.opt.Port.Close(m.Key())
				m.open = false
			}
		}
		e.listen(n)
	}
	e.members = slices.DeleteFunc(e.members, func(m *member) bool {
		if m.watched || m.State() != Down || m.remote.discriminator != 0 || now.Sub(m.since) < linger {
			return false
		}
		e.opt.Port.Close(m.Key())
		return true
	})
}

// find is the member of a key, nil if there is none.
func (e *Engine) find(k Key) *member {
	for _, m := range e.members {
		if m.Key() == k {
			return m
		}
	}
	return nil
}

// add makes a session.
func (e *Engine) add(k Key, now time.Time) *member {
	m := &member{Session: NewSession(k, e.cfg.Params, e.discriminator(), rand.Float64, now)}
	e.members = append(e.members, m)
	return m
}

// datagram gives one packet to whom it concerns (RFC 5880 section 6.8.6, RFC
// 5881 sections 3 and 5).
func (e *Engine) datagram(d *Datagram) {
	if d.TTL != ttl {
		e.drops[BadTTL]++
		return
	}
	p := &e.scratch
	if reason := p.Decode(d.Payload); reason != Accepted {
		e.drops[reason]++
		return
	}
	now := time.Now()
	m, reason := e.selected(d, p, now)
	if reason != Accepted {
		e.drops[reason]++
		return
	}
	at := d.At
	if at.After(now) {
		at = now
	}
	e.step(m, now, Received{At: at, Packet: p})
}

// selected is the session of a packet: by our discriminator alone where the
// sender knows it, else by who sent it. A neighbour that has none yet gets one.
func (e *Engine) selected(d *Datagram, p *Packet, now time.Time) (*member, Reason) {
	if p.YourDiscriminator != 0 {
		for _, m := range e.members {
			if m.Discriminator() == p.YourDiscriminator {
				return m, Accepted
			}
		}
		return nil, UnknownDiscriminator
	}
	if p.State != Down && p.State != AdminDown {
		return nil, NoDiscriminator
	}
	k := Key{Interface: d.Interface, Local: d.Destination, Peer: d.Source}
	if m := e.find(k); m != nil {
		return m, Accepted
	}
	guests := 0
	for _, m := range e.members {
		if !m.watched {
			guests++
		}
	}
	if p.State != Down || p.Auth || guests >= maxGuests || !e.local(k.network(), k.Local) || k.Peer == k.Local {
		return nil, NoSession
	}
	return e.add(k, now), Accepted
}

// step tells a session one event and does what it wants.
func (e *Engine) step(m *member, now time.Time, ev Event) {
	for _, a := range m.Step(now, ev) {
		switch a := a.(type) {
		case Send:
			e.send(m, &a.Packet)
		case Transition:
			if e.opt.OnTransition != nil {
				e.opt.OnTransition(a)
			}
		case Voided:
			if e.opt.OnVoided != nil {
				e.opt.OnVoided(a)
			}
		}
	}
}

// send transmits a packet, through a socket that is opened when it is needed.
func (e *Engine) send(m *member, p *Packet) {
	var err error
	if !m.open {
		err = e.opt.Port.Open(m.Key())
		m.open = err == nil
	}
	if err == nil {
		e.packet = p.Append(e.packet[:0])
		err = e.opt.Port.Send(m.Key(), e.packet)
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && m.problem != problem {
		e.log.Warn("BFD packets are not sent", "interface", m.Key().Interface, "peer", m.Key().Peer, "error", problem)
	}
	m.problem = problem
}

// statuses is Snapshot in the loop.
func (e *Engine) statuses() ([]Status, map[Reason]uint64) {
	out := make([]Status, 0, len(e.members))
	for _, m := range e.members {
		s := m.Status()
		s.Watched, s.Problem = m.watched, m.problem
		if n := e.networks[m.Key().network()]; s.Problem == "" && n != nil {
			s.Problem = n.err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Key.Interface, b.Key.Interface), a.Key.Peer.Compare(b.Key.Peer), a.Key.Local.Compare(b.Key.Local))
	})
	return out, maps.Clone(e.drops)
}
