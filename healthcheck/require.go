package healthcheck

import (
	"fmt"
	"strconv"
)

// Require says how many of a server's checks must be up for the server to be
// up: RequireAll, RequireAny or any positive number.
type Require int

const (
	// RequireAll wants every check up; it is the default.
	RequireAll Require = 0
	// RequireAny is content with one.
	RequireAny Require = 1
)

// String is "all", "any" or the number.
func (r Require) String() string {
	switch r {
	case RequireAll:
		return "all"
	case RequireAny:
		return "any"
	}
	return strconv.Itoa(int(r))
}

// Combine makes one verdict of those of a server's checks, in the order of the
// checks, of which each counts for its weight (1 where there is none). It is up as soon as enough checks are up, down as soon as too many
// are down for that, and unknown in between. A server without checks is up.
// A number larger than they add up to means all of them. A check that passes without a
// word of the server (Verdict.Mute) counts for nothing beside others that have one.
//
// The reason is that of the first check that decided; since is when the
// youngest verdict of the deciding ones was reached.
func (r Require) Combine(verdicts []Verdict, weights ...int) Verdict {
	if len(verdicts) == 0 {
		return Verdict{State: Up, Reason: "no check"}
	}
	all, weighted := 0, false
	var count [Down + 1]int
	mute := 0
	for i, v := range verdicts {
		if v.Mute {
			mute++
			continue
		}
		w := 1
		if i < len(weights) && weights[i] > 1 {
			w, weighted = weights[i], true
		}
		all += w
		count[v.State] += w
	}
	if mute == len(verdicts) {
		out := verdicts[0]
		for _, v := range verdicts[1:] {
			if v.Since.After(out.Since) {
				out.Since = v.Since
			}
		}
		return out
	}
	need := int(r)
	if need <= 0 || need > all {
		need = all
	}
	out := Verdict{State: Unknown}
	switch {
	case count[Up] >= need:
		out.State = Up
	case count[Up]+count[Unknown] < need:
		out.State = Down
	}
	for _, v := range verdicts {
		if v.State != out.State || v.Mute {
			continue
		}
		if out.Reason == "" {
			out.Reason = v.Reason
		}
		if v.Since.After(out.Since) {
			out.Since = v.Since
		}
	}
	if len(verdicts)-mute > 1 && out.State != Unknown {
		what := "checks"
		if weighted {
			what = "points of checks"
		}
		out.Reason = fmt.Sprintf("%d of %d %s up, want %s: %s", count[Up], all, what, r, out.Reason)
	}
	return out
}
