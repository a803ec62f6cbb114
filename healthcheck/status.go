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
	// Advice is what the last conclusive probe advised.
	Advice Advice
	// History are the last transitions, oldest first, at most 20. It is shared, and must not
	// be written to.
	History []Transition
	// Latency is how long the probes that passed took.
	Latency Histogram
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
	// Silent is whether it failed without a sign of life from the server: no
	// connection, no refusal, nothing. Then the way to it may be at fault.
	Silent bool
	// Reason is what was seen, in words.
	Reason string
	// Warning is what will be the matter some day; empty is nothing.
	Warning string
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
	// Panics are the failures that were a fault of the check itself.
	Panics uint64
	// Changes are the changes of state.
	Changes uint64
}

// Change is a change of state of one target, or of what it is advised (then From
// and To are the same).
type Change struct {
	// Target is in canonical form.
	Target   Target
	From, To State
	Reason   string
	Advice   Advice
	// Silent is that of the last probe.
	Silent bool
	// Time is the wall time of the change.
	Time time.Time
}

// histogramBounds are the upper bounds of the buckets of a Histogram; the last
// bucket has none.
var histogramBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
}

// Histogram counts durations in buckets of 1, 2 and 5 in each power of ten from
// 1 ms to 5 s, and one for the longer ones.
type Histogram [len(histogramBounds) + 1]uint32

// add counts one.
func (h *Histogram) add(d time.Duration) {
	i := 0
	for i < len(histogramBounds) && d > histogramBounds[i] {
		i++
	}
	h[i]++
}

// Bucket is one bucket of a Histogram.
type Bucket struct {
	// UpTo is its upper bound; zero is none.
	UpTo  time.Duration
	Count uint32
}

// Buckets are those that are not empty, in order.
func (h Histogram) Buckets() (out []Bucket) {
	for i, n := range h {
		if n == 0 {
			continue
		}
		b := Bucket{Count: n}
		if i < len(histogramBounds) {
			b.UpTo = histogramBounds[i]
		}
		out = append(out, b)
	}
	return out
}
