package lab

import (
	"context"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"lvsha/internal/control"
)

// Daemon is lvsha running on a host.
type Daemon struct{ *Process }

// StartDaemon starts `lvsha run` on the host with further arguments.
func StartDaemon(h *Host, log io.Writer, binary string, args ...string) (*Daemon, error) {
	p, err := h.Start(log, binary, append([]string{"run"}, args...)...)
	if err != nil {
		return nil, err
	}
	return &Daemon{p}, nil
}

// Client talks to the daemon. Its socket is in the host's own /run, which is
// reached through /proc.
func (d *Daemon) Client() *control.Client {
	return control.NewClient(fmt.Sprintf("/proc/%d/root%s", d.PID(), control.DefaultSocket))
}

// Status asks the daemon.
func (d *Daemon) Status() (control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, _, err := d.Client().Status(ctx)
	return status, err
}

// Router is the status of a virtual router, zero when the daemon does not
// answer or has none of that name.
func (d *Daemon) Router(name string) control.Router {
	s, err := d.Status()
	if err != nil {
		return control.Router{}
	}
	i := slices.IndexFunc(s.VRRP, func(r control.Router) bool { return r.Name == name })
	if i < 0 {
		return control.Router{}
	}
	return s.VRRP[i]
}

// End sends a signal to the daemon, waits until it has ended and returns its
// exit code.
func (d *Daemon) End(sig syscall.Signal) (int, error) {
	if err := d.Signal(sig); err != nil {
		return 0, err
	}
	return d.Wait(30 * time.Second)
}

// Eventually waits until a condition holds and returns when that was first seen. It
// looks every 5 ms, and less often where a look takes long itself: what is waited for
// needs the processor too.
func Eventually(what string, limit time.Duration, holds func() bool) (time.Time, error) {
	for deadline := time.Now().Add(limit); ; {
		began := time.Now()
		if holds() {
			return time.Now(), nil
		}
		now := time.Now()
		if now.After(deadline) {
			return time.Time{}, fmt.Errorf("waited %v in vain: %s", limit, what)
		}
		time.Sleep(min(max(5*time.Millisecond, 3*now.Sub(began)), 100*time.Millisecond))
	}
}
