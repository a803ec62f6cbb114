package ipvs

import (
	"log/slog"
	"time"

	"lvsha/internal/reconcile"
)

// DefaultInterval is the shortest time between two looks at the kernel's table.
const DefaultInterval = time.Second

// Desired is a whole desired table.
type Desired struct {
	// Generation numbers the tables, growing. Applied waits for it.
	Generation uint64
	// Services are the table. Those that Validate refuses are reported and left
	// as they are in the kernel; the others are carried out.
	Services []Service
	// Timeouts are those of connections; zero ones are left, or put back to what was
	// found.
	Timeouts Timeouts
	// Respected are the services of which what others change stays as they have made it
	// until a table of another Reload is given. A service that others remove is made
	// again all the same.
	Respected []ServiceKey
	// Reload numbers what the tables are made from.
	Reload uint64
}

// Options are what a Reconciler needs. Kernel is required.
type Options struct {
	// Kernel opens the table. It is called from Run, again and again while it
	// fails and after the table could not be read.
	Kernel func() (Kernel, error)
	// Owned are the services that an earlier process recorded as made by lvsha.
	Owned []ServiceKey
	// Record keeps the keys of all services that are, or are about to be, made or
	// adopted: the whole list, sorted. It is called before the kernel is changed.
	// When it fails the change is made all the same, because a service that
	// does not serve is worse than one without an owner; the error is shown and
	// the recording tried again. Nil records nothing.
	Record func([]ServiceKey) error
	// Found are the timeouts that an earlier process found and changed, and
	// RecordTimeouts keeps them; it is called before they are changed and after they
	// were put back. Nil records nothing.
	Found          Timeouts
	RecordTimeouts func(Timeouts) error
	// Logger takes one line per change, problem and recovery; nil takes none.
	Logger *slog.Logger
	// Interval is the shortest time between two looks at the kernel's table, zero
	// means DefaultInterval. Large tables are looked at less often, so that
	// looking takes no more than about one hundredth of the time, but at least
	// every 30 s.
	Interval time.Duration
	// OnApplied, if not nil, is told the outcome of passes (see Result), on the
	// reconciler's goroutine: it must not block.
	OnApplied func(Result)
}

// Reconciler makes a kernel's table equal to a desired one and keeps it so. A kernel
// without IPVS has nothing to Flush, which is no error.
type Reconciler = reconcile.Reconciler[Desired, Status]

// New returns a reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := newWorker(opts, log)
	r := reconcile.New[Desired, Status](w, w.status)
	w.hurry = r.Waiting
	return r
}

// Turn is part of reconcile.Worker.
func (w *worker) Turn(desired *Desired, look bool) reconcile.Turn[Status] {
	flushed := w.flushed
	w.flushed = false
	p := w.turn(desired, look)
	p.table = p.table || flushed
	w.report(p)
	t := reconcile.Turn[Status]{Status: w.status, Generation: w.generation, Err: p.err, Next: p.next}
	if w.opts.OnApplied != nil && (p.news || desired != nil || len(p.made) > 0) {
		result := Result{Generation: w.generation, Changes: p.made, Drift: p.drift > 0, Err: p.err}
		t.Tell = func() { w.opts.OnApplied(result) }
	}
	return t
}

// report writes the status after a pass.
func (w *worker) report(p pass) {
	s := &w.status
	s.State, s.Error = w.state, errorText(p.err)
	s.Listed, s.Looked, s.Interval = w.listed, w.looked, w.interval
	s.Changes += uint64(len(p.made))
	s.Drift += uint64(p.drift)
	if w.kernel != nil {
		s.Generation = w.generation
	}
	if p.table || !w.listed {
		s.Services, s.Foreign = w.split()
	}
	s.Drifted = w.differences()
}
