package vrrp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Retries of operations on addresses start quickly, because an outage waits for
// them, and slow down, because most errors stay.
const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	// removeTries is how often an end waits for a removal to work.
	removeTries = 5
)

// jobKind is what a worker is asked for.
type jobKind uint8

const (
	_ jobKind = iota
	jobInstall
	jobRemove
	jobAnnounce
	// jobSilence cancels announcements that were asked for before it.
	jobSilence
	// jobVerify looks whether an address is still there.
	jobVerify
	// jobRetry tries again at once what failed: the interface has changed.
	jobRetry
)

// job is one thing asked of a worker, for one virtual router.
type job struct {
	kind     jobKind
	key      Key
	prefixes []netip.Prefix
	rounds   int
}

// report is what a worker found out, for the loop.
type report struct {
	iface  string
	prefix netip.Prefix
	// owners are the virtual routers that want the address.
	owners []Key
	// err is why it cannot be installed, removed or announced; nil says that
	// it is well again.
	err error
	// installed says that the address is there nevertheless.
	installed bool
	// lost says that somebody removed it.
	lost bool
}

// worker does the slow work on one interface: addresses and announcements. It
// works towards a set, so that jobs that cancel each other leave no trace, and
// an address that moves from one virtual router to another is not touched.
type worker struct {
	iface  string
	links  Links
	report func(report)
	// staged belongs to the loop: jobs that flush hands over together.
	staged []job

	// mu guards what follows, which the loop and the worker share.
	mu    sync.Mutex
	queue []job
	// idle says that nothing is queued and nothing is left to remove, except for
	// what stuck says.
	idle bool
	// stuck is why addresses cannot be removed, which is still tried.
	stuck error
	wake  chan struct{}

	// entries belong to the worker's goroutine.
	entries map[netip.Prefix]*entry
}

// entry is what a worker knows about one address.
type entry struct {
	owners    map[Key]bool
	installed bool
	// removed says that the kernel was told to remove it.
	removed bool
	// announce says that an announcement is owed since an error.
	announce bool
	failures int
	retryAt  time.Time
	err      error
}

func newWorker(iface string, links Links, rep func(report)) *worker {
	return &worker{
		iface: iface, links: links, report: rep, idle: true,
		wake:    make(chan struct{}, 1),
		entries: make(map[netip.Prefix]*entry),
	}
}

// flush hands the staged jobs over. Only the loop calls it.
func (w *worker) flush() {
	if len(w.staged) == 0 {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, w.staged...)
	w.idle = false
	w.mu.Unlock()
	w.staged = w.staged[:0]
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// settled says that nothing is left to do that an end has to wait for, and why
// addresses are left all the same.
func (w *worker) settled() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle, w.stuck
}

// run works until ctx ends. What is queued then stays undone.
func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := w.pass(time.Now())
		wait := time.Hour
		if !next.IsZero() {
			wait = time.Until(next)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// pass does everything that is queued or due, and returns when to try again
// what failed.
func (w *worker) pass(now time.Time) (next time.Time) {
	w.mu.Lock()
	jobs := w.queue
	w.queue = nil
	w.mu.Unlock()

	for _, j := range jobs {
		w.want(j)
	}
	// In the order of addresses, add before remove.
	prefixes := slices.SortedFunc(maps.Keys(w.entries), func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	for _, p := range prefixes {
		if e := w.entries[p]; len(e.owners) > 0 && !e.installed && !now.Before(e.retryAt) {
			err := w.links.Add(w.iface, p)
			e.installed = err == nil
			w.outcome(now, p, e, err)
		}
	}
	for _, p := range prefixes {
		if e := w.entries[p]; len(e.owners) == 0 && !e.removed && !now.Before(e.retryAt) {
			err := w.links.Remove(w.iface, p)
			e.removed = err == nil
			w.outcome(now, p, e, err)
			if e.removed {
				delete(w.entries, p)
			}
		}
	}
	for i, j := range jobs {
		switch j.kind {
		case jobAnnounce:
			if !silenced(jobs[i:], j.key) {
				w.announce(now, j)
			}
		case jobVerify:
			w.verify(now, j)
		}
	}
	w.announceOwed(now)

	idle := true
	var stuck []error
	for _, e := range w.entries {
		next = earliest(next, e.retryAt)
		switch {
		case len(e.owners) > 0:
		case e.failures < removeTries:
			idle = false
		default:
			stuck = append(stuck, e.err)
		}
	}
	w.mu.Lock()
	was := w.idle
	w.idle, w.stuck = idle && len(w.queue) == 0, errors.Join(stuck...)
	changed := w.idle && !was
	w.mu.Unlock()
	if changed {
		w.report(report{iface: w.iface})
	}
	return next
}

// want applies a job to the set of what is wanted.
func (w *worker) want(j job) {
	if j.kind == jobRetry {
		for _, e := range w.entries {
			e.retryAt, e.failures = time.Time{}, 0
		}
		return
	}
	if j.kind == jobSilence {
		for _, e := range w.entries {
			if e.owners[j.key] {
				e.announce = false
			}
		}
		return
	}
	if j.kind != jobInstall && j.kind != jobRemove {
		return
	}
	for _, p := range j.prefixes {
		e := w.entries[p]
		if e == nil {
			e = &entry{owners: make(map[Key]bool)}
			w.entries[p] = e
		}
		had := len(e.owners) > 0
		if j.kind == jobInstall {
			// Asked for is asked for: the kernel is told even if we believe
			// that the address is there.
			e.owners[j.key], e.installed = true, false
		} else {
			delete(e.owners, j.key)
		}
		if has := len(e.owners) > 0; has != had || j.kind == jobInstall {
			e.removed, e.announce = false, false
			e.failures, e.retryAt = 0, time.Time{}
		}
	}
}

// outcome notes how an operation on an address went.
func (w *worker) outcome(now time.Time, p netip.Prefix, e *entry, err error) {
	if err == nil {
		e.failures, e.retryAt = 0, time.Time{}
	} else {
		e.failures++
		e.retryAt = now.Add(min(retryFirst<<min(e.failures-1, 10), retryMax))
	}
	if err != nil || e.err != nil {
		w.report(report{iface: w.iface, prefix: p, owners: slices.Collect(maps.Keys(e.owners)), err: err, installed: e.installed})
	}
	e.err = err
}

// announce sends the rounds of one job for what is installed.
func (w *worker) announce(now time.Time, j job) {
	var list []netip.Addr
	for _, p := range j.prefixes {
		switch e := w.entries[p]; {
		case e == nil || !e.owners[j.key]:
		case !e.installed:
			e.announce = true
		default:
			list = append(list, p.Addr())
		}
	}
	if len(list) == 0 {
		return
	}
	for range j.rounds {
		if w.cancelled(j.key) {
			return
		}
		if err := w.links.Announce(w.iface, list); err != nil {
			for _, p := range j.prefixes {
				if e := w.entries[p]; e != nil && e.installed {
					e.announce = true
					w.outcome(now, p, e, err)
				}
			}
			return
		}
	}
}

// announceOwed makes up for announcements that an error prevented.
func (w *worker) announceOwed(now time.Time) {
	for p, e := range w.entries {
		if !e.announce || !e.installed || now.Before(e.retryAt) {
			continue
		}
		err := w.links.Announce(w.iface, []netip.Addr{p.Addr()})
		e.announce = err != nil
		w.outcome(now, p, e, err)
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

// verify looks whether addresses are where they should be.
func (w *worker) verify(now time.Time, j job) {
	have, err := w.links.Addresses(w.iface)
	if err != nil {
		have = nil
	}
	for _, p := range j.prefixes {
		e := w.entries[p]
		if e == nil || !e.owners[j.key] || !e.installed || slices.Contains(have, p) {
			continue
		}
		if err != nil {
			e.installed = false
			w.outcome(now, p, e, fmt.Errorf("looking for %s on %s: %w", p, w.iface, err))
			continue
		}
		w.report(report{iface: w.iface, prefix: p, owners: []Key{j.key}, lost: true})
	}
}
