package bfd

import (
	"fmt"
	"time"
)

// After a false alarm a session has to be up for trustAfter before it is believed
// again, twice as long after each further one, up to trustMax.
const (
	trustAfter = 10 * time.Second
	trustMax   = 5 * time.Minute
)

// Session is one BFD session as a value: it has no clock, socket, goroutine or
// logger. Step feeds it, Deadline says when it wants a Tick. The fields are the
// state variables of RFC 5880 section 6.8.1.
type Session struct {
	key    Key
	params Params
	// random gives numbers in [0, 1) for the jitter.
	random func() float64

	state State
	// diag is why the state changed last.
	diag   Diag
	reason string
	since  time.Time

	local uint32
	// minTx and minRx are what our packets say. While a poll is under way, what is
	// in force may still be the old values.
	minTx, minRx     time.Duration
	txForce, rxForce time.Duration
	// poll says that our packets ask for an answer, again that values have changed
	// since the poll began, so that its end is the begin of another.
	poll, again bool

	// remote is what the peer said last.
	remote remote

	// sent is when the last periodic packet went, next when another is due; zero
	// is never.
	sent, next time.Time
	// gap is the interval that next was planned with, before jitter.
	gap time.Duration
	// heard is when the last packet came, expires when the detection time ends.
	heard, expires time.Time
	// voided says that the detection time had its one extension.
	voided bool

	// dead is the peer's discriminator when it was last taken for dead, 0 since it
	// is clear whether it was. alarms counts the false ones, until the session has
	// been up for as long as that takes.
	dead   uint32
	alarms int

	counters Counters
	out      []Action
}

// remote is what a peer says of itself.
type remote struct {
	discriminator uint32
	state         State
	diag          Diag
	demand        bool
	multiplier    uint8
	minTx, minRx  time.Duration
}

// NewSession returns a session that is Down and wants its first Tick at once. The
// discriminator is unique among the sessions of this machine and not 0; random
// gives numbers in [0, 1).
func NewSession(key Key, params Params, discriminator uint32, random func() float64, now time.Time) *Session {
	if discriminator == 0 {
		panic("bfd: a session with discriminator 0")
	}
	s := &Session{
		key: key, params: params, random: random,
		state: Down, reason: "nothing heard yet", since: now,
		local: discriminator, next: now,
	}
	s.forget()
	s.minTx, s.minRx = s.wanted()
	s.txForce, s.rxForce = s.minTx, s.minRx
	return s
}

// Step tells the session one event and returns what is to be done. The slice is
// valid until the next Step. now never goes back.
func (s *Session) Step(now time.Time, ev Event) []Action {
	s.out = s.out[:0]
	switch ev := ev.(type) {
	case Received:
		s.received(now, ev.At, ev.Packet)
	case Tick:
		s.tick(now)
	case Reconfigure:
		s.params = ev.Params
		s.negotiate(now)
		s.schedule(now)
	case Disable:
		if s.state == AdminDown {
			s.send(false)
		} else {
			s.become(now, AdminDown, DiagAdminDown, "ended here")
		}
	default:
		panic(fmt.Sprintf("bfd: event %T is not known", ev))
	}
	return s.out
}

// Deadline is when the session wants a Tick; zero means not before an event.
func (s *Session) Deadline() time.Time { return earliest(s.next, s.expires) }

// Key is what the session is between.
func (s *Session) Key() Key { return s.key }

// State is the session's state.
func (s *Session) State() State { return s.state }

// Discriminator is our number of the session.
func (s *Session) Discriminator() uint32 { return s.local }

// received is RFC 5880 section 6.8.6 from where the session is found.
func (s *Session) received(now, at time.Time, p *Packet) {
	if p.Auth {
		s.counters.drop(Authenticated)
		return
	}
	if s.state == AdminDown {
		s.counters.drop(LocallyDown)
		return
	}
	s.counters.Received++
	s.remote = remote{
		discriminator: p.MyDiscriminator, state: p.State, diag: p.Diag, demand: p.Demand,
		multiplier: p.Multiplier, minTx: p.MinTx, minRx: p.MinRx,
	}
	s.heard, s.voided = at, false
	if p.Final && s.poll {
		s.final()
	}
	s.follow(now, p)
	s.expires = s.heard.Add(s.detection())
	if p.Poll {
		s.send(true)
	}
	s.schedule(now)
}

// follow is the state machine of RFC 5880 section 6.2.
func (s *Session) follow(now time.Time, p *Packet) {
	switch {
	case p.State == AdminDown:
		if s.state != Down {
			s.become(now, Down, DiagNeighborDown, "the peer ended it")
		}
	case s.state == Down && p.State == Down:
		s.become(now, Init, DiagNone, "the peer is heard")
	case s.state == Down && p.State == Init, s.state == Init && p.State >= Init:
		s.become(now, Up, DiagNone, "the peer hears us and is heard")
	case s.state == Up && p.State == Down:
		s.become(now, Down, DiagNeighborDown, "the peer says that it is down: "+p.Diag.String())
	}
}

// become is the only writer of the state.
func (s *Session) become(now time.Time, to State, diag Diag, reason string) {
	from := s.state
	doubted := s.judge(now, from, to)
	s.state, s.diag, s.reason, s.since = to, diag, reason, now
	switch {
	case to == Up:
		s.counters.Ups++
	case from == Up:
		s.counters.Downs++
	}
	s.negotiate(now)
	if to == AdminDown {
		s.poll, s.again = false, false
		s.next, s.expires = time.Time{}, time.Time{}
	}
	s.out = append(s.out, Transition{Key: s.key, From: from, To: to, Diag: diag, Reason: reason, At: now, Doubted: doubted})
	// BFD-TMR-07: between the periodic ones.
	s.send(false)
}

// judge counts false alarms, and says whether the end of a session is another. A
// machine that is short of time, or a segment that loses, must not have VRRP
// start a takeover every few seconds.
func (s *Session) judge(now time.Time, from, to State) (doubted bool) {
	switch {
	case to == Up:
		if s.dead != 0 && s.dead == s.remote.discriminator {
			s.alarms++
			s.counters.FalseAlarms++
		}
		s.dead = 0
	case from == Up && s.alarms > 0:
		trust := min(trustAfter<<min(s.alarms-1, 10), trustMax)
		if doubted = now.Sub(s.since) < trust; !doubted {
			s.alarms = 0
		}
	}
	return doubted
}

// tick runs what is due.
func (s *Session) tick(now time.Time) {
	if due(s.expires, now) {
		s.expired(now)
	}
	if due(s.next, now) {
		s.sent = now
		s.next = time.Time{}
		s.send(false)
		s.schedule(now)
	}
}

// expired is the end of the detection time (RFC 5880 section 6.8.4).
func (s *Session) expired(now time.Time) {
	detection := s.detection()
	late := now.Sub(s.expires)
	if s.state != Down && late > detection && !s.voided {
		// We did not run ourselves, and what the peer sent may be lost for it
		// (BFD-VR-05).
		s.voided = true
		s.counters.Voided++
		s.expires = now.Add(detection)
		s.out = append(s.out, Voided{Key: s.key, Late: late, At: now})
		return
	}
	silent := now.Sub(s.heard)
	s.expires = time.Time{}
	if s.state == Up {
		s.dead = s.remote.discriminator
	}
	s.forget()
	if s.state == Init || s.state == Up {
		s.become(now, Down, DiagExpired, fmt.Sprintf("nothing heard for %s", silent.Round(100*time.Microsecond)))
	}
	s.schedule(now)
}

// forget sets what the peer said to what it is before anything was heard.
func (s *Session) forget() {
	s.remote = remote{state: Down, minRx: time.Microsecond}
	s.poll, s.again = false, false
}

// send adds a packet to the step.
func (s *Session) send(final bool) {
	s.counters.Sent++
	p := Packet{
		Diag: s.diag, State: s.state, Poll: s.poll && !final, Final: final, Multiplier: s.params.Multiplier,
		MyDiscriminator: s.local, YourDiscriminator: s.remote.discriminator,
		MinTx: s.minTx, MinRx: s.minRx,
	}
	if s.state == AdminDown {
		// One second, and the peer has forgotten our discriminator.
		p.Multiplier = 1
	}
	s.out = append(s.out, Send{p})
}

func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earliest is the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
