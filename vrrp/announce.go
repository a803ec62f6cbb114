package vrrp

import (
	"cmp"
	"slices"
	"time"
)

// announcement is a burst of gratuitous ARP or neighbour advertisements to come.
type announcement struct {
	at     time.Time
	rounds int
}

// The pattern of announcements. keepalived has five rounds at once and five
// after five seconds. The single rounds in between are for a takeover from a
// router that still answered ARP for a while: hosts that heard it last are put
// right within a second. Neighbour advertisements go at the same pace: what RFC
// 9131 section 6.1.2 allows, three a second apart, is for routers that learn of a
// new address, not for hosts that send into the void until they hear of the move.
const (
	announceRounds = 5
	announceAgain  = 5 * time.Second
	// refreshEvery repeats one round as long as the router is Active (ARP-08).
	// When a split heals and the loser is the first to hear of the other, it
	// leaves without a word (V3-ACT-09): the winner never learns that hosts on
	// the other side believe in the loser.
	refreshEvery = 10 * time.Second
)

// rounds is how many rounds a burst has.
func (r *Router) rounds() int { return cmp.Or(r.cfg.Announce.Count, announceRounds) }

// again schedules the second burst.
func (r *Router) again(now time.Time) {
	if after := cmp.Or(r.cfg.Announce.Again, announceAgain); after > 0 {
		r.schedule(announcement{now.Add(after), r.rounds()})
	} else {
		r.refresh(now)
	}
}

// refresh schedules the round that keeps hosts right.
func (r *Router) refresh(now time.Time) {
	if after := cmp.Or(r.cfg.Announce.Refresh, refreshEvery); after > 0 {
		r.schedule(announcement{now.Add(after), 1})
	}
}

// handoverAfter is when the single rounds are due.
func handoverAfter() [3]time.Duration {
	return [3]time.Duration{20 * time.Millisecond, 100 * time.Millisecond, time.Second}
}

// announceAll announces every address now and as often as the pattern says.
func (r *Router) announceAll(now time.Time, handover bool) {
	r.announcements = r.announcements[:0]
	r.announce(r.all, r.rounds())
	if handover {
		for _, after := range handoverAfter() {
			r.announcements = append(r.announcements, announcement{now.Add(after), 1})
		}
	}
	r.again(now)
}

// announce adds one burst to the step.
func (r *Router) announce(addresses []Address, rounds int) {
	r.counters.Announcements += uint64(rounds)
	r.emit(Announce{Addresses: addresses, Rounds: rounds})
}

// runAnnouncements sends the bursts that are due, several late ones as one.
func (r *Router) runAnnouncements(now time.Time) {
	rounds, n := 0, 0
	for _, a := range r.announcements {
		if a.at.After(now) {
			break
		}
		rounds, n = max(rounds, a.rounds), n+1
	}
	if n > 0 {
		r.announcements = slices.Delete(r.announcements, 0, n)
		r.announce(r.all, rounds)
		if len(r.announcements) == 0 {
			r.refresh(now)
		}
	}
}

// reannounce answers a losing advertisement: the loser has just drawn the hosts
// to itself although we never left Active (ARP-09). The last round must come
// after the loser's last one, so within the throttle it moves back.
func (r *Router) reannounce(now time.Time) {
	series := handoverAfter()
	last := series[len(series)-1]
	if r.reannounced.IsZero() || now.Sub(r.reannounced) >= last {
		r.reannounced = now
		r.announce(r.all, 1)
		for _, after := range series {
			r.schedule(announcement{now.Add(after), 1})
		}
		return
	}
	for i := range r.announcements {
		if r.announcements[i].rounds == 1 && !r.announcements[i].at.Before(r.reannounced.Add(last)) {
			r.announcements[i].at = now.Add(last)
			slices.SortFunc(r.announcements, func(a, b announcement) int { return a.at.Compare(b.at) })
			return
		}
	}
	r.schedule(announcement{now.Add(last), 1})
}

// schedule adds one burst in its place.
func (r *Router) schedule(a announcement) {
	i, _ := slices.BinarySearchFunc(r.announcements, a.at, func(x announcement, at time.Time) int { return x.at.Compare(at) })
	r.announcements = slices.Insert(r.announcements, i, a)
}
