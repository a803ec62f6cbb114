package vrrp

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// telling is an announcement on its way.
type telling struct {
	key       Key
	addresses []Address
	// fresh says that hosts have not been told of an address since it was installed.
	fresh bool
	// round is the one that is sent now, of rounds, and next the address in it.
	round, rounds, next int
}

// rank is how urgent it is: what hosts do not know yet comes before what they are
// told again, and the first rounds of all before the second ones.
func (t *telling) rank() int {
	if t.fresh {
		return 0
	}
	return 1 + t.round
}

// advance goes on behind an address.
func (t *telling) advance(next int) {
	t.next = next
	if t.next == len(t.addresses) {
		t.next, t.fresh = 0, false
		t.round++
	}
}

// renew adds the rounds of another announcement of the same. They count from
// here, so that what is asked for faster than it can be sent does not pile up.
func (t *telling) renew(rounds int) {
	if t.next > 0 {
		rounds++
	}
	t.round, t.rounds = 0, max(t.rounds-t.round, rounds)
}

// ask begins an announcement.
func (w *worker) ask(j job) {
	for _, t := range w.tellings {
		if t.key == j.key && slices.Equal(t.addresses, j.addresses) {
			t.fresh = t.fresh || w.fresh(j)
			t.renew(j.rounds)
			return
		}
	}
	w.tellings = append(w.tellings, &telling{key: j.key, addresses: j.addresses, rounds: j.rounds, fresh: w.fresh(j)})
}

// fresh says whether a job announces something that was not announced since it
// was installed.
func (w *worker) fresh(j job) bool {
	return slices.ContainsFunc(j.addresses, func(a Address) bool {
		e := w.entries[itemOf(a)]
		return e != nil && !e.announced
	})
}

// askOwed begins announcements that an error prevented.
func (w *worker) askOwed(now time.Time) {
	for it, e := range w.entries {
		if !e.announce || !e.installed || now.Before(e.retryAt) {
			continue
		}
		e.announce, e.retryAt = false, time.Time{}
		for _, key := range slices.SortedFunc(maps.Keys(e.owners), compareKeys) {
			w.ask(job{key: key, addresses: []Address{{Prefix: it.prefix}}, rounds: 1})
		}
	}
}

// hush ends a router's announcements.
func (w *worker) hush(key Key) {
	w.tellings = slices.DeleteFunc(w.tellings, func(t *telling) bool { return t.key == key })
}

// tell sends announcements until all are sent, or the pace bids it wait until the
// time returned.
func (w *worker) tell() (again time.Time) {
	for {
		pace := w.pace()
		t := w.mostUrgent()
		if t == nil {
			if pace != nil {
				pace.leave(w.iface)
			}
			return time.Time{}
		}
		if w.cancelled(t.key) {
			w.hush(t.key)
			continue
		}
		list, next := w.portion(t, pace != nil)
		if len(list) > 0 {
			now := time.Now()
			if pace != nil {
				if ok, at := pace.turn(now, w.iface, t.rank(), packetsOf(list)); !ok {
					return at
				}
			}
			if !w.sent(now, t, t.addresses[t.next:next], w.links.Announce(w.iface, list)) {
				continue
			}
		}
		if t.advance(next); t.round == t.rounds {
			w.finish(t)
		}
	}
}

// mostUrgent is the announcement whose turn it is.
func (w *worker) mostUrgent() (first *telling) {
	for _, t := range w.tellings {
		if first == nil || t.rank() < first.rank() {
			first = t
		}
	}
	return first
}

// portion is what of an announcement goes next, one address or all that are left
// of the round, and where it ends. What is not installed is owed.
func (w *worker) portion(t *telling, one bool) (list []netip.Addr, next int) {
	for next = t.next; next < len(t.addresses) && !(one && len(list) > 0); next++ {
		e := w.mine(t.addresses[next], t.key)
		switch {
		case e == nil:
		case e.installed:
			list = append(list, t.addresses[next].Prefix.Addr())
		default:
			e.announce = true
		}
	}
	return list, next
}

// mine is the entry of an address that a router wants, nil if it does not.
func (w *worker) mine(a Address, key Key) *entry {
	e := w.entries[itemOf(a)]
	if e == nil {
		return nil
	}
	if _, ours := e.owners[key]; !ours {
		return nil
	}
	return e
}

// sent notes how announcing some addresses went. An error ends the announcement,
// and all of it is owed.
func (w *worker) sent(now time.Time, t *telling, portion []Address, err error) bool {
	if err != nil {
		w.finish(t)
		portion = t.addresses
	}
	for _, a := range portion {
		e := w.mine(a, t.key)
		if e == nil || !e.installed {
			continue
		}
		if e.announce = err != nil; err == nil {
			e.announced = true
		}
		if err != nil || e.err != nil {
			w.outcome(now, itemOf(a), e, err)
			w.retry = earliest(w.retry, e.retryAt)
		}
	}
	return err == nil
}

// finish ends one announcement.
func (w *worker) finish(t *telling) {
	w.tellings = slices.DeleteFunc(w.tellings, func(o *telling) bool { return o == t })
}

// pace is the pacer of now.
func (w *worker) pace() *pacer {
	w.mu.Lock()
	pace := w.pacer
	w.mu.Unlock()
	if w.paced != nil && w.paced != pace {
		w.paced.leave(w.iface)
	}
	w.paced = pace
	return pace
}

// setPacer changes with whom the worker shares its pace; nil is nobody. Only the
// loop calls it.
func (w *worker) setPacer(p *pacer) {
	w.mu.Lock()
	changed := w.pacer != p
	w.pacer = p
	w.mu.Unlock()
	if changed {
		w.rouse()
	}
}

// cancelled says whether the router has meanwhile left Active.
func (w *worker) cancelled(key Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return silenced(w.queue, key)
}

// silenced says whether later jobs forbid an announcement: none may leave the
// box after Active was left (ARP-11).
func silenced(later []job, key Key) bool {
	return slices.ContainsFunc(later, func(j job) bool { return j.kind == jobSilence && j.key == key })
}
