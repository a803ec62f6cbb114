package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// leave is how a router leaves: make before break. It goes on serving until the
// next Active has announced the addresses, which a client does not notice.
type leave struct {
	// to is the state at the end: Initialize, Backup or Fault.
	to State
	// released says that priority 0 was sent: whoever speaks now has taken over.
	released bool
	// yielding says that the addresses come back unless somebody takes them.
	yielding bool
	// until is when it ends at the latest.
	until time.Time
	// spoken says that the next Active has advertised.
	spoken bool
	// awaited are the addresses that nobody else has announced yet where we listen, and
	// least is when those are there that are announced elsewhere.
	awaited map[netip.Addr]bool
	least   time.Time
}

// await has a router wait for the announcements of its addresses. The first of a list is no
// sign that hosts know of the rest.
func (r *Router) await() {
	r.leave.awaited = make(map[netip.Addr]bool, len(r.all))
	for _, a := range r.all {
		if a.Interface == r.cfg.Interface && familyOf(a.Prefix.Addr()) == r.key.Family {
			r.leave.awaited[a.Prefix.Addr()] = true
		}
	}
}

// takes is what the next Active needs beyond grace to install so many addresses.
func takes(addresses int) time.Duration {
	return min(max(0, time.Duration(addresses)*takesEach-grace), takesMost)
}

// spoke gives the next Active, which has advertised, the time that it needs.
func (r *Router) spoke(at time.Time) {
	r.leave.spoken = true
	r.leave.until = at.Add(grace + takes(len(r.all)))
	r.leave.least = at.Add(takes(len(r.all) - len(r.leave.awaited)))
}

// releasedTo hears an advertisement while leaving after a Shutdown: somebody
// took over, whatever the priority, and needs a moment to install.
func (r *Router) releasedTo(ev *Received) {
	if ev.Advertisement.Priority == 0 {
		return
	}
	if r.leave.to == Backup {
		// Of several that speak, the last one stays.
		r.accept(ev)
	}
	if r.leave.spoken {
		return
	}
	r.spoke(ev.At)
	r.active = heard{ev.Source, ev.Advertisement.Priority, ev.At, 1}
	r.reason = fmt.Sprintf("%s advertises %d, serving until it announces", r.name(ev.Source), ev.Advertisement.Priority)
}

// finishLeaving removes the addresses.
func (r *Router) finishLeaving(now time.Time) {
	switch problem := r.obstacle(); {
	case r.leave.to == Initialize:
		r.becomeInitialize(now)
		return
	case problem != "":
		r.becomeFault(now, problem)
		return
	case r.leave.yielding && !r.leave.spoken && r.group.name != "" && r.group.ready == "":
		// The others of the group take theirs back too, or nobody does.
		r.group.ready, r.group.handover = "nobody else took the addresses", false
		r.leave.until = now.Add(r.cfg.Interval)
		return
	case r.leave.yielding && !r.leave.spoken && r.group.name == "":
		r.yield = yield{}
		r.becomeActive(now, false, "nobody else took the addresses")
		r.notice(now, NoticeYield, "nobody else took the addresses, so they stay here")
		return
	case r.timer.IsZero():
		r.armDown(now, r.downInterval())
	}
	if !r.active.source.IsValid() {
		r.becomeBackup(now, false, "listening, no advertisement heard yet")
		return
	}
	// The reason is who advertises.
	r.becomeBackup(now, false, "")
}

// announced hears somebody else announce one of our addresses.
func (r *Router) announced(now time.Time, ev Announced) {
	switch r.state {
	case Leaving:
		delete(r.leave.awaited, ev.Address)
		switch {
		case len(r.leave.awaited) > 0:
		case r.leave.yielding && !r.leave.spoken:
			// Its advertisement was lost, or it is no director. To end here would be to
			// take the addresses back.
		case now.Before(r.leave.least):
			r.leave.until = r.leave.least
		default:
			r.finishLeaving(now)
		}
	case Active:
		if !slices.ContainsFunc(r.all, func(a Address) bool { return a.Prefix.Addr() == ev.Address }) {
			return
		}
		if r.handover && now.Sub(r.since) < lastWords {
			// The one before has sent it before it knew of us, and hosts are told again
			// in any case.
			return
		}
		r.counters.Conflicts++
		if r.defendedAt.IsZero() || now.Sub(r.defendedAt) >= defendEvery {
			r.defendedAt = now
			r.raise(now, NoticeConflict, now.Add(conflictShown), "%s announces %s, which is ours", mac(ev.MAC), ev.Address)
			r.defend(ev.Address)
		}
	}
}

// defend announces one address once (RFC 5227 section 2.4 c).
func (r *Router) defend(addr netip.Addr) {
	for i := range r.all {
		if r.all[i].Prefix.Addr() == addr {
			r.announce(r.all[i:i+1:i+1], 1)
		}
	}
}

// addressLost puts an address back that somebody removed, but not in a race.
func (r *Router) addressLost(now time.Time, lost Address) {
	if _, known := r.lost[lost]; known || !r.serving || !slices.Contains(r.all, lost) {
		return
	}
	r.lost[lost] = now
	if at, ok := r.restored[lost]; ok && now.Sub(at) < restoreEvery {
		r.lost[lost] = at.Add(restoreEvery)
	}
	r.restore(now)
}

// restore installs and announces what was lost and is due.
func (r *Router) restore(now time.Time) {
	var back []Address
	for _, a := range r.all {
		if due(r.lost[a], now) {
			delete(r.lost, a)
			r.restored[a] = now
			back = append(back, a)
		}
	}
	if len(back) == 0 {
		return
	}
	r.counters.AddressesRestored += uint64(len(back))
	r.emit(Install{Addresses: back})
	if r.state == Active {
		r.announce(back, r.rounds())
	}
	r.notice(now, NoticeRestored, "%s was removed by somebody, put back", join(back))
	if now.Sub(r.contested.at) > contestedShown {
		r.contested = contest{at: now}
	}
	if r.contested.times++; r.contested.times >= contestedAfter {
		r.raise(now, NoticeContested, now.Add(contestedShown), "%s was removed %d times since %s and put back each time: a network manager or a person thinks that it does not belong here",
			join(back), r.contested.times, r.contested.at.Format(clock))
	}
}
