package healthcheck

import (
	"cmp"
	"slices"
	"time"
)

// FirstVerdict is the longest time in which a new target has its first verdict, from the
// moment at which it was set: a second and the timeout, and where it starts as down, the
// probes that it has to pass besides.
func (c Check) FirstVerdict(initial State) time.Duration {
	c = c.withDefaults()
	d := firstRound + c.Timeout
	if initial == Down {
		d += time.Duration(c.Rise-1) * (max(c.Interval, c.DownInterval) + c.Jitter)
	}
	return d
}

// open reports whether no probe has decided the state yet: there was none, or the ones
// that there were are on the way up from where the target started.
func (e *entry) open() bool {
	c := &e.counter
	switch {
	case c.verdict.State == Unknown:
		return true
	case c.verdict.State != Down || len(c.history) > 0:
		return false
	}
	return e.count.Successes+e.count.Failures == 0 || c.streak > 0
}

// retain keeps servers that leave for as long as others are awaited, as far as the quorum
// needs their weights. Those with the most weight stay, so that they are few.
func (p *Pool) retain(rules PoolRules, members []Member, out *Outcome) {
	if !out.awaits || p.decided && !p.quorum && rules.Sorry {
		return
	}
	var leaving []int
	have := out.Sum
	for i, m := range members {
		if m.Leaving && m.State == Up {
			leaving = append(leaving, i)
			have += out.unscaled(i)
		}
	}
	quorum := max(rules.Quorum, 1)
	gain, keep := quorum+rules.Hysteresis, max(quorum-rules.Hysteresis, 1)
	need := 1
	switch {
	case p.decided && p.quorum:
		need = keep
	case p.decided:
		// There is none to keep.
	case have >= gain:
		need = gain
	case have >= keep:
		need = keep
	}
	for _, i := range out.heaviest(members, leaving) {
		if out.Sum >= need {
			return
		}
		out.Sum += out.unscaled(i)
		out.Up++
		out.Known++
		out.stay(i)
	}
}

// retainOne keeps one that leaves where nobody else would get any traffic: one that is
// down, and was in use all the same.
func (p *Pool) retainOne(members []Member, out *Outcome) {
	if !out.awaits || slices.ContainsFunc(out.Shares, func(s Share) bool { return s.Used && s.Weight > 0 }) {
		return
	}
	var leaving []int
	for i, m := range members {
		if m.Leaving {
			leaving = append(leaving, i)
		}
	}
	if leaving = out.heaviest(members, leaving); len(leaving) > 0 {
		out.stay(leaving[0])
	}
}

func (out *Outcome) stay(i int) {
	out.Shares[i].Used, out.Shares[i].Why = true, "stays until those that take its place have their first verdict"
}

// unscaled is the weight of a share as it counts for the quorum.
func (out *Outcome) unscaled(i int) int { return out.Shares[i].Weight / out.Scale }

// heaviest puts members into the order of their weights, the largest first.
func (out *Outcome) heaviest(members []Member, list []int) []int {
	slices.SortFunc(list, func(a, b int) int {
		return cmp.Or(cmp.Compare(out.Shares[b].Weight, out.Shares[a].Weight), members[a].Server.Compare(members[b].Server))
	})
	return list
}

// Adopt begins with a quorum: the pool was in use, in place of its sorry server, when it
// was found.
func (p *Pool) Adopt() { p.decided, p.quorum = true, true }
