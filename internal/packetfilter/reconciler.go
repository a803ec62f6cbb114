package packetfilter

import (
	"log/slog"
	"time"

	"lvsha/internal/reconcile"
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

// Reconciler makes the kernel's tables those that are wanted and keeps them so. Rules have
// no generation: what was set last is Settled.
type Reconciler = reconcile.Reconciler[Rules, Status]

// New returns a reconciler that does nothing until Run.
func New(opts Options) *Reconciler {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	w := newWorker(opts)
	return reconcile.New[Rules, Status](w, w.status)
}
