package packetfilter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// interval is the time between two looks at the kernel's tables.
	interval = time.Second
	// maxRetry bounds the time after which what failed is tried again; it doubles.
	maxRetry = 30 * time.Second
)

// Options are what a Reconciler needs. Kernel is required.
type Options struct {
	// Kernel opens the kernel. It is called from Run, again and again while it fails.
	Kernel func() (Kernel, error)
	// Owned says that an earlier process recorded tables as its.
	Owned bool
	// Record keeps whether there are tables; it is called before they are made and
	// after they were removed. When it fails the change is made all the same, and the
	// error shown.
	Record func(owned bool) error
	// Logger takes one line per change, problem and recovery; nil takes none.
	Logger *slog.Logger
}

// Status is what a reconciler knows, at one moment.
type Status struct {
	// State is one of "starting", "off" (nothing is wanted), "ok", "released" (after
	// Flush) and "failing: …".
	State string
	// Repaired counts how often somebody else's change was put back.
	Repaired uint64
}

// Reconciler makes the kernel's tables those that are wanted and keeps them so. Its
// methods are safe for concurrent use; the work is done by Run.
type Reconciler struct {
	opts Options
	wake chan struct{} // capacity 1: there is something in the mailbox

	// Of the goroutine in Run alone.
	kernel   Kernel
	wanted   []Table
	set      bool // there is a wish
	settled  bool // it has been carried out: differences are somebody else's
	owned    bool
	recorded bool
	retry    time.Duration

	mu        sync.Mutex // guards everything below: the mailbox and what is published
	pending   *Rules
	asked     uint64
	done      uint64
	outcome   error
	flushes   []chan error
	status    Status
	published chan struct{} // closed and replaced when the above changes
}

// New returns a reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{
		opts: opts, wake: make(chan struct{}, 1), owned: opts.Owned, recorded: opts.Owned,
		status: Status{State: "starting"}, published: make(chan struct{}),
	}
}

// Set says what is wanted and returns at once. Of several in quick succession the last
// one counts. Until the first Set nothing is changed.
func (r *Reconciler) Set(rules Rules) {
	r.mu.Lock()
	r.pending = &rules
	r.asked++
	r.mu.Unlock()
	r.kick()
}

// Snapshot returns the present status without waiting for anything.
func (r *Reconciler) Snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Applied waits until what was wanted last has been carried out, and returns what kept
// that from being so. It goes on being tried.
func (r *Reconciler) Applied(ctx context.Context) error {
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	for {
		r.mu.Lock()
		done, outcome, published := r.done, r.outcome, r.published
		r.mu.Unlock()
		if done >= asked {
			return outcome
		}
		select {
		case <-published:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush removes the tables and forgets what is wanted, so that they do not come back
// until the next Set. It needs Run to be running, and waits for the work to be done.
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

// Run works until ctx ends, which is no error. It leaves the tables as they are. It may
// be called once.
func (r *Reconciler) Run(ctx context.Context) error {
	defer r.close()
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
	pending, flushes, asked := r.pending, r.flushes, r.asked
	r.pending, r.flushes = nil, nil
	r.mu.Unlock()

	state := "ok"
	if len(flushes) > 0 {
		r.wanted, r.set = nil, false
		err := r.carryOut()
		for _, done := range flushes {
			done <- err
		}
		state = "released"
	}
	if pending != nil {
		r.wanted, r.set, r.settled, r.retry = pending.Tables(), true, false, 0
	}
	next, repaired := interval, false
	var err error
	if r.set {
		repaired = r.settled
		var changed bool
		changed, err = r.reconcile()
		repaired = repaired && changed
		r.settled = err == nil
	}
	switch {
	case err != nil:
		r.close()
		r.retry = min(max(2*r.retry, interval), maxRetry)
		next, state = r.retry, "failing: "+err.Error()
	case !r.set && len(flushes) == 0:
		state = ""
	case r.set && len(r.wanted) == 0:
		r.close()
		state, next = "off", maxRetry
	}
	if err == nil {
		r.retry = 0
	}
	r.publish(state, repaired, pending != nil, asked, err)
	return next
}

// publish makes the outcome of a turn visible.
func (r *Reconciler) publish(state string, repaired, carried bool, asked uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state != "" && state != r.status.State {
		log := r.opts.Logger.Info
		if err != nil {
			log = r.opts.Logger.Warn
		}
		log("packet filter "+state, "was", r.status.State)
		r.status.State = state
	}
	if repaired {
		r.status.Repaired++
		r.opts.Logger.Warn("packet filter: somebody else's change of the tables was put back", "table", TableName)
	}
	if carried {
		r.done = asked
	}
	r.outcome = err
	close(r.published)
	r.published = make(chan struct{})
}

// reconcile compares and, where there is a difference, replaces.
func (r *Reconciler) reconcile() (changed bool, err error) {
	if len(r.wanted) == 0 && !r.owned {
		return false, nil // and no need of a kernel that has nftables
	}
	if err := r.open(); err != nil {
		return false, err
	}
	same, err := r.kernel.Same(r.wanted)
	if err != nil {
		return false, err
	}
	if same {
		return false, r.record(len(r.wanted) > 0)
	}
	return true, r.carryOut()
}

// carryOut makes the tables what is wanted. Ours are recorded before they are there.
func (r *Reconciler) carryOut() error {
	if len(r.wanted) == 0 && !r.owned {
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	var recorded error
	if len(r.wanted) > 0 {
		recorded = r.record(true)
	}
	if err := r.kernel.Replace(r.wanted); err != nil {
		return errors.Join(err, recorded)
	}
	r.opts.Logger.Info("packet filter: tables replaced", "table", TableName, "tables", len(r.wanted))
	if len(r.wanted) == 0 {
		recorded = r.record(false)
	}
	return recorded
}

// record writes down whether there are tables of ours, if that is not what is written
// down.
func (r *Reconciler) record(owned bool) error {
	r.owned = owned
	if r.recorded == owned {
		return nil
	}
	if r.opts.Record != nil {
		if err := r.opts.Record(owned); err != nil {
			return fmt.Errorf("recording the tables of nftables: %w", err)
		}
	}
	r.recorded = owned
	return nil
}

func (r *Reconciler) open() error {
	if r.kernel != nil {
		return nil
	}
	k, err := r.opts.Kernel()
	if err != nil {
		return err
	}
	r.kernel = k
	return nil
}

func (r *Reconciler) close() {
	if r.kernel == nil {
		return
	}
	if err := r.kernel.Close(); err != nil {
		r.opts.Logger.Debug("closing the connection to nftables", "error", err)
	}
	r.kernel = nil
}

func (r *Reconciler) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
