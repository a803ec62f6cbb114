package connsync

import (
	"context"
	"log/slog"
	"sync"
	"time"
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

// Reconciler keeps the wanted daemons running. Its methods are safe for
// concurrent use; the work is done by Run.
type Reconciler struct {
	opts Options
	wake chan struct{} // capacity 1: there is something in the mailbox
	work worker        // of the goroutine in Run alone

	mu        sync.Mutex // guards everything below: the mailbox and what is published
	pending   *Desired
	flushes   []chan error
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
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{
		opts:      opts,
		wake:      make(chan struct{}, 1),
		work:      newWorker(opts),
		status:    Status{State: "starting"},
		published: make(chan struct{}),
	}
}

// Set says what is to run and returns at once. Of several in quick succession
// the last one counts. Until the first Set nothing is changed.
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

// Applied waits until a desire of the generation, or a later one, has been carried
// out, and returns what kept that from being complete. It goes on being tried.
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

// Flush stops every daemon that is ours and forgets what is wanted, so that none
// comes back until the next Set. It needs Run to be running, and waits for the
// work to be done. A kernel without IPVS has nothing to stop, which is no error.
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

// Run works until ctx ends, which is no error. It leaves the daemons running.
// It may be called once.
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
	pending, flushes := r.pending, r.flushes
	r.pending, r.flushes = nil, nil
	r.mu.Unlock()

	var released error
	if len(flushes) > 0 {
		released = r.work.release()
	}
	before := r.Snapshot()
	next := r.work.turn(pending)
	r.mu.Lock()
	r.work.report(&r.status)
	after := r.status
	r.attempted, r.outcome = r.work.generation, r.work.err
	close(r.published)
	r.published = make(chan struct{})
	r.mu.Unlock()
	for _, done := range flushes {
		done <- released
	}
	news := pending != nil || before.State != after.State || before.Error != after.Error || before.Starts != after.Starts
	if r.opts.OnApplied != nil && news {
		r.opts.OnApplied(after)
	}
	return next
}

func (r *Reconciler) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
