package healthcheck

import (
	"container/heap"
	"hash/fnv"
	"time"
)

const (
	// firstRound bounds the time over which the first probes of new targets are
	// spread, whatever their interval: a fresh director wants verdicts.
	firstRound = time.Second
	// firstGap is the room each of them gets when they are few.
	firstGap = time.Millisecond
	// knownGap is the room each gets of those that start up: nobody waits for their
	// verdicts, and a large table must not be filled in a storm of probes.
	knownGap = 5 * time.Millisecond
)

// readyRetry is how soon a server that nobody knows about yet is asked again when
// its path did not exist.
const readyRetry = 100 * time.Millisecond

// phase is where in its interval a target is probed, in [0, 1): the same on
// every start, and even over any set of targets.
func phase(t Target) float64 {
	h := fnv.New64a()
	b, _ := t.Server.MarshalBinary() // never fails
	h.Write(b)
	h.Write([]byte(t.Check.String()))
	// FNV leaves neighbouring addresses in neighbouring places; this is the
	// finalizer of splitmix64.
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

// firstDue is when a target that is one of n new ones is probed first, and when
// its regular round starts, at most one interval later. It starts in the state initial.
func firstDue(now time.Time, t Target, n int, initial State) (first, second time.Time) {
	p := phase(t)
	window := min(t.Check.Interval, firstRound, time.Duration(n)*firstGap)
	if gaps := time.Duration(n) * knownGap; initial == Up && gaps > firstRound {
		window = min(t.Check.Interval, gaps)
	}
	first = now.Add(time.Duration(p * float64(window)))
	return first, now.Add(time.Duration(p * float64(t.Check.Interval)))
}

// pace is the time between the starts of two probes in a state.
func (c Check) pace(s State, streak int) time.Duration {
	switch {
	case streak > 0:
		return c.FastInterval
	case s == Down:
		return c.DownInterval
	}
	return c.Interval
}

// jittered delays a probe by a part of the check's jitter; part is in [0, 1).
func (c Check) jittered(due time.Time, part float64) time.Time {
	return due.Add(time.Duration(part * float64(c.Jitter)))
}

// nextDue is when the probe after the one due at due starts. A small delay is
// made up for, so that the rhythm holds; whole intervals that passed unused are
// skipped, so that a stall is not followed by a burst.
func nextDue(due, now time.Time, interval time.Duration) time.Time {
	next := due.Add(interval)
	if late := now.Sub(next); late >= interval {
		next = next.Add((late/interval + 1) * interval)
	}
	return next
}

// lateAfter is how long after its time a probe counts as late.
func lateAfter(interval time.Duration) time.Duration {
	return max(interval/10, 50*time.Millisecond)
}

// starved says that a probe which ended in its timeout did so long after the
// timeout was due: it was this process that did not run. The grace covers what
// killing a program may take.
func starved(elapsed, timeout time.Duration) bool {
	return elapsed > timeout+max(timeout/2, 250*time.Millisecond)
}

// queue is a heap of entries by due time.
type queue struct {
	// epoch is what due times are counted from.
	epoch time.Time
	slots []slot
}

// slot has the due time of an entry beside it: to look for it in the entry is most of
// what a heap of thousands costs.
type slot struct {
	due time.Duration
	*entry
}

var _ heap.Interface = (*queue)(nil)

func (q *queue) Len() int           { return len(q.slots) }
func (q *queue) Less(i, j int) bool { return q.slots[i].due < q.slots[j].due }
func (q *queue) Swap(i, j int) {
	q.slots[i], q.slots[j] = q.slots[j], q.slots[i]
	q.slots[i].at, q.slots[j].at = i, j
}

// Push is for package heap.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.at = len(q.slots)
	q.slots = append(q.slots, slot{e.due.Sub(q.epoch), e})
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(q.slots) - 1
	e := q.slots[last].entry
	q.slots[last] = slot{}
	q.slots = q.slots[:last]
	e.at = -1
	return e
}

// first is the entry that is due first; nil when there is none.
func (q *queue) first() *entry {
	if len(q.slots) == 0 {
		return nil
	}
	return q.slots[0].entry
}

// moved takes notice of a new due time of an entry in the queue.
func (q *queue) moved(e *entry) {
	q.slots[e.at].due = e.due.Sub(q.epoch)
	heap.Fix(q, e.at)
}
