package healthcheck

import "time"

// Status is what is known of a target.
type Status struct {
	// Target is in canonical form.
	Target Target
	Verdict
	// Streak counts the results in a row that contradict the state: the state
	// changes when it reaches Rise or Fall.
	Streak   int
	Last     Probe
	Counters Counters
}

// Probe is the result of one probe. The zero value is "not probed yet".
type Probe struct {
	// Start is the wall time at which it began; zero before the first.
	Start time.Time
	// Latency is how long it took.
	Latency time.Duration
	// OK is whether the server passed.
	OK bool
	// Inconclusive is whether the probe failed on this machine, see
	// ErrInconclusive; OK is false then and the verdict was not touched.
	Inconclusive bool
	// Reason is what was seen, in words.
	Reason string
}

// Counters count since the target was first set.
type Counters struct {
	// Probes are those that finished; Successes, Failures and Inconclusive add
	// up to it.
	Probes, Successes, Failures, Inconclusive uint64
	// Late are the probes that started well after their time (a tenth of the
	// interval, at least 50 ms) because this machine or the limit on probes in
	// flight held them up.
	Late uint64
	// Changes are the changes of state.
	Changes uint64
}

// Change is a change of state of one target.
type Change struct {
	// Target is in canonical form.
	Target   Target
	From, To State
	Reason   string
	// Time is the wall time of the change.
	Time time.Time
}
