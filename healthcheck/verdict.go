package healthcheck

import (
	"fmt"
	"slices"
	"time"
)

// State is what is believed of a server.
type State uint8

const (
	// Unknown is a server that no probe has decided yet; it gets no traffic.
	Unknown State = iota
	// Up is a server that may get traffic.
	Up
	// Down is a server that must not get traffic.
	Down
)

// String is "unknown", "up" or "down".
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// Verdict is a state with its reason.
type Verdict struct {
	State State
	// Reason says in words what the last probe that agreed with the state saw.
	Reason string
	// Since is the wall time at which the state was entered.
	Since time.Time
	// Mute says of Up that the server has said nothing that would make it so: beside
	// other checks of the server it counts for nothing.
	Mute bool
}

// Transition is a change of state.
type Transition struct {
	From, To State
	// Reason is the result that made it.
	Reason string
	Time   time.Time
}

// historyLength is how many transitions are kept.
const historyLength = 20

// Damping keeps a server down that went down too often (route flap damping's
// idea). The zero value damps nothing.
type Damping struct {
	// Changes is how many times a server may go down within Within before it is
	// damped, 1 to 20.
	Changes int
	Within  time.Duration
	// Hold is how long it has to pass without a failure from then on to be up.
	Hold time.Duration
}

// counter turns results into verdicts (rise, fall and damping). It is the only
// writer of its verdict.
type counter struct {
	verdict Verdict
	// streak counts the results in a row that contradict the state, and began is
	// when the first of them came.
	streak int
	began  time.Time
	// damped is whether the server is kept down until it has passed for a while.
	damped bool
	// history are the last transitions, oldest first.
	history []Transition
}

// adopt starts from a state somebody else vouches for.
func (c *counter) adopt(now time.Time, s State, reason string) {
	*c = counter{verdict: Verdict{State: s, Reason: reason, Since: now}}
}

// finding is what one probe adds to a verdict.
type finding struct {
	ok     bool
	reason string
	// mute and atOnce are those of Answer.
	mute, atOnce bool
}

// observe takes one result and reports whether the verdict changed. The first
// result decides an unknown server at once: waiting for Rise successes would
// keep a fresh director empty, waiting for Fall failures would send traffic to
// a server never seen alive.
func (c *counter) observe(now time.Time, f finding, check Check) (changed bool) {
	to, reason := Down, f.reason
	if f.ok {
		to = Up
	}
	if to == c.verdict.State {
		c.streak = 0
		c.verdict.Reason = reason
		changed = c.verdict.Mute != f.mute
		c.verdict.Mute = f.mute
		return changed
	}
	if c.streak == 0 {
		c.began = now
	}
	c.streak++
	need := 1
	switch {
	case f.atOnce:
	case c.verdict.State == Up:
		need = check.Fall
	case c.verdict.State == Down:
		need = check.Rise
	}
	if c.streak < need {
		return false
	}
	if to == Up && c.damped {
		if passed := now.Sub(c.began); passed < check.Damping.Hold {
			c.verdict.Reason = fmt.Sprintf("kept down, as it went down %d times within %v: %s for %v of %v",
				check.Damping.Changes, check.Damping.Within, reason, passed.Round(time.Second), check.Damping.Hold)
			return false
		}
	}
	c.turn(now, to, reason)
	c.verdict.Mute = f.mute
	c.damped = to == Down && c.flaps(now, check.Damping)
	return true
}

// turn changes the state.
func (c *counter) turn(now time.Time, to State, reason string) {
	if len(c.history) == historyLength {
		c.history = slices.Clone(c.history[1:]) // what was handed out is never written to
	}
	c.history = append(c.history, Transition{From: c.verdict.State, To: to, Reason: reason, Time: now})
	c.verdict, c.streak = Verdict{State: to, Reason: reason, Since: now}, 0
}

// flaps reports whether the server went down too often.
func (c *counter) flaps(now time.Time, d Damping) bool {
	if d.Changes <= 0 {
		return false
	}
	downs := 0
	for _, t := range c.history {
		if t.From == Up && t.To == Down && now.Sub(t.Time) <= d.Within {
			downs++
		}
	}
	return downs >= d.Changes
}

// fell reports whether the server is down and was up before.
func (c *counter) fell() bool {
	last := len(c.history) - 1
	return c.verdict.State == Down && last >= 0 && c.history[last].From == Up
}
