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
// its regular round starts, at most one interval later.
func firstDue(now time.Time, t Target, n int) (first, second time.Time) {
	p := phase(t)
	window := min(t.Check.Interval, firstRound, time.Duration(n)*firstGap)
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
type queue []*entry

var _ heap.Interface = (*queue)(nil)

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push is for package heap.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.at = -1
	return e
}
