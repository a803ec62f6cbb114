package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrInconclusive is wrapped by the error of a probe that failed on this
// machine before it reached the server.
var ErrInconclusive = errors.New("nothing learned about the server")

// ErrTimeout is wrapped by the error of a probe that ran into its deadline.
var ErrTimeout = errors.New("timeout")

// whileConnecting is what a probe does before anything is heard from the server.
const whileConnecting = "connecting"

// timeoutError says how long was waited and what for.
type timeoutError struct {
	after time.Duration
	doing string
	// heard is what was heard instead of what was waited for; empty is nothing.
	heard string
	// silent is whether nothing had been heard from the server.
	silent bool
}

func (e *timeoutError) Error() string {
	if e.heard != "" {
		return fmt.Sprintf("timeout after %v while %s: %s", e.after, e.doing, e.heard)
	}
	return fmt.Sprintf("timeout after %v while %s", e.after, e.doing)
}
func (e *timeoutError) Is(target error) bool { return target == ErrTimeout }

// isTimeout reports whether err is the doing of the probe's own deadline. A
// kernel's ETIMEDOUT is not: it is the server's.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// dialer connects without keep-alive probes: no connection lives long enough.
var dialer = net.Dialer{KeepAlive: -1}

// octetLimit bounds, in bytes, what is read of a server within one probe, with all that
// TLS adds to it.
const octetLimit = 1 << 20

// dial connects to the target's server, along its path. All that is done on the
// connection ends with ctx, or after octetLimit bytes. The error is ready to be shown.
func (t Target) dial(ctx context.Context, network string) (net.Conn, error) {
	return t.dialFor(ctx, network, octetLimit)
}

// dialFor is dial with another limit.
func (t Target) dialFor(ctx context.Context, network string, limit int) (net.Conn, error) {
	d, err := t.dialer(network)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, t.address().String())
	if err != nil {
		return nil, dialError(err, t)
	}
	return bound(ctx, conn, limit), nil
}

// bound ends whatever is done on a connection when ctx ends, and reading after limit bytes.
func bound(ctx context.Context, conn net.Conn, limit int) net.Conn {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline) // fails on a closed connection only
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return &boundConn{Conn: conn, stop: stop, left: limit}
}

type boundConn struct {
	net.Conn
	stop func() bool
	left int // bytes that may still be read
}

// Read is part of net.Conn.
func (c *boundConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left -= n; c.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// dialError makes a reason of what net.Dialer returned.
func dialError(err error, t Target) error {
	if isTimeout(err) {
		return &timeoutError{after: t.Check.Timeout, doing: whileConnecting, silent: true}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refusedError{}
	}
	return ownFault(err)
}

// refusedError is of a port where nobody listens.
type refusedError struct{}

func (refusedError) Error() string { return "connect: refused" }
func (refusedError) Unwrap() error { return syscall.ECONNREFUSED }

// failure makes a reason of what went wrong on a connection while doing
// something, such as "waiting for the greeting". Errors that are reasons already
// stay.
func (t Target) failure(err error, doing string) error {
	var (
		op     *net.OpError
		record tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrInconclusive):
		return err
	case isTimeout(err):
		return &timeoutError{after: t.Check.Timeout, doing: doing, silent: doing == whileConnecting}
	case errors.As(err, &record):
		return errors.New("answer is not TLS")
	case errors.As(err, &op) && op.Op == "dial":
		return dialError(err, t)
	case errors.As(err, &op):
		return fmt.Errorf("connection lost while %s: %w", doing, innermost(err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("connection closed while %s", doing)
	}
	return ownFault(err)
}

// innermost is the error at the bottom of a chain.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// silent reports whether a failure came without a sign of life from the server:
// then it may be the way there, or this machine, that is at fault.
func silent(err error) bool {
	var late *timeoutError
	if errors.As(err, &late) {
		return late.silent
	}
	for _, errno := range unreachable {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// unreachable are the errors of a way that leads nowhere.
var unreachable = []syscall.Errno{
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ETIMEDOUT, syscall.ENODEV,
}

// ownFault marks the errors that this machine and not the server is to blame
// for: no descriptors, memory, processes or local ports.
func ownFault(err error) error {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EADDRNOTAVAIL, syscall.ENOSPC, syscall.EADDRINUSE,
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrInconclusive, err)
		}
	}
	return err
}
