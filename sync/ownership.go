package connsync

import (
	"errors"
	"maps"
	"slices"
	"syscall"
	"time"
)

func (w *worker) roles() []Role { return slices.Sorted(maps.Keys(w.owned)) }

// Release is part of reconcile.Worker: it stops what is ours.
func (w *worker) Release() error {
	w.set, w.wanted, w.invalid = false, nil, nil
	w.settled, w.released = false, true
	w.retry, w.until = 0, time.Time{}
	err := w.release()
	if errors.Is(err, ErrGone) {
		w.forget()
		err = w.release()
	}
	return err
}

// release is one try of Release.
func (w *worker) release() error {
	err := w.look()
	switch {
	case errors.Is(err, ErrNoIPVS):
		// There is no IPVS, so there are no daemons.
		clear(w.owned)
		w.record.Keep(w.roles())
		return w.record.Err
	case err != nil:
		w.Close()
		return err
	}
	var errs []error
	for _, role := range w.roles() {
		if d, runs := find(w.running, role); runs {
			c := Change{Op: Stop, Daemon: d, Reason: "released"}
			if err := c.Do(w.kernel); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
				continue
			}
			w.done(c, false)
		}
		delete(w.owned, role)
	}
	w.record.Keep(w.roles())
	return errors.Join(append(errs, w.record.Err)...)
}
