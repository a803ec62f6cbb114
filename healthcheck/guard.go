package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// errPanicked is wrapped by the error of a probe that panicked.
var errPanicked = errors.New("the check itself failed, which is a fault of lvsha")

// guarded prepares a question or asks a server, whatever panics there. What a server
// answered must not end the director: the other one asks the same server.
func guarded[T any](m *Monitor, kind string, do func() (T, error)) (out T, err error) {
	defer func() {
		cause := recover()
		var stack []byte
		place := ""
		var other panicError
		switch {
		case cause != nil:
			stack, place = debug.Stack(), panicPlace()
		case errors.As(err, &other):
			cause, stack, place = other.cause, other.stack, "in a library"
		}
		if cause != nil {
			m.panicked(kind, place, cause, stack)
			err = fmt.Errorf("%w: %s", errPanicked, printable(firstLine(fmt.Sprint(cause))))
		}
	}()
	return do()
}

// askGuarded is ask with every panic made a failure of the probe.
func (m *Monitor) askGuarded(ctx context.Context, ask ProbeFunc, t Target) (Answer, error) {
	return guarded(m, t.Check.Kind(), func() (Answer, error) { return m.ask(ctx, ask, t) })
}

// panicsKept is how many places that panicked are told apart in the log.
const panicsKept = 64

// panicked logs a panic with its stack: once for each place in the program, since a
// server can repeat it with each probe.
func (m *Monitor) panicked(kind, place string, cause any, stack []byte) {
	place = kind + " " + place
	m.panicMu.Lock()
	known := m.panics[place]
	if !known && len(m.panics) < panicsKept {
		m.panics[place] = true
	} else {
		known = true
	}
	m.panicMu.Unlock()
	if !known {
		m.log.Error("a check panicked; its probes count as failed, and a further panic at the same place is not logged",
			"check", kind, "cause", printable(fmt.Sprint(cause)), "stack", string(stack))
	}
}

// panicPlace is the function and line that panicked, as seen by a deferred function.
func panicPlace() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for begun := false; ; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			begun = true
		case begun && !strings.HasPrefix(f.Function, "runtime."):
			return f.Function + ":" + strconv.Itoa(f.Line)
		}
		if !more {
			return ""
		}
	}
}

// panicError is a panic in the goroutine of a library, which brings it to the probe's own.
type panicError struct {
	cause any
	stack []byte
}

func (e panicError) Error() string { return fmt.Sprint(e.cause) }
