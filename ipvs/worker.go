package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"lvsha/internal/reconcile"
)

const (
	// maxInterval bounds the time between two looks at a very large table.
	maxInterval = 30 * time.Second
	// lookShare is how many times longer than a look the time between two is.
	lookShare = 100
	// minRetry and maxRetry bound the time after which a failed change is tried
	// again; it doubles.
	minRetry, maxRetry = time.Second, 30 * time.Second
	// maxOpenRetry bounds it for a kernel that cannot be opened or read.
	maxOpenRetry = 5 * time.Second
	// patience is how many intervals late a look may be because of tables that are given.
	patience = 3
	// quietPlan is how many changes are logged one by one.
	quietPlan = 20
)

// worker is the state of the reconciler's goroutine.
type worker struct {
	opts Options
	log  *slog.Logger
	// hurry says that a table waits to be carried out.
	hurry func() bool

	kernel    Kernel // nil while it cannot be opened or read
	openRetry time.Duration

	generation uint64
	reload     uint64
	// given is the table as it was given, and what follows is made of it.
	given    []Service
	wanted   *state              // nil: nothing wanted, nothing changed
	rejected map[ServiceKey]bool // wanted, but not valid: left as they are
	invalid  []error             // why
	released bool

	known    *state // the kernel's table as last read, and changed since
	listed   bool   // known means something
	looked   time.Time
	interval time.Duration
	settled  bool // the wanted table has been carried out: differences are drift

	owned  keySet
	record reconcile.Record[[]ServiceKey]

	// timeouts are wanted, and found what they were before.
	timeouts, found Timeouts
	timeoutErr      error
	// respected are the services whose rows others may change, and drifted the rows that
	// they have: the change that would put each right.
	respected map[ServiceKey]bool
	drifted   map[row]Change

	failures map[row]failure
	state    string
	problem  string // the text of the last pass's error
	flushed  bool   // since the last pass
	status   Status
}

var _ reconcile.Worker[Desired, Status] = (*worker)(nil)

// row is what a change is about: a service (no server) or one of its servers.
type row struct {
	service ServiceKey
	server  netip.AddrPort
}

func (c *Change) row() row {
	return row{c.Service.Key, c.Destination.Addr}
}

func compareRows(a, b row) int {
	return cmp.Or(a.service.Compare(b.service), a.server.Compare(b.server))
}

// failure is a change that the kernel refuses.
type failure struct {
	err   error
	delay time.Duration
	until time.Time
}

// pass is the outcome of one turn.
type pass struct {
	made  Plan
	drift int
	err   error
	news  bool          // err differs from the pass before
	table bool          // the known table is not what it was
	next  time.Duration // until something is due again
	stale bool          // the known table was not the kernel's
	gone  bool          // IPVS was unloaded
}

func newWorker(opts Options, log *slog.Logger) *worker {
	w := &worker{
		opts:     opts,
		log:      log,
		failures: make(map[row]failure),
		state:    "starting",
		status:   Status{State: "starting"},
		interval: opts.Interval,
		found:    opts.Found,
	}
	for _, k := range opts.Owned {
		w.owned.add(k)
	}
	w.record = reconcile.Record[[]ServiceKey]{
		What: "what is ours in IPVS", Write: opts.Record, Same: slices.Equal[[]ServiceKey], Written: w.owned.list(),
	}
	return w
}

// turn takes in a new desired table, if there is one, and brings the kernel
// closer to the present one. look asks for the kernel's table to be read though
// it is not time.
func (w *worker) turn(pending *Desired, look bool) pass {
	var p pass
	if pending != nil {
		w.want(*pending)
	}
	if w.nothing() && !look {
		w.rest(&p)
		return p
	}
	err := w.bring(pending != nil, look, &p)
	if p.gone || errors.Is(err, ErrGone) {
		// IPVS was unloaded and may be there again, with another table.
		w.Close()
		w.known, w.listed, p.gone = nil, false, false
		err = w.bring(false, true, &p)
	}
	if err == nil && p.gone {
		err = ErrGone // again: not before the next turn
	}
	if errors.Is(err, errHurried) {
		w.conclude(&p, nil)
		p.next = 0
		return p
	}
	w.conclude(&p, err)
	return p
}

// bring brings the kernel closer to what is wanted. fresh says that this is new.
func (w *worker) bring(fresh, look bool, p *pass) error {
	err := w.open()
	if err == nil && fresh && w.listed {
		// The change first, from what is known of the table: it must not wait
		// for the reading of a large one. Looking is for what others did.
		w.carryOut(w.plan(), false, p)
	}
	if err == nil && !p.gone && (look || !w.listed || p.stale || time.Since(w.looked) >= w.interval) {
		start := time.Now()
		hurry := w.hurry
		if look || !w.listed || p.stale || time.Since(w.looked) >= patience*w.interval {
			hurry = nil // who has been put off again and again is put off no more
		}
		if err = w.look(hurry); err == nil {
			p.table = true
			plan := w.plan()
			w.pace(time.Since(start))
			w.carryOut(plan, true, p)
			if w.wanted != nil {
				w.timeoutErr = w.keepTimeouts()
				p.gone = p.gone || errors.Is(w.timeoutErr, ErrGone)
			}
		}
	}
	return err
}

// want takes in a desired table. Rows that are not valid are set aside.
func (w *worker) want(d Desired) {
	if d.Reload != w.reload {
		w.drifted = nil
	}
	w.generation, w.reload = d.Generation, d.Reload
	w.respected = make(map[ServiceKey]bool, len(d.Respected))
	for _, k := range d.Respected {
		w.respected[k] = true
	}
	was := w.wanted
	w.released, w.settled = false, false
	if w.timeouts != d.Timeouts {
		w.timeouts, w.listed = d.Timeouts, false // not only at the next look
	}
	// Whoever sets a table anew expects all of it to be tried.
	w.failures = make(map[row]failure)
	if was == nil || !slices.EqualFunc(w.given, d.Services, identical) {
		w.given = d.Services
		w.sift()
	}
	for r := range w.drifted {
		// What is wanted now was not when somebody changed it.
		if !w.respected[r.service] || !sameRow(r, was, w.wanted) {
			delete(w.drifted, r)
		}
	}
}

// sift makes what is wanted of the table as it was given.
func (w *worker) sift() {
	wanted := &state{services: make(map[ServiceKey]Service, len(w.given))}
	w.rejected, w.invalid = make(map[ServiceKey]bool), nil
	for _, s := range w.given {
		err := Validate(s)
		if err == nil && wanted.has(s.Key) {
			err = fmt.Errorf("service %s appears twice", s.Key)
		} else if err == nil {
			wanted.put(s.normal())
			continue
		}
		w.invalid = append(w.invalid, err)
		if !wanted.has(s.Key) {
			w.rejected[s.Key] = true
		}
	}
	w.wanted = wanted
	// A valid row may have come after one with the same key that was not.
	maps.DeleteFunc(w.rejected, func(k ServiceKey, _ bool) bool { return wanted.has(k) })
}

// identical reports whether two services are given in the same words.
func identical(a, b Service) bool {
	return a.sameSettings(b) && a.Traffic == b.Traffic && slices.Equal(a.Destinations, b.Destinations)
}

// nothing reports whether there is nothing to do for anybody: a director
// without services does not need a kernel with IPVS, and does not look at it.
func (w *worker) nothing() bool {
	return w.wanted.len() == 0 && len(w.rejected) == 0 && len(w.owned.set) == 0 && !w.released &&
		w.timeouts == (Timeouts{}) && w.found == (Timeouts{})
}

// rest leaves the kernel alone until there is something to do.
func (w *worker) rest(p *pass) {
	w.Close()
	w.known, w.listed = nil, false
	w.openRetry, w.problem = 0, ""
	p.next = maxInterval
	if w.wanted != nil && w.state != "off" {
		w.log.Info("IPVS off", "was", w.state)
		w.state = "off"
	}
}

// open connects to the kernel unless it is connected.
func (w *worker) open() error {
	if w.kernel != nil {
		return nil
	}
	k, err := w.opts.Kernel()
	if err != nil {
		return err
	}
	w.kernel, w.listed = k, false
	return nil
}

// Close is part of reconcile.Worker.
func (w *worker) Close() {
	if w.kernel == nil {
		return
	}
	if err := w.kernel.Close(); err != nil {
		w.log.Debug("closing the IPVS connection", "error", err)
	}
	w.kernel = nil
}

// look reads the kernel's table, unless hurry says that something else is more urgent.
func (w *worker) look(hurry func() bool) error {
	var table []Service
	var err error
	if k, can := w.kernel.(hurrier); can && hurry != nil {
		table, err = k.listUnless(hurry)
	} else {
		table, err = w.kernel.List()
	}
	if err != nil {
		return err
	}
	before, listed := w.known, w.listed
	w.known, w.listed, w.looked = newState(table), true, time.Now()
	if listed {
		w.respect(before)
	}
	return nil
}

// pace sets the time between looks by the cost of one.
func (w *worker) pace(cost time.Duration) {
	w.interval = max(w.opts.Interval, min(lookShare*cost, maxInterval))
}

// plan returns what is to be done to the known table.
func (w *worker) plan() Plan {
	if w.wanted == nil {
		return nil
	}
	return w.left(diff(w.known.list(), w.wanted.list(), w.ours))
}

// ours reports whether a service may be removed when it is not wanted. One that
// is wanted in a form that is not valid may not.
func (w *worker) ours(k ServiceKey) bool { return w.owned.set[k] && !w.rejected[k] }

// conclude words the state after a pass and says when the next is due.
func (w *worker) conclude(p *pass, err error) {
	now := time.Now()
	state := "ok"
	switch {
	case err != nil:
		w.Close()
		w.openRetry = reconcile.Backoff(w.openRetry, min(w.opts.Interval, maxOpenRetry)/2, maxOpenRetry)
		p.err, p.next = err, w.openRetry
		state = stateFor(err)
		if errors.Is(err, ErrNoIPVS) {
			w.known, w.listed = nil, false
		}
	default:
		w.openRetry = 0
		p.next = max(w.interval-now.Sub(w.looked), 0)
		problems := w.problems()
		p.err = errors.Join(problems...)
		switch {
		case len(problems) > 0:
			state = "degraded: " + first(problems)
		case w.released:
			state = "released"
		}
		w.settled = w.wanted != nil
	}
	p.news = errorText(p.err) != w.problem
	w.problem = errorText(p.err)
	switch was := w.state; {
	case state == was:
	case state == "ok" || state == "released":
		w.log.Info("IPVS "+state, "was", was)
	default:
		w.log.Warn("IPVS "+state, "was", was)
	}
	w.state = state
}

// problems returns everything that keeps the kernel from being as wanted, in a
// fixed order.
func (w *worker) problems() []error {
	errs := slices.Clone(w.invalid)
	rows := slices.SortedFunc(maps.Keys(w.failures), compareRows)
	for _, r := range rows {
		errs = append(errs, w.failures[r].err)
	}
	for _, err := range []error{w.timeoutErr, w.record.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// split returns the known services that are wanted or ours, and the others.
func (w *worker) split() (mine, foreign []Service) {
	all := w.known.list()
	others := func(s Service) bool { return !w.owned.set[s.Key] && !w.wanted.has(s.Key) }
	if !slices.ContainsFunc(all, others) {
		return slices.Clip(all), nil
	}
	for _, s := range all {
		if others(s) {
			foreign = append(foreign, s)
		} else {
			mine = append(mine, s)
		}
	}
	return mine, foreign
}

// keySet are keys of services; the zero value has none.
type keySet struct {
	set map[ServiceKey]bool
	// sorted is what list returns; nil since a change.
	sorted []ServiceKey
}

func (s *keySet) add(k ServiceKey) {
	if s.set[k] {
		return
	}
	if s.set == nil {
		s.set = make(map[ServiceKey]bool)
	}
	s.set[k], s.sorted = true, nil
}

func (s *keySet) remove(k ServiceKey) {
	if s.set[k] {
		delete(s.set, k)
		s.sorted = nil
	}
}

// list returns the keys in order. It is shared, and must not be written to.
func (s *keySet) list() []ServiceKey {
	if s.sorted == nil {
		s.sorted = slices.SortedFunc(maps.Keys(s.set), ServiceKey.Compare)
	}
	return s.sorted
}
