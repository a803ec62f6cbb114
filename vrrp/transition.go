package vrrp

import (
	"fmt"
	"time"
)

// become is the only writer of the state. Whatever belongs to one state only
// ends here.
func (r *Router) become(now time.Time, to State, reason string) {
	from := r.state
	r.state, r.reason, r.since = to, reason, now
	if to != Active {
		// None leaves the box after Active was left (ARP-11, SIM-CACHE-03).
		r.announcements = r.announcements[:0]
		r.stalled = false
	}
	if to != Leaving {
		r.leave = leave{}
	}
	if to != Fault {
		r.holdUntil = time.Time{}
	}
	if to == Fault || to == Initialize {
		r.endAlarms(now, true)
	}
	if !r.serving {
		clear(r.lost)
		clear(r.restored)
	}
	r.emit(Transition{
		Name: r.cfg.Name, Key: r.key, From: from, To: to,
		Reason: r.Reason(), At: now, Priority: r.Priority(),
	})
}

// becomeActive is V3-BCK-06 and, for the owner, V3-INI-01: the advertisement
// goes first, so that whoever holds the addresses lets them go before hosts
// hear the announcement. handover says that somebody may still be serving.
func (r *Router) becomeActive(now time.Time, handover bool, reason string) {
	r.counters.BecameActive++
	r.send(r.Priority())
	r.serving, r.handover = true, handover
	r.emit(Install{Addresses: r.all})
	if len(r.cfg.Routes)+len(r.cfg.Rules) > 0 {
		r.emit(InstallPaths{Routes: r.cfg.Routes, Rules: r.cfg.Rules})
	}
	r.announceAll(now, handover)
	r.timer, r.armed = now.Add(r.cfg.Interval), now
	r.replies = bucket{}
	r.released, r.graced, r.pathDown, r.rival = false, false, time.Time{}, heard{}
	r.preemptAt, r.group.ready = time.Time{}, ""
	r.become(now, Active, reason)
}

// becomeBackup is the end of V3-INI-02, and of Leaving after a preemption. The
// caller has armed Active_Down_Timer. The addresses go, unless a resumed router
// listens first.
func (r *Router) becomeBackup(now time.Time, keep bool, reason string) {
	r.serving = keep
	if !keep {
		r.drop()
	}
	r.become(now, Backup, reason)
}

// drop takes everything away that comes with the addresses, and them.
func (r *Router) drop() {
	r.serving = false
	if len(r.cfg.Routes)+len(r.cfg.Rules) > 0 {
		r.emit(RemovePaths{Routes: r.cfg.Routes, Rules: r.cfg.Rules})
	}
	r.letGo(&r.cfg, r.all)
}

// becomeLeaving stops advertising but not serving. r.timer is what the cause
// needs: nothing after a Shutdown, Active_Down_Timer after a preemption.
func (r *Router) becomeLeaving(now time.Time, l leave, reason string) {
	r.group.ready = ""
	r.become(now, Leaving, reason)
	r.leave = l
	r.await()
}

// becomeFault ends every part in the protocol. Nothing can be sent where the
// interface cannot be used, so no priority 0 is tried.
func (r *Router) becomeFault(now time.Time, reason string) {
	r.timer, r.armed = time.Time{}, time.Time{}
	r.resume = nil
	r.group.ready = ""
	r.drop()
	r.become(now, Fault, reason)
}

// becomeInitialize is the end of a Shutdown (V3-BCK-05, V3-ACT-06).
func (r *Router) becomeInitialize(now time.Time) {
	r.timer, r.armed = time.Time{}, time.Time{}
	r.started = false
	r.resume = nil
	r.group.ready = ""
	if r.serving {
		r.drop()
	}
	r.become(now, Initialize, "stopped")
}

// startup is RFC 9568 section 6.4.1, with the resume of a former process.
func (r *Router) startup(now time.Time, ev Startup) {
	if r.state == Leaving && r.leave.to == Initialize {
		// Added again before it was gone. The addresses are given away as
		// promised, but the end is Backup.
		r.started, r.leave.to = true, Backup
		r.learned = r.cfg.Interval
		r.armDown(now, r.downInterval())
		return
	}
	if r.started || r.state != Initialize {
		return
	}
	r.started = true
	r.resume = ev.Resume
	if ev.HoldOff > 0 {
		r.holdOff = now.Add(ev.HoldOff)
	}
	if problem := r.obstacle(); problem != "" {
		r.becomeFault(now, problem)
		return
	}
	r.begin(now)
}

// begin takes up the protocol on an interface that can be used.
func (r *Router) begin(now time.Time) {
	r.learned = r.cfg.Interval
	r.active, r.released, r.graced, r.pathDown, r.rival = heard{}, false, false, time.Time{}, heard{}
	r.preemptAt = time.Time{}
	resume := r.resume
	r.resume = nil
	if r.cfg.Priority == priorityOwner {
		r.becomeActive(now, true, "owner of the addresses")
		return
	}
	if resume == nil || !resume.Active {
		r.armDown(now, r.downInterval())
		r.becomeBackup(now, false, "listening, no advertisement heard yet")
		return
	}
	interval := resume.Interval
	if interval == 0 {
		interval = r.cfg.Interval
	}
	if resume.Age < 3*interval {
		// Nobody's Active_Down_Timer has run out, as 3A < D (V3-TMR-07).
		r.becomeActive(now, false, fmt.Sprintf("resumed, last advertised %s ago", round(resume.Age)))
		return
	}
	r.armDown(now, r.cfg.Interval)
	r.becomeBackup(now, true, fmt.Sprintf("last advertised %s ago, listening for %s before resuming", round(resume.Age), r.cfg.Interval))
}

// shutdown gives the addresses away.
func (r *Router) shutdown(now time.Time) {
	r.started = false
	switch r.state {
	case Active:
		r.release(now, leave{to: Initialize}, "")
	case Leaving:
		// The winner's advertisement was heard, or it was told; only the end
		// changes.
		r.leave.to, r.leave.released = Initialize, true
		r.timer, r.armed = time.Time{}, time.Time{}
	case Backup, Fault:
		r.becomeInitialize(now)
	}
}

// tick runs what is due.
func (r *Router) tick(now time.Time) {
	if due(r.timer, now) {
		if r.state == Active {
			r.advertise(now)
		} else {
			r.downTimerFired(now)
		}
	}
	if r.state == Leaving && due(r.leave.until, now) {
		r.finishLeaving(now)
	}
	if due(r.holdUntil, now) {
		r.holdUntil = time.Time{}
		r.reassess(now)
	}
	if due(r.yield.until, now) {
		r.endYield(now)
	}
	r.endAlarms(now, false)
	if r.state == Active {
		r.runAnnouncements(now)
	}
	r.restore(now)
}

// advertise is V3-ACT-07.
func (r *Router) advertise(now time.Time) {
	if late := now.Sub(r.timer); late > lateAfter(r.cfg.Interval) {
		r.noteStall(now, late)
	}
	r.send(r.Priority())
	// The beat does not drift by the time a wake-up takes, but beats that were
	// missed are not made up for.
	if next := r.timer.Add(r.cfg.Interval); next.After(now) {
		r.timer = next
	} else {
		r.timer = now.Add(r.cfg.Interval)
	}
	r.armed = now
	if r.stalled {
		// Hosts may have been drawn to a stand-in meanwhile (ARP-10).
		r.stalled = false
		r.reannounce(now)
	}
}

// downTimerFired is V3-BCK-06.
func (r *Router) downTimerFired(now time.Time) {
	if late := now.Sub(r.timer); late > lateAfter(r.learned) && !r.graced {
		// The machine itself may have slept, so that nothing could be queued
		// for us to drain (SIM-PAUSE-07).
		r.graced = true
		r.counters.Stalls++
		r.notice(now, NoticeStall, "ran %s late, listening for another %s", round(late), r.learned)
		r.timer = now.Add(r.learned)
		return
	}
	if now.Before(r.holdOff) && !r.serving {
		r.timer = r.holdOff
		r.reason = "no advertisement heard, holding off until " + r.holdOff.Format(clock)
		return
	}
	silence := round(now.Sub(r.armed))
	handover, reason := true, ""
	switch {
	case r.released:
		reason = fmt.Sprintf("%s released the addresses", r.name(r.active.source))
	case !r.pathDown.IsZero():
		reason = fmt.Sprintf("the path to %s is down, no advertisement for %s", r.name(r.active.source), silence)
	case r.rival.source.IsValid() && now.Sub(r.rival.at) < r.downInterval():
		reason = fmt.Sprintf("priority %d is higher than the %d of %s", r.Priority(), r.rival.priority, r.name(r.rival.source))
	case r.state == Backup && r.serving:
		handover, reason = false, fmt.Sprintf("resumed, no advertisement for %s", silence)
	default:
		handover, reason = r.state == Leaving, fmt.Sprintf("no advertisement for %s", silence)
	}
	if r.group.name == "" {
		r.becomeActive(now, handover, reason)
		return
	}
	// The group promotes when all are ready. Until then the timer comes again.
	if r.group.ready == "" {
		r.group.ready, r.group.handover = reason, handover
	}
	r.timer = now.Add(r.learned)
	r.reason = fmt.Sprintf("%s; waiting for the rest of sync group %s", r.group.ready, r.group.name)
}

// noteStall is a process that did not run for a while.
func (r *Router) noteStall(now time.Time, d time.Duration) {
	if r.state == Initialize {
		return
	}
	r.counters.Stalls++
	if r.state == Fault {
		return
	}
	if !r.raise(now, NoticeStall, now.Add(stallShown), "did not run for %s", round(d)) {
		r.notice(now, NoticeStall, "did not run for %s", round(d))
	}
	if r.state == Active {
		r.stalled = true
	}
}

// linkChange follows the interface.
func (r *Router) linkChange(now time.Time, link LinkChange) {
	r.link = link
	r.reassess(now)
}

// installFailed leaves Active when not one address can be had (SIM-SAFE-02):
// an Active without addresses is worse than none, as it keeps others from
// serving. Trying again takes longer each time, because each try takes the
// addresses from somebody who can.
func (r *Router) installFailed(now time.Time, err error) {
	if r.state != Active {
		return
	}
	r.send(0)
	if now.Sub(r.since) > holdDownMax {
		// It worked for a good while, so this is another failure.
		r.holdDown = 0
	}
	r.holdDown = min(max(2*r.holdDown, holdDownMin), holdDownMax)
	r.becomeFault(now, fmt.Sprintf("%v (next try in %s)", err, r.holdDown))
	r.holdUntil = now.Add(r.holdDown)
}

// round makes a duration readable.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
