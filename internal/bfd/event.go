package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Key is what a session is between.
type Key struct {
	// Interface is the one that both are on: a session is over a single hop.
	Interface string
	// Local is our own address on it, never a virtual one, and Peer the other's.
	Local, Peer netip.Addr
}

// String is the key in words.
func (k Key) String() string { return fmt.Sprintf("%s to %s on %s", k.Local, k.Peer, k.Interface) }

// Params are what a session negotiates with.
type Params struct {
	// Interval is how often packets are sent and expected at most, in whole
	// microseconds; the slower end of a session decides.
	Interval time.Duration
	// Multiplier is after how many missing packets the peer takes us for dead, 1
	// to 255.
	Multiplier uint8
}

// slowest is how often a session sends at most that is not Up (RFC 5880 section
// 6.8.3).
const slowest = time.Second

// Event is what a session is told.
type Event interface {
	fmt.Stringer
	event()
}

// Received is a packet of the session. The session keeps nothing of it.
type Received struct {
	// At is when the kernel received it, at or before now.
	At     time.Time
	Packet *Packet
}

// Tick says that the Deadline may have come.
type Tick struct{}

// Reconfigure changes what the session negotiates with, without ending it.
type Reconfigure struct{ Params Params }

// Disable ends the session on our side: the peer is told that this says nothing
// about the path. Another one tells it again.
type Disable struct{}

func (Received) event()    {}
func (Tick) event()        {}
func (Reconfigure) event() {}
func (Disable) event()     {}

func (e Received) String() string { return "received " + e.Packet.String() }
func (Tick) String() string       { return "tick" }
func (e Reconfigure) String() string {
	return fmt.Sprintf("reconfigure to %d times %s", e.Params.Multiplier, e.Params.Interval)
}
func (Disable) String() string { return "disable" }

// Action is what a session wants done, in the order given.
type Action interface {
	fmt.Stringer
	action()
}

// Send is a packet to be sent now.
type Send struct{ Packet Packet }

// Transition is a change of state.
type Transition struct {
	Key      Key
	From, To State
	// Diag is the session's own diagnostic.
	Diag Diag
	// Reason is for operators, and does not repeat the state.
	Reason string
	At     time.Time
	// Doubted says that the session raised a false alarm lately: the very process
	// that was taken for dead was back.
	Doubted bool
}

// Failed says that the peer, or the path to it, died: what is administrative or
// was announced by the peer says nothing about forwarding (BFD-VR-01, BFD-VR-02),
// and whoever cries wolf is left to VRRP's own timers.
func (a Transition) Failed() bool {
	return a.From == Up && a.To == Down && (a.Diag == DiagExpired || a.Diag == DiagPathDown) && !a.Doubted
}

// Voided is an end of the detection time that was not believed, as this process
// itself had not run for Late.
type Voided struct {
	Key  Key
	Late time.Duration
	At   time.Time
}

func (Send) action()       {}
func (Transition) action() {}
func (Voided) action()     {}

func (a Send) String() string       { return "send " + a.Packet.String() }
func (a Transition) String() string { return fmt.Sprintf("%s -> %s: %s", a.From, a.To, a.Reason) }
func (a Voided) String() string     { return fmt.Sprintf("ran %s late, listening once more", a.Late) }
