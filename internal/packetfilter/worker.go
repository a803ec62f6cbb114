package packetfilter

import (
	"errors"
	"time"

	"lvsha/internal/reconcile"
)

// worker is the state of the reconciler's goroutine.
type worker struct {
	opts    Options
	kernel  Kernel // nil while it is not open
	wanted  []Table
	set     bool // there is a wish
	settled bool // it has been carried out: differences are somebody else's
	owned   bool
	record  reconcile.Record[bool]
	flushed bool // since the last turn
	retry   time.Duration
	status  Status
}

var _ reconcile.Worker[Rules, Status] = (*worker)(nil)

func newWorker(opts Options) *worker {
	return &worker{
		opts: opts, owned: opts.Owned, status: Status{State: "starting"},
		record: reconcile.Record[bool]{
			What: "the tables of nftables", Write: opts.Record, Same: func(a, b bool) bool { return a == b }, Written: opts.Owned,
		},
	}
}

// Turn is part of reconcile.Worker.
func (w *worker) Turn(rules *Rules, _ bool) reconcile.Turn[Status] {
	state, next, repaired := "ok", interval, false
	if rules != nil {
		w.wanted, w.set, w.settled, w.retry = rules.Tables(), true, false, 0
	}
	var err error
	if w.set {
		var changed bool
		changed, err = w.reconcile()
		repaired = w.settled && changed
		w.settled = err == nil
	}
	switch {
	case err != nil:
		w.Close()
		w.retry = reconcile.Backoff(w.retry, interval, maxRetry)
		next, state = w.retry, "failing: "+err.Error()
	case !w.set && w.flushed:
		state = "released"
	case !w.set:
		state = w.status.State
	case len(w.wanted) == 0:
		w.Close()
		state, next = "off", maxRetry
	}
	if err == nil {
		w.retry = 0
	}
	w.flushed = false
	w.conclude(state, repaired, err)
	return reconcile.Turn[Status]{Status: w.status, Err: err, Next: next}
}

// conclude words the state after a turn.
func (w *worker) conclude(state string, repaired bool, err error) {
	if state != w.status.State {
		log := w.opts.Logger.Info
		if err != nil {
			log = w.opts.Logger.Warn
		}
		log("packet filter "+state, "was", w.status.State)
		w.status.State = state
	}
	if repaired {
		w.status.Repaired++
		w.opts.Logger.Warn("packet filter: somebody else's change of the tables was put back", "table", TableName)
	}
}

// Release is part of reconcile.Worker: it removes the tables.
func (w *worker) Release() error {
	w.wanted, w.set, w.flushed = nil, false, true
	return w.carryOut()
}

// reconcile compares and, where there is a difference, replaces.
func (w *worker) reconcile() (changed bool, err error) {
	if len(w.wanted) == 0 && !w.owned {
		return false, nil // and no need of a kernel that has nftables
	}
	if err := w.open(); err != nil {
		return false, err
	}
	same, err := w.kernel.Same(w.wanted)
	if err != nil {
		return false, err
	}
	if same {
		return false, w.recorded(len(w.wanted) > 0)
	}
	return true, w.carryOut()
}

// carryOut makes the tables what is wanted. Ours are recorded before they are there.
func (w *worker) carryOut() error {
	if len(w.wanted) == 0 && !w.owned {
		return nil
	}
	if err := w.open(); err != nil {
		return err
	}
	var recorded error
	if len(w.wanted) > 0 {
		recorded = w.recorded(true)
	}
	if err := w.kernel.Replace(w.wanted); err != nil {
		return errors.Join(err, recorded)
	}
	w.opts.Logger.Info("packet filter: tables replaced", "table", TableName, "tables", len(w.wanted))
	if len(w.wanted) == 0 {
		recorded = w.recorded(false)
	}
	return recorded
}

// recorded writes down whether there are tables of ours.
func (w *worker) recorded(owned bool) error {
	w.owned = owned
	w.record.Keep(owned)
	return w.record.Err
}

func (w *worker) open() error {
	if w.kernel != nil {
		return nil
	}
	k, err := w.opts.Kernel()
	if err != nil {
		return err
	}
	w.kernel = k
	return nil
}

// Close is part of reconcile.Worker.
func (w *worker) Close() {
	if w.kernel == nil {
		return
	}
	if err := w.kernel.Close(); err != nil {
		w.opts.Logger.Debug("closing the connection to nftables", "error", err)
	}
	w.kernel = nil
}
