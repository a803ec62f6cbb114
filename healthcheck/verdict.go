package healthcheck

import "time"

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
}

// counter turns results into verdicts (rise and fall). It is the only writer of
// its verdict.
type counter struct {
	verdict Verdict
	// streak counts the results in a row that contradict the state.
	streak int
}

// adopt starts from a state somebody else vouches for.
func (c *counter) adopt(now time.Time, s State, reason string) {
	c.verdict, c.streak = Verdict{State: s, Reason: reason, Since: now}, 0
}

// observe takes one result and reports whether the state changed. The first
// result decides an unknown server at once: waiting for Rise successes would
// keep a fresh director empty, waiting for Fall failures would send traffic to
// a server never seen alive.
func (c *counter) observe(now time.Time, ok bool, reason string, rise, fall int) (changed bool) {
	to := Down
	if ok {
		to = Up
	}
	if to == c.verdict.State {
		c.streak = 0
		c.verdict.Reason = reason
		return false
	}
	c.streak++
	need := 1
	switch c.verdict.State {
	case Up:
		need = fall
	case Down:
		need = rise
	}
	if c.streak < need {
		return false
	}
	c.verdict, c.streak = Verdict{State: to, Reason: reason, Since: now}, 0
	return true
}
