package ipvs

import (
	"context"
	"log/slog"
	"sync"
	"time"
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

// Reconciler makes a kernel's table equal to a desired one and keeps it so. Its
// methods are safe for concurrent use; the work is done by Run.
type Reconciler struct {
	opts Options
	wake chan struct{} // capacity 1: there is something in the mailbox
	work worker        // of the goroutine in Run alone

	mu        sync.Mutex // guards everything below: the mailbox and what is published
	pending   *Desired
	flushes   []chan error
	refreshes []chan Status
	status    Status
	attempted uint64
	outcome   error         // of attempted
	published chan struct{} // closed and replaced when the above changes
}

// New returns a reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{
		opts:      opts,
		wake:      make(chan struct{}, 1),
		work:      newWorker(opts, log),
		status:    Status{State: "starting"},
		published: make(chan struct{}),
	}
	r.work.hurry = func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.pending != nil || len(r.flushes) > 0
	}
	return r
}

// Set gives a new desired table and returns at once. Of several given in quick
// succession the last one counts. The table must not be written to afterwards.
// Until the first Set the kernel is read and nothing is changed.
func (r *Reconciler) Set(d Desired) {
	r.mu.Lock()
	r.pending = &d
	r.mu.Unlock()
	r.kick()
}

// Snapshot returns the present status without waiting for anything.
func (r *Reconciler) Snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Refresh has the kernel's table read now and returns the status after that,
// connection counters included. Status.Listed and Status.State say how it went.
// Before the first Set it is how to learn what an earlier process left. It needs
// Run to be running.
func (r *Reconciler) Refresh(ctx context.Context) (Status, error) {
	done := make(chan Status, 1)
	r.mu.Lock()
	r.refreshes = append(r.refreshes, done)
	r.mu.Unlock()
	r.kick()
	select {
	case s := <-done:
		return s, nil
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

// Applied waits until a desired table of the generation, or a later one, has been
// carried out, and returns what kept that from being complete: ErrNoIPVS, or
// the joined errors of the rows that failed. They go on being tried.
func (r *Reconciler) Applied(ctx context.Context, generation uint64) error {
	for {
		r.mu.Lock()
		attempted, outcome, published := r.attempted, r.outcome, r.published
		r.mu.Unlock()
		if attempted >= generation {
			return outcome
		}
		select {
		case <-published:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush removes every service that is ours from the kernel and forgets the
// desired table, so that nothing comes back until the next Set. It needs Run to
// be running, and waits for the work to be done. A kernel without IPVS has
// nothing to remove, which is no error.
func (r *Reconciler) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	r.mu.Lock()
	r.pending = nil
	r.flushes = append(r.flushes, done)
	r.mu.Unlock()
	r.kick()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run works until ctx ends, which is no error. It leaves the kernel's table as
// it is. It may be called once.
func (r *Reconciler) Run(ctx context.Context) error {
	defer r.work.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.turn())
	}
}

// turn does what is due and returns the time until something is due again.
func (r *Reconciler) turn() time.Duration {
	r.mu.Lock()
	pending, flushes, refreshes := r.pending, r.flushes, r.refreshes
	r.pending, r.flushes, r.refreshes = nil, nil, nil
	r.mu.Unlock()

	var released error
	if len(flushes) > 0 {
		released = r.work.release()
	}
	p := r.work.turn(pending, len(refreshes) > 0)
	p.table = p.table || len(flushes) > 0
	r.publish(p)
	for _, done := range flushes {
		done <- released
	}
	for _, done := range refreshes {
		done <- r.Snapshot()
	}
	if r.opts.OnApplied != nil && (p.news || pending != nil || len(p.made) > 0) {
		r.opts.OnApplied(Result{
			Generation: r.work.generation,
			Changes:    p.made,
			Drift:      p.drift > 0,
			Err:        p.err,
		})
	}
	return p.next
}

// publish makes the outcome of a pass visible to Snapshot and Applied.
func (r *Reconciler) publish(p pass) {
	w := &r.work
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.status
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
	r.attempted, r.outcome = w.generation, p.err
	close(r.published)
	r.published = make(chan struct{})
}

func (r *Reconciler) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
