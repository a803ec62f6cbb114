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
	// retryPath is the first retry of a route: it may need an address that the
	// worker of another interface is just about to install.
	retryPath = 5 * time.Millisecond
	// removeTries is how often an end waits for a removal to work.
	removeTries = 5
)

// jobKind is what a worker is asked for.
type jobKind uint8

const (
	_ jobKind = iota
	jobInstall
	jobRemove
	// jobDisown leaves addresses where they are.
	jobDisown
	jobAnnounce
	// jobSilence cancels announcements that were asked for before it.
	jobSilence
	// jobVerify looks whether addresses are still there, and jobVerifyPaths
	// whether the router's routes and rules are.
	jobVerify
	jobVerifyPaths
	// jobRetry tries again at once what failed: the interface has changed.
	jobRetry
)

// job is one thing asked of a worker, for one virtual router.
type job struct {
	kind      jobKind
	key       Key
	addresses []Address
	routes    []Route
	rules     []Rule
	// virtual is the interface to be made for the addresses, if it has a name.
	virtual Virtual
	// refuse says that packets to the addresses are refused.
	refuse bool
	rounds int
}

// report is what a worker found out, for the loop.
type report struct {
	iface string
	item  item
	// owners are the virtual routers that want the item.
	owners []Key
	// err is why it cannot be installed, removed or announced; nil says that
	// it is well again.
	err error
	// installed says that the item is there nevertheless.
	installed bool
	// lost says that somebody removed the address.
	lost bool
	// restored says that somebody removed the route or rule, and that it is put
	// back.
	restored bool
}

// worker does the slow work on one interface: addresses, announcements, and the
// routes and rules of its virtual routers. It works towards a set, so that jobs
// that cancel each other leave no trace, and an address that moves from one
// virtual router to another is not touched.
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
	// stuck is why something cannot be removed, which is still tried.
	stuck error
	// pacer says when announcements may be sent; nil is at once.
	pacer *pacer
	wake  chan struct{}

	// What follows belongs to the worker's goroutine.
	entries map[item]*entry
	// carriers are those of them that are interfaces, which the addresses are on.
	carriers map[item]*entry
	// tellings are announcements that are not sent yet, and paced is the pacer
	// that was asked last.
	tellings []*telling
	paced    *pacer
	// retry is when something that failed is tried again.
	retry time.Time
}

func newWorker(iface string, links Links, rep func(report)) *worker {
	return &worker{
		iface: iface, links: links, report: rep, idle: true,
		wake:    make(chan struct{}, 1),
		entries: make(map[item]*entry), carriers: make(map[item]*entry),
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
	w.rouse()
}

// rouse has the worker look.
func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// settled says that nothing is left to do that an end has to wait for, and why
// something is left all the same.
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

// pass does everything that is queued or due, and returns when to look again at
// what failed or has to wait.
func (w *worker) pass(now time.Time) (next time.Time) {
	w.mu.Lock()
	jobs := w.queue
	w.queue = nil
	w.mu.Unlock()
	if len(jobs) == 0 && !due(w.retry, now) {
		// Only announcements wait.
		again := w.tell()
		return earliest(w.retry, again)
	}

	for _, j := range jobs {
		w.want(j)
	}
	// What others need goes first: the interface before its addresses, those
	// before the routes. Add before remove, and what needs others goes first then.
	for _, it := range w.pending(func(e *entry) bool { return len(e.owners) > 0 && !e.installed && !now.Before(e.retryAt) }) {
		w.install(now, it, w.entries[it])
	}
	for _, it := range slices.Backward(w.pending(func(e *entry) bool { return len(e.owners) == 0 && !e.removed && !now.Before(e.retryAt) })) {
		e := w.entries[it]
		err := w.take(it, e)
		e.removed = err == nil
		w.outcome(now, it, e, err)
		if e.removed {
			delete(w.entries, it)
			delete(w.carriers, it)
		}
	}
	for i, j := range jobs {
		if j.kind == jobAnnounce && !silenced(jobs[i:], j.key) {
			w.ask(j)
		}
	}
	w.look(now, jobs)
	w.askOwed(now)
	again := w.tell()

	idle := true
	var stuck []error
	w.retry = time.Time{}
	for _, e := range w.entries {
		w.retry = earliest(w.retry, e.retryAt)
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
	return earliest(w.retry, again)
}

// pending are the items with an entry that has something to be done, in the order in
// which they are put in place.
func (w *worker) pending(is func(*entry) bool) (items []item) {
	for it, e := range w.entries {
		if is(e) {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, compareItems)
	return items
}

// want applies a job to the set of what is wanted.
func (w *worker) want(j job) {
	switch j.kind {
	case jobRetry:
		for _, e := range w.entries {
			e.retryAt, e.failures = time.Time{}, 0
		}
	case jobSilence:
		w.hush(j.key)
		for _, e := range w.entries {
			if _, ours := e.owners[j.key]; ours {
				e.announce = false
			}
		}
	case jobInstall:
		if j.virtual.Name != "" {
			w.add(item{virtual: j.virtual}, j.key, claim{})
		}
		for _, a := range j.addresses {
			w.add(itemOf(a), j.key, claimOf(a, j.refuse))
		}
		for _, it := range pathItems(j.routes, j.rules) {
			w.add(it, j.key, claim{})
		}
	case jobDisown:
		for _, a := range j.addresses {
			w.disown(itemOf(a), j.key)
		}
	case jobRemove:
		for _, a := range j.addresses {
			w.drop(itemOf(a), j.key, j.refuse)
		}
		for _, it := range pathItems(j.routes, j.rules) {
			w.drop(it, j.key, false)
		}
		if j.virtual.Name != "" && !w.carries(j.key) {
			w.drop(item{virtual: j.virtual}, j.key, false)
		}
	}
}

// carries says whether the virtual router has an address here.
func (w *worker) carries(key Key) bool {
	for it, e := range w.entries {
		if _, ours := e.owners[key]; ours && it.prefix.IsValid() {
			return true
		}
	}
	return false
}

// entry is the entry of an item, made if it is new.
func (w *worker) entry(it item) *entry {
	e := w.entries[it]
	if e == nil {
		e = &entry{owners: make(map[Key]claim)}
		w.entries[it] = e
		if it.virtual.Name != "" {
			w.carriers[it] = e
		}
	}
	return e
}

// add notes that a virtual router wants an item. Asked for is asked for: the
// kernel is told even if we believe that it is there.
func (w *worker) add(it item, key Key, c claim) {
	e := w.entry(it)
	e.owners[key], e.installed = c, false
	e.again()
}

// drop notes that a virtual router does not want an item any more.
func (w *worker) drop(it item, key Key, refuse bool) {
	e := w.entry(it)
	// Whatever the last process did, the refusal must not stay.
	e.refused = e.refused || refuse
	had := len(e.owners) > 0
	delete(e.owners, key)
	if had && len(e.owners) == 0 {
		e.again()
	}
}

// disown notes that a virtual router does not care for an address any more that is to
// stay, unless another one has it.
func (w *worker) disown(it item, key Key) {
	e := w.entries[it]
	if e == nil {
		return
	}
	delete(e.owners, key)
	if len(e.owners) == 0 {
		delete(w.entries, it)
	}
}

// install puts one item in place.
func (w *worker) install(now time.Time, it item, e *entry) {
	err := w.missing(it)
	if err == nil {
		err = w.put(it, e)
	}
	e.installed = err == nil
	if e.lost && e.installed {
		e.lost, e.restored = false, now
		w.report(report{iface: w.iface, item: it, owners: slices.Collect(maps.Keys(e.owners)), restored: true})
	}
	w.outcome(now, it, e, err)
}

// missing says why an address cannot be had before it is tried: the interface
// it goes on is missing.
func (w *worker) missing(it item) error {
	if !it.prefix.IsValid() {
		return nil
	}
	for _, e := range w.carriers {
		if len(e.owners) > 0 && !e.installed {
			return e.err
		}
	}
	return nil
}

// put tells the kernel to have an item. The refusal comes before the address, so
// that not one packet gets through.
func (w *worker) put(it item, e *entry) error {
	switch {
	case it.virtual.Name != "":
		return w.links.MakeVirtual(it.virtual)
	case it.route.Destination.IsValid():
		return w.links.AddRoute(it.route)
	case it.rule.Priority != 0:
		return w.links.AddRule(it.rule)
	}
	c := e.claim()
	if c.refuse {
		e.refused = true
		if err := w.links.Refuse(w.iface, it.prefix.Addr()); err != nil {
			return err
		}
	}
	if err := w.links.Add(w.iface, c.address); err != nil {
		return err
	}
	if !c.refuse {
		return w.permit(it, e)
	}
	return nil
}

// take tells the kernel not to have an item.
func (w *worker) take(it item, e *entry) error {
	switch {
	case it.virtual.Name != "":
		return w.links.RemoveVirtual(it.virtual)
	case it.route.Destination.IsValid():
		return w.links.RemoveRoute(it.route)
	case it.rule.Priority != 0:
		return w.links.RemoveRule(it.rule)
	}
	if err := w.links.Remove(w.iface, it.prefix); err != nil {
		return err
	}
	return w.permit(it, e)
}

// permit ends a refusal.
func (w *worker) permit(it item, e *entry) error {
	if !e.refused {
		return nil
	}
	err := w.links.Permit(w.iface, it.prefix.Addr())
	e.refused = err != nil
	return err
}

// outcome notes how an operation on an item went.
func (w *worker) outcome(now time.Time, it item, e *entry, err error) {
	if err == nil {
		e.failures, e.retryAt = 0, time.Time{}
	} else {
		first := retryFirst
		if it.path() {
			first = retryPath
		}
		e.failures++
		e.retryAt = now.Add(min(first<<min(e.failures-1, 10), retryMax))
	}
	if err != nil || e.err != nil {
		w.report(report{iface: w.iface, item: it, owners: slices.Collect(maps.Keys(e.owners)), err: err, installed: e.installed})
	}
	e.err = err
}

// look finds out what jobs doubt, once for all of them: of those of one virtual
// router the last one counts.
func (w *worker) look(now time.Time, jobs []job) {
	paths := make(map[Key]bool)
	last := make(map[Key]int)
	for i, j := range jobs {
		switch j.kind {
		case jobVerify:
			last[j.key] = i
		case jobVerifyPaths:
			paths[j.key] = true
		}
	}
	if len(paths) > 0 {
		w.verifyPaths(now, paths)
	}
	var doubtful []job
	var addresses []netip.Prefix
	for i, j := range jobs {
		if j.kind != jobVerify || last[j.key] != i {
			continue
		}
		if e := w.entries[item{virtual: j.virtual}]; e != nil && e.installed {
			// It may have been switched off, or be gone with all addresses.
			w.install(now, item{virtual: j.virtual}, e)
		}
		j.addresses = slices.DeleteFunc(j.addresses, func(a Address) bool {
			e := w.mine(a, j.key)
			return e == nil || !e.installed
		})
		doubtful = append(doubtful, j)
		for _, a := range j.addresses {
			addresses = append(addresses, a.Prefix)
		}
	}
	if len(addresses) == 0 {
		return
	}
	list, err := w.links.Missing(w.iface, addresses)
	missing := make(map[netip.Prefix]bool, len(list))
	for _, p := range list {
		missing[p] = true
	}
	for _, j := range doubtful {
		w.verify(now, j, missing, err)
	}
}

// verify tells which of a virtual router's installed addresses are not where they
// should be.
func (w *worker) verify(now time.Time, j job, missing map[netip.Prefix]bool, err error) {
	for _, a := range j.addresses {
		it := itemOf(a)
		switch {
		case err != nil:
			e := w.entries[it]
			e.installed = false
			w.outcome(now, it, e, fmt.Errorf("looking for %s on %s: %w", a.Prefix, w.iface, err))
		case missing[a.Prefix]:
			w.report(report{iface: w.iface, item: it, owners: []Key{j.key}, lost: true})
		}
	}
}
