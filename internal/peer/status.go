package peer

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Status is what is known of the channel.
type Status struct {
	// Pin is our own; zero without a key, and then there is nothing else.
	Pin   Pin
	Epoch string
	// Problem is why there is no channel although there is a key.
	Problem string
	// Listeners are our own addresses, and what keeps them from listening.
	Listeners []ListenerStatus
	// Refused counts connections that were closed before there was a session.
	Refused map[Refusal]uint64
	// Peers are the other directors, sorted by name.
	Peers []PeerStatus
}

// ListenerStatus is an address of our own.
type ListenerStatus struct {
	Address netip.AddrPort
	// Problem is why it does not listen.
	Problem string
}

// PeerStatus is another director.
type PeerStatus struct {
	Name string
	// Keyed is whether the file has its key.
	Keyed     bool
	Connected bool
	// Left reports that the last session ended with the director's own word that it
	// gave everything up; a restart is not that.
	Left bool
	// Since is when the session began, or ended, or the first attempt.
	Since time.Time
	// Problem is why there is no session, in words; Urgent is that it does not go
	// away by itself.
	Problem string
	Urgent  bool
	// Remote is where the session goes; Hello how the director introduced itself.
	Remote netip.AddrPort
	Dialed bool
	Hello  Hello
	// Heard is when something was read last.
	Heard time.Time
	Counters
	// Sessions have begun; Restarts of the other process have been seen; WrongKeys
	// were refused by either end; Failed handshakes are all that failed.
	Sessions, Restarts, WrongKeys, Failed uint64
}

// Snapshot is the status of everything.
func (c *Channel) Snapshot() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Pin: c.pin, Epoch: c.epoch, Problem: c.problem, Refused: maps.Clone(c.refused)}
	for at, l := range c.listeners {
		s.Listeners = append(s.Listeners, ListenerStatus{Address: at, Problem: l.problem})
	}
	slices.SortFunc(s.Listeners, func(a, b ListenerStatus) int { return a.Address.Compare(b.Address) })
	for _, l := range c.links {
		p := PeerStatus{
			Name: l.peer.Name, Keyed: !l.peer.Pin.IsZero(), Since: l.since, Problem: l.problem, Urgent: l.urgent, Left: l.left, Counters: l.count.Counters,
			Sessions: l.count.sessions, Restarts: l.count.restarts, WrongKeys: l.count.wrongKeys, Failed: l.count.failed,
		}
		if session := l.session; session != nil {
			p.Connected, p.Remote, p.Dialed, p.Hello = true, session.remote, session.dialed, session.Hello()
			p.Counters.add(session.counters())
			p.Heard = time.Unix(0, session.raw.heard.Load())
		}
		s.Peers = append(s.Peers, p)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// counters are the session's so far.
func (s *Session) counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// file is the peer's.
func (s *Session) file() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hello.File
}
