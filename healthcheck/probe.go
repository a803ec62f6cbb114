package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// ProbeFunc asks a server once. It returns within ctx, holds nothing
// afterwards, and says what it saw: detail is the reason for success ("status
// 200"), err the reason for failure. An error that is ErrInconclusive is
// neither.
type ProbeFunc func(ctx context.Context, t Target) (detail string, err error)

// Kind is one way to probe.
type Kind struct {
	Probe ProbeFunc
	// Limit bounds the probes of this kind in flight; those above it wait their
	// turn and are counted late. Zero means defaultLimit.
	Limit int
}

const (
	// defaultLimit allows a few thousand black holes before one kind of check
	// falls behind, at some 20 KiB each.
	defaultLimit = 4096
	// execLimit is lower because each is a process.
	execLimit = 64
)

// kinds is the registry. A new kind is one file and one line here.
func kinds() map[string]Kind {
	return map[string]Kind{
		KindTCP:   {Probe: probeTCP},
		KindHTTP:  {Probe: probeHTTP},
		KindHTTPS: {Probe: probeHTTP},
		KindExec:  {Probe: probeExec, Limit: execLimit},
		KindPing:  {Probe: probePing},
	}
}

// Kinds are the names of the kinds of check, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }

// ErrInconclusive is wrapped by the error of a probe that failed on this
// machine before it reached the server.
var ErrInconclusive = errors.New("nothing learned about the server")

// ErrTimeout is wrapped by the error of a probe that ran into its deadline.
var ErrTimeout = errors.New("timeout")

// timeoutError says how long was waited and what for.
type timeoutError struct {
	after time.Duration
	doing string
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("timeout after %v while %s", e.after, e.doing)
}
func (e *timeoutError) Is(target error) bool { return target == ErrTimeout }

// isTimeout reports whether err is the doing of the probe's own deadline. A
// kernel's ETIMEDOUT is not: it is the server's.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// dialError makes a reason of what net.Dialer returned.
func dialError(err error, t Target) error {
	if isTimeout(err) {
		return &timeoutError{after: t.Check.Timeout, doing: "connecting"}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return ownFault(err)
}

// ownFault marks the errors that this machine and not the server is to blame
// for: no descriptors, memory, processes or local ports.
func ownFault(err error) error {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrInconclusive, err)
		}
	}
	return err
}
