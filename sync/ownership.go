package connsync

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"
)

// record writes down what is ours, if that is not what is written down.
func (w *worker) record() {
	roles := w.roles()
	if slices.Equal(roles, w.recorded) {
		w.recordErr = nil
		return
	}
	if w.opts.Record != nil {
		if err := w.opts.Record(roles); err != nil {
			w.recordErr = fmt.Errorf("recording which sync daemons are ours: %w", err)
			return
		}
	}
	w.recorded, w.recordErr = roles, nil
}

func (w *worker) roles() []Role { return slices.Sorted(maps.Keys(w.owned)) }

// release stops what is ours and forgets what is wanted.
func (w *worker) release() error {
	w.set, w.wanted, w.invalid = false, nil, nil
	w.settled, w.released = false, true
	w.retry, w.until = 0, time.Time{}
	err := w.look()
	switch {
	case errors.Is(err, ErrNoIPVS):
		// There is no IPVS, so there are no daemons.
		clear(w.owned)
		w.record()
		return w.recordErr
	case err != nil:
		w.close()
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
	w.record()
	return errors.Join(append(errs, w.recordErr)...)
}
