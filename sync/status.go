package connsync

import (
	"errors"
	"syscall"
	"time"
)

// Status is what a reconciler knows, at one moment. Its slices are shared and
// must not be written to.
type Status struct {
	// State is one of "starting", "off" (nothing is wanted), "running",
	// "released" (after Flush), "waiting: …" (no IPVS or no interface, with what
	// is missing) and "failing: …".
	State string
	// Error has every present problem in words, one per line; empty if none.
	Error string
	// Interface and ID are those of the wanted daemons, or of those that run.
	Interface string
	// ID is the sync group; zero if there is none.
	ID uint8
	// Daemons are those that run, "master" before "backup".
	Daemons []string
	// Running are the daemons that run, in full, the backup first.
	Running []Daemon
	// Generation is the newest Desired.Generation that was carried out, as far as
	// it could be.
	Generation uint64
	// Starts counts the daemons that were started, Drift those among them that
	// somebody else had stopped or started otherwise.
	Starts, Drift uint64
	// Looked is when the kernel was last asked.
	Looked time.Time
}

// stateFor words a problem: some end by themselves when what is missing comes.
func stateFor(err error) string {
	if errors.Is(err, ErrNoIPVS) || errors.Is(err, syscall.ENODEV) {
		return "waiting: " + firstLine(err)
	}
	return "failing: " + firstLine(err)
}
