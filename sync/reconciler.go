package connsync

import (
	"log/slog"
	"time"

	"lvsha/internal/reconcile"
)

// DefaultInterval is the time between two looks at the daemons.
const DefaultInterval = time.Second

// Desired is what is to run.
type Desired struct {
	// Generation numbers the desires, growing. Applied waits for it.
	Generation uint64
	// Daemons are at most one of each role; see Config.Daemons. Empty stops those
	// that are ours and leaves others'.
	Daemons []Daemon
}

// Options are what a Reconciler needs. Kernel is required.
type Options struct {
	// Kernel opens the kernel. It is called from Run, again and again while it
	// fails and after the daemons could not be listed.
	Kernel func() (Kernel, error)
	// Owned are the roles whose daemons an earlier process recorded as ours.
	Owned []Role
	// Record keeps the roles whose daemons are, or are about to be, started or
	// adopted: the whole list, master first. It is called before the kernel is
	// changed. When it fails the change is made all the same; the error is shown
	// and the recording tried again. Nil records nothing.
	Record func([]Role) error
	// Logger takes one line per change, problem and recovery; nil takes none.
	Logger *slog.Logger
	// Interval is the time between two looks at the daemons, zero means
	// DefaultInterval.
	Interval time.Duration
	// OnApplied, if not nil, is told the status after each turn that carried out a
	// generation, changed something, or found the state to be another, on the
	// reconciler's goroutine: it must not block.
	OnApplied func(Status)
}

// Reconciler keeps the wanted daemons running. A kernel without IPVS has nothing to
// Flush, which is no error.
type Reconciler = reconcile.Reconciler[Desired, Status]

// New returns a reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return reconcile.New[Desired, Status](newWorker(opts), Status{State: "starting"})
}

// Turn is part of reconcile.Worker.
func (w *worker) Turn(desired *Desired, look bool) reconcile.Turn[Status] {
	state, problem, starts := w.state, errorText(w.err), w.starts
	t := reconcile.Turn[Status]{Next: w.turn(desired, look)}
	t.Status, t.Generation, t.Err = w.status(), w.generation, w.err
	if w.opts.OnApplied != nil && (desired != nil || state != w.state || problem != errorText(w.err) || starts != w.starts) {
		t.Tell = func() { w.opts.OnApplied(t.Status) }
	}
	return t
}
