package ipvs

import (
	"errors"
	"fmt"
	"time"
)

// MaxTimeout is the longest timeout of connections; the kernel takes 2^31-1 ticks, which
// are a bit more at 1000 of them a second (ip_vs_set_timeout).
const MaxTimeout = 24 * 24 * time.Hour

// Timeouts are how long the kernel keeps connections over which nothing is said, in
// whole seconds up to MaxTimeout. They are those of all services of a network namespace.
type Timeouts struct {
	// TCP is that of connections, TCPFin of those that one side has closed, and UDP of
	// datagrams; zero leaves the kernel's as it is.
	TCP    time.Duration `json:"tcp,omitempty"`
	TCPFin time.Duration `json:"tcpfin,omitempty"`
	UDP    time.Duration `json:"udp,omitempty"`
}

// DefaultTimeouts are the kernel's own.
func DefaultTimeouts() Timeouts {
	return Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute}
}

// String returns "tcp 15m0s tcpfin 2m0s udp 5m0s".
func (t Timeouts) String() string {
	return fmt.Sprintf("tcp %s tcpfin %s udp %s", t.TCP, t.TCPFin, t.UDP)
}

// each calls f with the three values of several Timeouts side by side.
func each(f func(values []*time.Duration), all ...*Timeouts) {
	for i := range 3 {
		values := make([]*time.Duration, len(all))
		for j, t := range all {
			values[j] = []*time.Duration{&t.TCP, &t.TCPFin, &t.UDP}[i]
		}
		f(values)
	}
}

// plan returns what the kernel's timeouts have to become, and what is to be kept of
// what was found before: those that are wanted are set, and those that are wanted no
// longer are put back.
func (t Timeouts) plan(have, found Timeouts) (next, keep Timeouts) {
	next, keep = have, found
	each(func(v []*time.Duration) {
		want, have, next, keep := *v[0], *v[1], v[2], v[3]
		switch {
		case want != 0 && *keep == 0:
			*next, *keep = want, have
		case want != 0:
			*next = want
		case *keep != 0:
			*next, *keep = *keep, 0
		}
	}, &t, &have, &next, &keep)
	return next, keep
}

// Validate returns why the timeouts cannot be set, or nil.
func (t Timeouts) Validate() error {
	var problems []error
	names := []string{"tcp", "tcpfin", "udp"}
	each(func(v []*time.Duration) {
		if d := *v[0]; d < 0 || d > MaxTimeout || d%time.Second != 0 {
			problems = append(problems, fmt.Errorf("timeout %s %s is not between 1s and %s in whole seconds", names[0], d, MaxTimeout))
		}
		names = names[1:]
	}, &t)
	return errors.Join(problems...)
}

// keepTimeouts makes the kernel's timeouts those that are wanted. What was found is
// recorded before it is changed.
func (w *worker) keepTimeouts() error {
	if w.timeouts == (Timeouts{}) && w.found == (Timeouts{}) {
		return nil
	}
	have, err := w.kernel.Timeouts()
	if err != nil {
		return fmt.Errorf("reading the timeouts of IPVS: %w", explain(err))
	}
	next, keep := w.timeouts.plan(have, w.found)
	record := func(found Timeouts) error {
		if w.found == found {
			return nil
		}
		w.found = found
		if w.opts.RecordTimeouts == nil {
			return nil
		}
		if err := w.opts.RecordTimeouts(found); err != nil {
			return fmt.Errorf("recording the timeouts of IPVS that were found: %w", err)
		}
		return nil
	}
	// What is to be put back stays in the record until it is.
	both := keep
	each(func(v []*time.Duration) {
		if *v[1] != 0 {
			*v[0] = *v[1]
		}
	}, &both, &w.found)
	recorded := record(both)
	if next != have {
		if err := w.kernel.SetTimeouts(next); err != nil {
			return errors.Join(recorded, fmt.Errorf("setting the timeouts of IPVS to %s: %w", next, explain(err)))
		}
		w.log.Info("IPVS timeouts set", "from", have.String(), "to", next.String())
	}
	return errors.Join(recorded, record(keep))
}
