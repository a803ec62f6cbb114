package ipvs

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"lvsha/internal/reconcile"
)

// carryOut makes the changes of a plan, and goes on after those that fail, so
// that one bad row does not keep the others out of the kernel. looked says that
// the plan is for the table as just read: otherwise a change that does not fit
// the kernel is no failure, but the reason to look.
func (w *worker) carryOut(plan Plan, looked bool, p *pass) {
	if w.wanted == nil {
		return
	}
	// Differences from a table that had been carried out are others' doing.
	drifting := looked && w.settled
	for k := range w.wanted.services {
		w.owned.add(k)
	}
	w.record.Keep(w.owned.list()) // ahead of the changes: a crash must leave no orphans
	w.dropFailures(plan)

	trouble := make(map[ServiceKey]bool) // services with changes left over from before
	for r := range w.failures {
		trouble[r.service] = true
	}
	failed := make(map[ServiceKey]bool) // services of which a change has failed now
	t := attempt{worker: w, pass: p, looked: looked, drifting: drifting, trouble: trouble, failed: failed}
	// What takes connections away comes last, when it is known whether what makes up for
	// it was done.
	t.made = make(Plan, 0, len(plan))
	gives, takes := plan.split()
	t.run(gives)
	t.run(takes)
	made, drift := t.made, t.drift
	w.logChanges(made, drift > 0)
	if len(p.made) > 0 {
		made = append(p.made, made...)
	}
	p.made, p.drift, p.table = made, p.drift+drift, true

	if len(w.owned.set) > w.wanted.len() { // what is wanted is ours
		for k := range w.owned.set {
			if !w.known.has(k) && !w.wanted.has(k) && !w.rejected[k] {
				w.owned.remove(k)
			}
		}
	}
	w.record.Keep(w.owned.list())
}

// attempt is the carrying out of one plan.
type attempt struct {
	*worker
	pass             *pass
	looked, drifting bool
	trouble, failed  map[ServiceKey]bool
	made             Plan
	drift            int
	// batch are changes that have been decided on, and adding the services among them.
	batch  Plan
	adding map[ServiceKey]bool
}

// maxBatch is how many changes are decided on before they are made.
const maxBatch = 256

// run makes the changes of a part of a plan.
func (t *attempt) run(plan Plan) {
	t.adding = make(map[ServiceKey]bool)
	for i := range plan {
		c := &plan[i]
		key := c.Service.Key
		if n := len(t.batch); t.failed[key] || n > 0 && c.Op == MoveServer && t.batch[n-1].Op != MoveServer {
			t.flush() // what follows depends on what became of it
		}
		there := t.known.has(key)
		was, retry := t.failures[c.row()]
		switch {
		case c.Op != AddService && !there && !t.adding[key]:
			// The service could not be added.
			continue
		case retry && time.Now().Before(was.until):
			t.failed[key] = true
			continue
		case t.failed[key] && (c.Op == MoveServer || t.lastServer(*c)):
			continue
		}
		if c.Op == AddService {
			t.adding[key] = true
		}
		if t.batch = append(t.batch, *c); len(t.batch) == maxBatch {
			t.flush()
		}
	}
	t.flush()
}

// flush makes the changes that have been decided on.
func (t *attempt) flush() {
	clear(t.adding)
	for i, err := range doAll(t.kernel, t.batch) {
		t.done(&t.batch[i], err)
	}
	t.batch = t.batch[:0]
}

// done takes notice of a change that was tried.
func (t *attempt) done(c *Change, err error) {
	key := c.Service.Key
	there := t.known.has(key)
	was := t.failures[c.row()]
	switch {
	case err != nil && c.Op != AddService && !there:
		// The service could not be added, in the same batch.
		return
	case errors.Is(err, ErrGone):
		t.failed[key], t.pass.gone = true, true
		return
	case err != nil:
		t.failed[key] = true
		if !t.looked && stale(err) {
			t.pass.stale = true
			return
		}
		t.fail(c.row(), err, was)
		return
	}
	delete(t.failures, c.row())
	if err := t.known.apply(*c); err != nil {
		// The kernel took what does not fit what is known: read it anew.
		t.listed = false
	}
	if c.Op == RemoveService {
		t.owned.remove(key)
	}
	t.made = append(t.made, *c)
	if t.drifting && !t.trouble[key] {
		t.drift++
	}
}

// lastServer reports whether a change would leave a service, whose other changes
// fail, without a server that takes connections although it is to have one.
func (w *worker) lastServer(c Change) bool {
	if !c.takes() || c.Op == RemoveService {
		return false
	}
	takes := func(d Destination) bool { return d.Weight > 0 }
	wanted, _ := w.wanted.get(c.Service.Key)
	if !slices.ContainsFunc(wanted.Destinations, takes) {
		return false
	}
	known, _ := w.known.get(c.Service.Key)
	var now, after bool
	for _, d := range known.Destinations {
		now = now || takes(d)
		after = after || takes(d) && d.Addr != c.Destination.Addr
	}
	return now && !after
}

// fail notes a change that the kernel refused, to be tried again later. The log
// has it once, until the reason changes.
func (w *worker) fail(r row, err error, was failure) {
	delay := reconcile.Backoff(was.delay, minRetry, maxRetry)
	w.failures[r] = failure{err: err, delay: delay, until: time.Now().Add(delay)}
	if errorText(was.err) != err.Error() {
		w.log.Debug("IPVS change failed", "error", err)
	}
}

// dropFailures forgets the failures that the plan no longer has a change for:
// somebody else has made it.
func (w *worker) dropFailures(plan Plan) {
	if len(w.failures) == 0 {
		return
	}
	rows := make(map[row]bool, len(plan))
	for _, c := range plan {
		rows[c.row()] = true
	}
	for r := range w.failures {
		if !rows[r] {
			delete(w.failures, r)
		}
	}
}

// logChanges has a line for each change, or of many changes their number.
func (w *worker) logChanges(made Plan, drift bool) {
	level := slog.LevelInfo
	if drift {
		level = slog.LevelWarn
	}
	log := w.log.With("drift", drift, "generation", cmp.Or(w.reload, w.generation))
	ctx := context.Background()
	if len(made) > quietPlan {
		log.Log(ctx, level, "IPVS table changed", "changes", len(made))
		level = slog.LevelDebug
	}
	if !log.Enabled(ctx, level) {
		return
	}
	for _, c := range made {
		log.Log(ctx, level, "IPVS "+c.String())
	}
}

// Release is part of reconcile.Worker: it removes what is ours from the kernel.
func (w *worker) Release() error {
	w.flushed = true
	w.given, w.wanted, w.rejected, w.invalid = nil, nil, nil, nil
	w.failures = make(map[row]failure)
	w.settled, w.released = false, true
	w.timeouts = Timeouts{}
	err := w.release()
	if errors.Is(err, ErrGone) {
		// IPVS was unloaded and may be there again, with another table.
		w.Close()
		w.known, w.listed = nil, false
		err = w.release()
	}
	return err
}

// release is one try of Release.
func (w *worker) release() error {
	err := w.open()
	if err == nil && !w.listed {
		err = w.look(nil)
	}
	switch {
	case errors.Is(err, ErrNoIPVS):
		// There is no table, so there is nothing of ours in it.
		w.owned = keySet{}
		w.record.Keep(w.owned.list())
		return w.record.Err
	case err != nil:
		w.Close()
		return err
	}
	var errs []error
	var plan Plan
	for _, k := range w.owned.list() {
		// One that was not there at the last look may have come since; to look again would
		// take longer than all the rest.
		plan = append(plan, Change{Op: RemoveService, Service: Service{Key: k}})
	}
	var made Plan
	for i, err := range doAll(w.kernel, plan) {
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
			continue
		}
		if err == nil {
			made = append(made, plan[i])
		}
		w.known.remove(plan[i].Service.Key)
		w.owned.remove(plan[i].Service.Key)
	}
	w.logChanges(made, false)
	w.record.Keep(w.owned.list())
	w.timeoutErr = w.keepTimeouts()
	return errors.Join(append(errs, w.record.Err, w.timeoutErr)...)
}
