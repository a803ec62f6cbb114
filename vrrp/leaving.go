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
	// stop says that the end is Initialize, not Backup.
	stop bool
	// until is when it ends at the latest.
	until time.Time
	// spoken says that the next Active has advertised.
	spoken bool
	// announced are the addresses that somebody else has announced.
	announced []netip.Addr
}

// releasedTo hears an advertisement while leaving after a Shutdown: somebody
// took over, whatever the priority, and needs a moment to install.
func (r *Router) releasedTo(ev *Received) {
	if ev.Advertisement.Priority == 0 || r.leave.spoken {
		return
	}
	r.leave.spoken = true
	r.leave.until = ev.At.Add(grace)
	r.active = heard{ev.Source, ev.Advertisement.Priority, ev.At, 1}
	r.reason = fmt.Sprintf("%s advertises %d, serving until it announces", r.name(ev.Source), ev.Advertisement.Priority)
}

// finishLeaving removes the addresses.
func (r *Router) finishLeaving(now time.Time) {
	if r.leave.stop {
		r.becomeInitialize(now)
		return
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
	if !slices.ContainsFunc(r.cfg.Addresses, func(a Address) bool { return a.Prefix.Addr() == ev.Address }) {
		return
	}
	switch r.state {
	case Leaving:
		if !slices.Contains(r.leave.announced, ev.Address) {
			r.leave.announced = append(r.leave.announced, ev.Address)
		}
		if r.allAnnounced() {
			r.finishLeaving(now)
		}
	case Active:
		r.counters.Conflicts++
		if r.defendedAt.IsZero() || now.Sub(r.defendedAt) >= defendEvery {
			r.defendedAt = now
			r.notice(now, NoticeConflict, "%s announces %s, which is ours", mac(ev.MAC), ev.Address)
			r.defend(ev.Address)
		}
	}
}

// allAnnounced says whether hosts were told of every address that is announced
// where we listen. The first of a list is no sign that they know of the rest.
func (r *Router) allAnnounced() bool {
	return !slices.ContainsFunc(r.cfg.Addresses, func(a Address) bool {
		return a.Interface == r.cfg.Interface && !slices.Contains(r.leave.announced, a.Prefix.Addr())
	})
}

// defend announces one address once (RFC 5227 section 2.4 c).
func (r *Router) defend(addr netip.Addr) {
	for i := range r.cfg.Addresses {
		if r.cfg.Addresses[i].Prefix.Addr() == addr {
			r.announce(r.cfg.Addresses[i:i+1:i+1], 1)
		}
	}
}

// addressLost puts an address back that somebody removed, but not in a race.
func (r *Router) addressLost(now time.Time, lost Address) {
	if _, known := r.lost[lost]; known || !r.serving || !slices.Contains(r.cfg.Addresses, lost) {
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
	for _, a := range r.cfg.Addresses {
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
		r.announce(back, announceRounds)
	}
	r.notice(now, NoticeRestored, "%s was removed by somebody, put back", join(back))
}
