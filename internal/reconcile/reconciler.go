package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Worker carries out what is wanted. All its methods are called on the goroutine of
// Run: they need no lock, and may wait for the kernel.
type Worker[Desired, Status any] interface {
	// Turn takes in what is wanted from now on, or nil if that has not changed, and
	// brings what is there closer to it. look asks for a look at what is there although
	// it is not time for one.
	Turn(desired *Desired, look bool) Turn[Status]
	// Release removes what is ours and forgets what is wanted. A Turn follows.
	Release() error
	// Close lets go of the kernel and leaves what is there as it is.
	Close()
}

// Turn is the outcome of one turn of a Worker.
type Turn[Status any] struct {
	// Status is what Snapshot returns from now on. What it refers to must not be
	// written to any more.
	Status Status
	// Generation is the newest that was carried out, as far as it could be.
	Generation uint64
	// Err is what keeps that from being complete. It goes on being tried.
	Err error
	// Next is how long it is until something is due again: a look for what others have
	// changed, or another attempt at what failed. Not above zero is at once.
	Next time.Duration
	// Tell, if not nil, is called when all who wait have been answered.
	Tell func()
}

// Reconciler makes what is there equal to what is wanted and keeps it so. Its methods
// are safe for concurrent use; the work is done by Run.
type Reconciler[Desired, Status any] struct {
	worker Worker[Desired, Status] // of the goroutine in Run alone
	wake   chan struct{}           // capacity 1: there is something in the mailbox

	mu        sync.Mutex // guards everything below: the mailbox and what is published
	pending   *Desired
	flushes   []chan error
	refreshes []chan Status
	asked     uint64 // how often Set was called
	dropped   uint64 // of those, how many a Flush came after
	settled   uint64 // of those, how many the last turn had seen
	status    Status
	applied   uint64        // the generation of the last turn
	outcome   error         // of that
	published chan struct{} // closed and replaced after each turn
}

// New returns a reconciler that does nothing until Run. status is what Snapshot returns
// until the first turn has ended.
func New[Desired, Status any](worker Worker[Desired, Status], status Status) *Reconciler[Desired, Status] {
	return &Reconciler[Desired, Status]{
		worker: worker, wake: make(chan struct{}, 1), status: status, published: make(chan struct{}),
	}
}

// Set gives what is wanted and returns at once. Of several given in quick succession the
// last one counts. It must not be written to afterwards. Until the first Set nothing is
// changed.
func (r *Reconciler[Desired, Status]) Set(d Desired) {
	r.post(func() {
		r.pending = &d
		r.asked++
	})
}

// Waiting reports whether something was set, or is to be released, that no turn has taken
// in yet.
func (r *Reconciler[Desired, Status]) Waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending != nil || len(r.flushes) > 0
}

// Snapshot returns the present status without waiting for anything.
func (r *Reconciler[Desired, Status]) Snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Refresh has the worker look now and returns the status after that, which tells how it
// went. Before the first Set it is how to learn what an earlier process left. It needs
// Run to be running.
func (r *Reconciler[Desired, Status]) Refresh(ctx context.Context) (Status, error) {
	done := make(chan Status, 1)
	r.post(func() { r.refreshes = append(r.refreshes, done) })
	select {
	case s := <-done:
		return s, nil
	case <-ctx.Done():
		var none Status
		return none, ctx.Err()
	}
}

// ErrReleased is the error of waiting for what a Flush has overtaken.
var ErrReleased = errors.New("it has been given up meanwhile")

// Applied waits until the generation, or a later one, has been carried out, and returns
// what kept that from being complete. It goes on being tried. Of what was set before a
// Flush, and not carried out by then, the error is ErrReleased.
func (r *Reconciler[Desired, Status]) Applied(ctx context.Context, generation uint64) error {
	released := false
	err := r.await(ctx, func() bool {
		released = r.applied < generation && r.dropped > 0 && r.dropped == r.asked && r.settled >= r.asked && len(r.flushes) == 0
		return released || r.applied >= generation
	})
	if released {
		return ErrReleased
	}
	return err
}

// Settled is Applied for what was set last, when it is called. It returns too when a
// Flush has overtaken that.
func (r *Reconciler[Desired, Status]) Settled(ctx context.Context) error {
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	return r.await(ctx, func() bool { return r.settled >= asked })
}

// await returns the outcome of the first turn after which something is so.
func (r *Reconciler[Desired, Status]) await(ctx context.Context, so func() bool) error {
	for {
		r.mu.Lock()
		done, outcome, published := so(), r.outcome, r.published
		r.mu.Unlock()
		if done {
			return outcome
		}
		select {
		case <-published:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush removes what is ours and forgets what is wanted, so that nothing comes back until
// the next Set. It needs Run to be running, and waits for the work to be done.
func (r *Reconciler[Desired, Status]) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	r.post(func() {
		r.pending, r.dropped = nil, r.asked
		r.flushes = append(r.flushes, done)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post puts something into the mailbox.
func (r *Reconciler[Desired, Status]) post(put func()) {
	r.mu.Lock()
	put()
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, which is no error. It leaves what is there as it is. It may
// be called once.
func (r *Reconciler[Desired, Status]) Run(ctx context.Context) error {
	defer r.worker.Close()
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

// turn does what is due and returns how long it is until something is due again.
func (r *Reconciler[Desired, Status]) turn() time.Duration {
	r.mu.Lock()
	pending, flushes, refreshes, asked := r.pending, r.flushes, r.refreshes, r.asked
	r.pending, r.flushes, r.refreshes = nil, nil, nil
	r.mu.Unlock()

	var released error
	if len(flushes) > 0 {
		released = r.worker.Release() // before what was set after it
	}
	t := r.worker.Turn(pending, len(refreshes) > 0)
	r.mu.Lock()
	r.status, r.applied, r.outcome, r.settled = t.Status, t.Generation, t.Err, asked
	close(r.published)
	r.published = make(chan struct{})
	r.mu.Unlock()
	for _, done := range flushes {
		done <- released
	}
	for _, done := range refreshes {
		done <- t.Status
	}
	if t.Tell != nil {
		t.Tell()
	}
	return t.Next
}
