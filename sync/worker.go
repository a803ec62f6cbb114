package connsync

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"lvsha/internal/reconcile"
)

// minRetry and maxRetry bound the time after which what failed is tried again;
// it doubles. An interface that is missing is not a failure: the next look shows
// whether it has come.
const minRetry, maxRetry = time.Second, 30 * time.Second

// goneIndex is the number of an interface that a daemon was started on and that
// was gone when it was looked for. No interface has it.
const goneIndex = -1

// worker is the state of the reconciler's goroutine.
type worker struct {
	opts   Options
	kernel Kernel // nil while it cannot be opened or read

	generation uint64
	carried    uint64 // the newest generation that was carried out
	set        bool   // there is a wish
	wanted     []Daemon
	invalid    error
	released   bool
	settled    bool // the wish has been carried out: differences are drift

	running []Daemon
	index   map[Role]int // of the interface each running daemon was started or first seen on
	looked  time.Time

	owned  map[Role]bool
	record reconcile.Record[[]Role]

	retry time.Duration
	until time.Time // do not try again before

	starts, drift uint64
	state         string
	err           error
}

var _ reconcile.Worker[Desired, Status] = (*worker)(nil)

func newWorker(opts Options) *worker {
	w := &worker{opts: opts, state: "starting", owned: make(map[Role]bool), index: make(map[Role]int)}
	for _, r := range opts.Owned {
		w.owned[r] = true
	}
	w.record = reconcile.Record[[]Role]{
		What: "which sync daemons are ours", Write: opts.Record, Same: slices.Equal[[]Role], Written: w.roles(),
	}
	return w
}

// turn takes in a new wish, if there is one, and brings the kernel closer to the
// present one, not waiting to try again what failed if it is asked to look. It returns
// the time until the next turn.
func (w *worker) turn(pending *Desired, look bool) time.Duration {
	if pending != nil {
		w.want(*pending)
	}
	next := w.opts.Interval
	now := time.Now()
	if !look && now.Before(w.until) {
		return min(next, w.until.Sub(now))
	}
	if w.nothing() {
		w.Close()
		w.running = nil
		w.conclude(nil)
		return max(next, maxRetry)
	}
	err := w.bring()
	if errors.Is(err, ErrGone) {
		// IPVS was unloaded and may be there again, without daemons.
		w.forget()
		err = w.bring()
	}
	switch {
	case err == nil, w.transient(err):
		w.retry, w.until = 0, time.Time{}
	default:
		w.retry = reconcile.Backoff(w.retry, minRetry, maxRetry)
		w.until = now.Add(w.retry)
	}
	w.conclude(err)
	return next
}

// bring brings the kernel closer to what is wanted.
func (w *worker) bring() error {
	if err := w.look(); err != nil {
		w.Close()
		return err
	}
	err := errors.Join(w.invalid, w.carryOut(), w.record.Err)
	w.settled = w.set && err == nil
	return err
}

// forget lets go of a kernel whose daemons are no more.
func (w *worker) forget() {
	w.Close()
	w.running = nil
	clear(w.index)
}

// nothing reports whether there is nothing to do for anybody: a director without
// connection sync does not need a kernel that has it, and does not look at it.
func (w *worker) nothing() bool {
	return len(w.wanted) == 0 && len(w.owned) == 0 && w.invalid == nil && !w.released
}

// transient reports whether all there is to an error is that something has yet
// to appear, which costs little to look for.
func (w *worker) transient(err error) bool {
	return errors.Is(err, ErrNoIPVS) || errors.Is(err, syscall.ENODEV)
}

// want takes in a wish, to be tried at once.
func (w *worker) want(d Desired) {
	w.generation, w.set, w.released, w.settled = d.Generation, true, false, false
	w.retry, w.until = 0, time.Time{}
	w.wanted, w.invalid = nil, nil
	for _, d := range normalDaemons(d.Daemons) {
		if err := Validate(d); err != nil {
			w.invalid = errors.Join(w.invalid, err)
			continue
		}
		if _, twice := find(w.wanted, d.Role); twice {
			w.invalid = errors.Join(w.invalid, fmt.Errorf("sync daemon %s is wanted twice", d.Role))
			continue
		}
		d.Index = 0
		w.wanted = append(w.wanted, d)
	}
}

// look opens the kernel if need be and reads what runs.
func (w *worker) look() error {
	if w.kernel == nil {
		k, err := w.opts.Kernel()
		if err != nil {
			if errors.Is(err, ErrNoIPVS) {
				w.forget()
			}
			return err
		}
		w.kernel = k
	}
	running, err := w.kernel.List()
	if err != nil {
		return err
	}
	for i, d := range running {
		if was, ran := find(w.running, d.Role); !ran || was.Interface != d.Interface {
			// Somebody else started it: as far as can be told, on the
			// interface that has the name now.
			delete(w.index, d.Role)
		}
		if w.index[d.Role] == 0 {
			index, err := w.kernel.InterfaceIndex(d.Interface)
			if errors.Is(err, syscall.ENODEV) {
				index = goneIndex
			}
			w.index[d.Role] = index
		}
		running[i].Index = w.index[d.Role]
	}
	w.running, w.looked = running, time.Now()
	return nil
}

// carryOut makes the changes that are due and goes on after those that fail.
func (w *worker) carryOut() error {
	if !w.set {
		return nil
	}
	for _, d := range w.wanted {
		w.owned[d.Role] = true
	}
	w.record.Keep(w.roles()) // ahead of the changes: a crash must leave no orphans

	want := slices.Clone(w.wanted)
	missing := make(map[string]error)
	for i := range want {
		index, err := w.kernel.InterfaceIndex(want[i].Interface)
		if err != nil {
			// What runs goes on until there is something to put in its place.
			missing[want[i].Interface] = fmt.Errorf("looking for interface %s: %w", want[i].Interface, err)
		}
		want[i].Index = index
	}
	want = slices.DeleteFunc(want, func(d Daemon) bool { return d.Index == 0 })
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		errs = append(errs, missing[name])
	}

	drifting := w.settled
	stuck := make(map[Role]bool)
	for _, c := range Diff(w.changeable(want), want) {
		if stuck[c.Daemon.Role] {
			continue
		}
		if err := c.Do(w.kernel); err != nil {
			stuck[c.Daemon.Role] = true
			errs = append(errs, err)
			continue
		}
		w.done(c, drifting)
	}
	for r := range w.owned {
		_, runs := find(w.running, r)
		_, wanted := find(w.wanted, r)
		if !runs && !wanted {
			delete(w.owned, r)
		}
	}
	w.record.Keep(w.roles())
	return errors.Join(errs...)
}

// changeable returns the running daemons that may be changed: those whose role is
// to run otherwise, and those of ours that are not to run. A wish that is
// waiting for its interface, or is not valid, changes nothing.
func (w *worker) changeable(want []Daemon) []Daemon {
	var daemons []Daemon
	for _, d := range w.running {
		_, ready := find(want, d.Role)
		_, wanted := find(w.wanted, d.Role)
		if ready || w.owned[d.Role] && !wanted && w.invalid == nil {
			daemons = append(daemons, d)
		}
	}
	return daemons
}

// done takes note of a change that was made.
func (w *worker) done(c Change, drifting bool) {
	d := c.Daemon
	w.running = slices.DeleteFunc(slices.Clone(w.running), func(o Daemon) bool { return o.Role == d.Role })
	delete(w.index, d.Role)
	if c.Op == Start {
		w.running = normalDaemons(append(w.running, d))
		w.index[d.Role] = d.Index
		w.starts++
		if drifting {
			w.drift++
		}
	}
	if drifting {
		w.opts.Logger.Warn(c.String(), "drift", true)
		return
	}
	w.opts.Logger.Info(c.String())
}

// conclude words the state after a turn.
func (w *worker) conclude(err error) {
	state := "running"
	switch {
	case err != nil:
		state = stateFor(err)
	case w.released:
		state = "released"
	case !w.set:
		state = "starting"
	case len(w.wanted) == 0:
		state = "off"
	}
	if was := w.state; state != was {
		if err != nil {
			w.opts.Logger.Warn("connection sync "+state, "was", was)
		} else {
			w.opts.Logger.Info("connection sync "+state, "was", was)
		}
	}
	w.state, w.err = state, err
}

// status is what there is to be known after a turn.
func (w *worker) status() Status {
	s := Status{
		State: w.state, Error: errorText(w.err), Running: w.running, Starts: w.starts, Drift: w.drift, Looked: w.looked,
	}
	for _, role := range []Role{Master, Backup} {
		if d, runs := find(w.running, role); runs {
			s.Daemons = append(s.Daemons, role.String())
			s.Interface, s.ID = d.Interface, d.ID
		}
	}
	if len(w.wanted) > 0 {
		s.Interface, s.ID = w.wanted[0].Interface, w.wanted[0].ID
	}
	if w.kernel != nil {
		w.carried = w.generation
	}
	s.Generation = w.carried
	return s
}

// Close is part of reconcile.Worker.
func (w *worker) Close() {
	if w.kernel == nil {
		return
	}
	if err := w.kernel.Close(); err != nil {
		w.opts.Logger.Debug("closing the IPVS connection", "error", err)
	}
	w.kernel = nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// firstLine returns the first of joined errors, which are one per line.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
