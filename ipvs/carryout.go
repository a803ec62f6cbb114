package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"time"
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
	for k := range w.wanted {
		w.owned[k] = true
	}
	w.record() // ahead of the changes: a crash must leave no orphans
	w.dropFailures(plan)

	trouble := make(map[ServiceKey]bool) // services with changes left over from before
	for r := range w.failures {
		trouble[r.service] = true
	}
	failed := make(map[ServiceKey]bool) // services of which a change has failed now
	var made Plan
	drift := 0
	for _, c := range plan {
		key := c.Service.Key
		_, there := w.known[key]
		was, retry := w.failures[c.row()]
		switch {
		case c.Op != AddService && !there:
			// The service could not be added.
			continue
		case retry && time.Now().Before(was.until):
			failed[key] = true
			continue
		case failed[key] && w.lastServer(c):
			continue
		}
		if err := c.Do(w.kernel); err != nil {
			failed[key] = true
			if !looked && stale(err) {
				p.stale = true
				continue
			}
			w.fail(c.row(), err, was)
			continue
		}
		delete(w.failures, c.row())
		if err := w.known.apply(c); err != nil {
			// The kernel took what does not fit what is known: read it anew.
			w.listed = false
		}
		if c.Op == RemoveService {
			delete(w.owned, key)
		}
		made = append(made, c)
		if drifting && !trouble[key] {
			drift++
		}
	}
	w.logChanges(made, drift > 0)
	p.made, p.drift, p.table = append(p.made, made...), p.drift+drift, true

	for k := range w.owned {
		_, there := w.known[k]
		_, wanted := w.wanted[k]
		if !there && !wanted && !w.rejected[k] {
			delete(w.owned, k)
		}
	}
	w.record()
}

// lastServer reports whether a change would leave a service, whose other changes
// fail, without a server that takes connections although it is to have one.
func (w *worker) lastServer(c Change) bool {
	if c.Op != RemoveServer && (c.Op != SetServer || c.Destination.Weight > 0) {
		return false
	}
	takes := func(d Destination) bool { return d.Weight > 0 }
	if !slices.ContainsFunc(w.wanted[c.Service.Key].Destinations, takes) {
		return false
	}
	var now, after bool
	for _, d := range w.known[c.Service.Key].Destinations {
		now = now || takes(d)
		after = after || takes(d) && d.Addr != c.Destination.Addr
	}
	return now && !after
}

// fail notes a change that the kernel refused, to be tried again later. The log
// has it once, until the reason changes.
func (w *worker) fail(r row, err error, was failure) {
	delay := min(max(2*was.delay, minRetry), maxRetry)
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
	log := w.log.With("drift", drift, "generation", w.generation)
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

// record writes down what is ours, if that is not what is written down.
func (w *worker) record() {
	keys := sortedKeys(w.owned)
	if slices.Equal(keys, w.recorded) {
		w.recordErr = nil
		return
	}
	if w.opts.Record != nil {
		if err := w.opts.Record(keys); err != nil {
			w.recordErr = fmt.Errorf("recording what is ours in IPVS: %w", err)
			return
		}
	}
	w.recorded, w.recordErr = keys, nil
}

// release removes what is ours from the kernel and forgets what is wanted.
func (w *worker) release() error {
	w.wanted, w.rejected, w.invalid = nil, nil, nil
	w.failures = make(map[row]failure)
	w.settled, w.released = false, true
	w.timeouts = Timeouts{}
	err := w.open()
	if err == nil {
		err = w.look()
	}
	switch {
	case errors.Is(err, ErrNoIPVS):
		// There is no table, so there is nothing of ours in it.
		w.owned = make(map[ServiceKey]bool)
		w.record()
		return w.recordErr
	case err != nil:
		w.close()
		return err
	}
	var errs []error
	for _, k := range sortedKeys(w.owned) {
		if s, there := w.known[k]; there {
			c := Change{Op: RemoveService, Service: s.settings()}
			if err := c.Do(w.kernel); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
				continue
			}
			delete(w.known, k)
			w.log.Info("IPVS " + c.String())
		}
		delete(w.owned, k)
	}
	w.record()
	w.timeoutErr = w.keepTimeouts()
	return errors.Join(append(errs, w.recordErr, w.timeoutErr)...)
}
