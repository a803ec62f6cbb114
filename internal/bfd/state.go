package bfd

import "fmt"

// State is the state of a session (RFC 5880 section 4.1).
type State uint8

// The states, with the values they have on the wire.
const (
	// AdminDown is held down by its operator; it says nothing about the path.
	AdminDown State = iota
	// Down has no contact, or does not know yet whether it is two-way.
	Down
	// Init hears the peer, which does not say yet that it hears us.
	Init
	// Up has contact in both directions.
	Up
)

// String is the state in the words of RFC 5880.
func (s State) String() string {
	switch s {
	case AdminDown:
		return "AdminDown"
	case Down:
		return "Down"
	case Init:
		return "Init"
	case Up:
		return "Up"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Diag is why a session changed its state last (RFC 5880 section 4.1).
type Diag uint8

// The diagnostics, with the values they have on the wire.
const (
	DiagNone Diag = iota
	// DiagExpired: nothing was heard for the detection time.
	DiagExpired
	DiagEchoFailed
	// DiagNeighborDown: the peer signalled that the session is down.
	DiagNeighborDown
	DiagForwardingReset
	// DiagPathDown: something else knows that the path is gone.
	DiagPathDown
	DiagConcatenatedPathDown
	// DiagAdminDown: an operator, or the end of the process.
	DiagAdminDown
	DiagReverseConcatenatedPathDown
)

// String is the diagnostic in words.
func (d Diag) String() string {
	words := [...]string{
		"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
	}
	if int(d) < len(words) {
		return words[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}
