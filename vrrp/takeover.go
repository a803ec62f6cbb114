package vrrp

import (
	"fmt"
	"slices"
	"time"
)

// yield is an operator's wish that another director has the addresses.
type yield struct {
	on bool
	// until is when it ends by itself; zero is never.
	until time.Time
}

// clock is how reasons name a time.
const clock = "15:04:05"

// leavesInPeace reports whether an Active of lower priority that was heard stays
// where it is. With a delay it does until that is over (V3-BCK-14).
func (r *Router) leavesInPeace(ev *Received) bool {
	switch {
	case r.yield.on, r.tracked.Wait != "":
		return true
	case r.cfg.NoPreempt:
		return !r.cfg.PreemptLowered || !r.lowered(ev)
	case r.cfg.PreemptAfter <= 0:
		return false
	case r.preemptAt.IsZero():
		r.preemptAt = ev.At.Add(r.cfg.PreemptAfter)
	}
	return ev.At.Before(r.preemptAt)
}

// lowered reports whether a sender advertises less than the file says that it has. Of a
// sender that the file does not know, nobody can tell.
func (r *Router) lowered(ev *Received) bool {
	i := slices.IndexFunc(r.cfg.Peers, func(p Peer) bool { return p.Address == ev.Source })
	if i < 0 && len(r.cfg.Peers) == 1 {
		// The only one there is: over IPv6 it sends from an address of its interface
		// that the file does not have.
		i = 0
	}
	return i >= 0 && ev.Advertisement.Priority < r.cfg.Peers[i].Priority
}

// patience is why a Backup does not take over from an Active that it outranks.
func (r *Router) patience() string {
	switch {
	case r.active.priority >= r.Priority():
		return ""
	case r.yield.on && r.yield.until.IsZero():
		return ", and we yield until told otherwise"
	case r.yield.on:
		return fmt.Sprintf(", and we yield until %s", r.yield.until.Format(clock))
	case r.cfg.PreemptLowered:
		return `, and takeover is "never"`
	case r.cfg.NoPreempt:
		return `, and takeover is "nopreempt"`
	case r.tracked.Wait != "":
		return ", and is left in peace: " + r.tracked.Wait
	case !r.preemptAt.IsZero():
		return fmt.Sprintf(", and is left in peace until %s (takeover after %s)", r.preemptAt.Format(clock), r.cfg.PreemptAfter)
	}
	return ""
}

// startYield gives the addresses away, if somebody takes them.
func (r *Router) startYield(now, until time.Time) {
	r.yield = yield{on: true, until: until}
	if r.state == Active {
		r.release(now, leave{to: Backup, yielding: true}, "yielding")
	}
}

// endYield lets the router take over again.
func (r *Router) endYield(now time.Time) {
	if !r.yield.on {
		return
	}
	r.yield = yield{}
	r.notice(now, NoticeYield, "the yield has ended")
}

// peerDown is the path to the Active that is dead before its silence shows. The
// backups keep their order (BFD-VR-01). An advertisement that came later says that
// it lives.
func (r *Router) peerDown(now time.Time, ev PeerDown) {
	if r.state != Backup || r.released || r.active.source != ev.Source || r.active.at.After(ev.At) {
		return
	}
	if at := ev.At.Add(r.skew()); at.Before(r.timer) {
		r.timer, r.pathDown = at, ev.At
	}
}

// track takes in what the router depends on. As in keepalived the pending expiry of a
// Backup moves by what another priority changes of it; an Active says its new
// priority in the next advertisement (V3-ACT-17).
func (r *Router) track(now time.Time, ev Tracked) {
	before := r.downInterval()
	r.tracked = ev
	if r.state == Backup && !r.released && r.pathDown.IsZero() {
		r.timer = r.timer.Add(r.downInterval() - before)
	}
	r.reassess(now)
}

// ownProblem is why the router cannot serve, whatever its group does.
func (r *Router) ownProblem() string {
	switch {
	case r.link.Problem != "":
		return r.link.Problem
	case r.tracked.Fault != "":
		return r.tracked.Fault
	case !r.holdUntil.IsZero():
		return r.reason
	}
	return ""
}

// obstacle is why the router cannot serve.
func (r *Router) obstacle() string {
	if p := r.ownProblem(); p != "" {
		return p
	}
	return r.group.problem
}

// reassess follows what the router depends on: its interface, what is tracked,
// and its group.
func (r *Router) reassess(now time.Time) {
	problem := r.obstacle()
	switch {
	case !r.started && r.state == Initialize:
	case problem == "":
		if r.state == Fault {
			r.begin(now)
		}
	case r.state == Fault:
		if r.holdUntil.IsZero() {
			r.reason = problem
		}
	case r.link.Problem != "" && !r.link.Speaks && r.state == Leaving && r.leave.to == Initialize:
		r.becomeInitialize(now)
	case r.link.Problem != "" && !r.link.Speaks:
		r.becomeFault(now, problem)
	case r.state == Active:
		// The interface works, so that the others can be told at once.
		r.release(now, leave{to: Fault}, problem)
	case r.state == Leaving:
		if r.leave.to == Backup {
			r.leave.to = Fault
		}
	default:
		r.becomeFault(now, problem)
	}
}

// release sends priority 0 and goes on serving until somebody took over.
func (r *Router) release(now time.Time, l leave, reason string) {
	r.timer, r.armed = time.Time{}, time.Time{}
	r.active = heard{}
	r.send(0)
	l.released, l.until = true, now.Add(r.patienceOfRelease())
	if reason != "" {
		reason += ", "
	}
	r.becomeLeaving(now, l, fmt.Sprintf("%swaiting for %s to announce", reason, r.others()))
}

// patienceOfRelease is how long a released router waits for somebody to speak: the
// Skew_Time of the slowest peer there can be, as nobody knows to what priority its
// conditions have lowered it, and what that peer may be late.
func (r *Router) patienceOfRelease() time.Duration {
	slowest := skewTime(r.cfg.Version, 1, r.cfg.Interval)
	if r.tracked.Alone {
		return slowest + grace
	}
	return slowest + leaveSlack
}
