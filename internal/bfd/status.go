package bfd

import (
	"maps"
	"time"
)

// Status is what operators see of a session.
type Status struct {
	Key   Key
	State State
	// Since is when the state began, Reason says why.
	Since  time.Time
	Reason string
	Diag   Diag
	// Watched says that we want the session ourselves; otherwise it is the peer's
	// wish.
	Watched bool
	// Local and Remote are the discriminators; Remote is 0 while it is not known.
	Local, Remote uint32
	// RemoteState and RemoteDiag are what the peer said last.
	RemoteState State
	RemoteDiag  Diag
	// Transmission is how often packets are sent, 0 for not at all, and Detection
	// how long nothing may be heard, 0 while nothing was.
	Transmission, Detection time.Duration
	// Polling says that values changed and the peer has not answered yet.
	Polling bool
	// Problem is why packets cannot be sent; empty when they can.
	Problem  string
	Counters Counters
}

// Counters are what a session counted so far.
type Counters struct {
	Sent, Received uint64
	// Ups and Downs are how often it became Up and left Up.
	Ups, Downs uint64
	// Voided are ends of the detection time that were our own fault.
	Voided uint64
	// FalseAlarms are deaths of a peer whose very process was back.
	FalseAlarms uint64
	// Dropped are packets of the session that were not used, by reason.
	Dropped map[Reason]uint64
}

func (c *Counters) drop(r Reason) {
	if c.Dropped == nil {
		c.Dropped = make(map[Reason]uint64)
	}
	c.Dropped[r]++
}

// Status is the session as operators see it.
func (s *Session) Status() Status {
	out := Status{
		Key: s.key, State: s.state, Since: s.since, Reason: s.reason, Diag: s.diag,
		Local: s.local, Remote: s.remote.discriminator, RemoteState: s.remote.state, RemoteDiag: s.remote.diag,
		Transmission: s.transmission(), Detection: s.detection(), Polling: s.poll, Counters: s.counters,
	}
	out.Counters.Dropped = maps.Clone(s.counters.Dropped)
	return out
}
