package vrrp

import (
	"fmt"
	"time"
)

// received is an advertisement that passed every test.
func (r *Router) received(now time.Time, ev *Received) {
	if r.state != Initialize && r.strange(now, ev) {
		return
	}
	switch r.state {
	case Active:
		r.hear(ev)
		r.receivedActive(now, ev)
	case Backup:
		r.hear(ev)
		r.receivedBackup(now, ev)
	case Leaving:
		r.hear(ev)
		if r.leave.released {
			r.releasedTo(ev)
		} else {
			r.receivedBackup(now, ev)
		}
	}
	// In Initialize and Fault it is ignored and does not count (V3-INI-05).
}

// receivedBackup is RFC 9568 section 6.4.2. Timers start when the kernel got
// the packet: a process that slept must not find a dead Active late (SIM-PAUSE-06).
func (r *Router) receivedBackup(now time.Time, ev *Received) {
	adv := &ev.Advertisement
	switch {
	case adv.Priority == 0:
		// V3-BCK-07. A second one, whoever sends it, must not postpone the
		// takeover (V3-BCK-13).
		if !r.released {
			r.released, r.holdOff = true, time.Time{}
			r.active.source = ev.Source
			r.graced = false
			r.armDown(ev.At, r.skew())
			if r.state == Backup {
				r.reason = ""
			}
		}
	case adv.Priority >= r.Priority() || r.leavesInPeace(ev):
		// V3-BCK-08. No comparison of addresses in Backup (V3-BCK-10).
		r.accept(ev)
		if r.state == Backup && r.serving {
			// A resumed router gives way, make before break.
			r.becomeLeaving(now, leave{to: Backup},
				fmt.Sprintf("%s advertises %d, serving until it announces", r.name(ev.Source), adv.Priority))
			r.spoke(ev.At)
		} else if r.state == Backup {
			r.reason = ""
		}
	default:
		// V3-BCK-09: the timer goes on, nothing is learned.
		r.rival = heard{ev.Source, adv.Priority, ev.At, r.rival.times + 1}
	}
}

// accept follows an Active: learn, then recompute, then arm (V3-BCK-08,
// V3-ACT-09). Version 2 has one interval for all (V2-FSM-01).
func (r *Router) accept(ev *Received) {
	r.learned = ev.Advertisement.Interval
	r.active = heard{ev.Source, ev.Advertisement.Priority, ev.At, 1}
	r.released, r.graced, r.rival = false, false, heard{}
	// Whoever is heard can be reached.
	r.group.ready, r.holdOff = "", time.Time{}
	if r.active.priority >= r.Priority() {
		r.preemptAt = time.Time{}
	}
	r.armDown(ev.At, r.downInterval())
	if !r.pathDown.IsZero() && ev.At.Before(r.pathDown) {
		// It came before the news of the path, and was read after.
		r.timer = earliest(r.timer, r.pathDown.Add(r.skew()))
		return
	}
	r.pathDown = time.Time{}
}

// receivedActive is RFC 9568 section 6.4.3.
func (r *Router) receivedActive(now time.Time, ev *Received) {
	adv := &ev.Advertisement
	order := ev.Source.Compare(r.link.Source)
	switch {
	case adv.Priority == 0:
		// V3-ACT-08.
		if r.reply(now) {
			r.timer, r.armed = now.Add(r.cfg.Interval), now
		}
	case adv.Priority > r.Priority() || (adv.Priority == r.Priority() && order > 0):
		// V3-ACT-09, V3-ACT-10. Nothing is sent.
		reason := fmt.Sprintf("%s advertises %d, serving until it announces", r.name(ev.Source), adv.Priority)
		r.accept(ev)
		r.becomeLeaving(now, leave{to: Backup}, reason)
		r.spoke(ev.At)
	case adv.Priority == r.Priority() && order == 0:
		// V3-ACT-12: an answer would be answered for ever.
		r.raise(now, NoticeTwin, r.rivalSilent(ev), "%s advertises our own priority %d from our own address", ev.Source, adv.Priority)
		r.rival = heard{ev.Source, adv.Priority, ev.At, 0}
	default:
		// V3-ACT-11, and in version 2 as keepalived does (V2-FSM-02). Adver_Timer
		// goes on: the rival may lose the answer, and must not wait longer for it.
		r.rivalHeard(now, ev)
		r.reply(now)
		r.reannounce(now)
	}
}

// rivalSilent is when a sender that has just been heard counts as silent.
func (r *Router) rivalSilent(ev *Received) time.Time {
	return ev.At.Add(4 * max(ev.Advertisement.Interval, r.cfg.Interval))
}

// rivalHeard tells operators once per rival, and once more when it goes on.
func (r *Router) rivalHeard(now time.Time, ev *Received) {
	adv := &ev.Advertisement
	times := 1
	if r.rival.source == ev.Source && ev.At.Sub(r.rival.at) < 4*max(adv.Interval, r.cfg.Interval) {
		times = r.rival.times + 1
	}
	r.rival = heard{ev.Source, adv.Priority, ev.At, times}
	r.raise(now, NoticeRival, r.rivalSilent(ev), "%s is active too, with priority %d against our %d", r.name(ev.Source), adv.Priority, r.Priority())
	if times >= deafAfter {
		r.raise(now, NoticeDeaf, r.rivalSilent(ev), "%s goes on advertising priority %d: it does not hear us", r.name(ev.Source), adv.Priority)
	}
}

// reply sends an advertisement out of turn, if the bucket has one.
func (r *Router) reply(now time.Time) (sent bool) {
	if !r.replies.take(now, r.cfg.Interval/4, replyBurst) {
		r.counters.RepliesSuppressed++
		return false
	}
	r.send(r.Priority())
	return true
}
