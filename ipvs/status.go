package ipvs

import (
	"errors"
	"fmt"
	"time"
)

// Status is what a reconciler knows, at one moment. Its slices are shared and
// must not be written to.
type Status struct {
	// State is one of "starting", "off" (no service is wanted or ours), "ok", "released" (after Flush), "waiting: …"
	// (no IPVS, with what to do), "failing: …" (the kernel cannot be read) and
	// "degraded: …" (some changes fail; the others are made).
	State string
	// Error has every present problem in words, one per line; empty if none.
	Error string
	// Listed says that the kernel's table has been read, so that Services and
	// Foreign mean something.
	Listed bool
	// Generation is the newest Desired.Generation that was carried out, as far as
	// it could be.
	Generation uint64
	// Services are those in the kernel that are wanted or ours, sorted by key,
	// with the connection counters of the last look.
	Services []Service
	// Foreign are the other services in the kernel. They are left alone.
	Foreign []Service
	// Drifted are the differences from what is wanted that others have made and that stay
	// (see Desired.Respected), in words.
	Drifted []string
	// Looked is when the kernel's table was last read.
	Looked time.Time
	// Interval is the time to the next look. It grows with the cost of one.
	Interval time.Duration
	// Changes counts the changes made to the kernel.
	Changes uint64
	// Drift counts those among them that put back what somebody else had changed.
	Drift uint64
}

// Result is the outcome of one pass that carried out a generation, changed
// something, or met a new problem.
type Result struct {
	// Generation is that of the desired table the pass worked for.
	Generation uint64
	// Changes are those that were made.
	Changes Plan
	// Drift says that the changes put back what somebody else had changed.
	Drift bool
	// Err has every problem that is left, or is nil.
	Err error
}

// first words errors for Status.State: the first, and how many more.
func first(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	return fmt.Sprintf("%v (and %d more)", errs[0], len(errs)-1)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// stateFor words the failure to open or read the kernel.
func stateFor(err error) string {
	if errors.Is(err, ErrNoIPVS) {
		return "waiting: " + err.Error()
	}
	return "failing: " + err.Error()
}
