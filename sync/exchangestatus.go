package connsync

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ExchangeStatus is how the exchange of connections stands, at one moment.
type ExchangeStatus struct {
	// State is "off: …", "failing: …", "alone: …", "waiting: …", "taking over: …",
	// "differs: …" or "in sync".
	State string
	// Waiting is why a living director is left its addresses; see Exchange.Waiting.
	Waiting string
	// Problems are what a person should look at.
	Problems  []string
	Transport Transport
	Partners  []PartnerStatus
	// Heard are live records of this machine's own kernel, Gaps how often some of
	// them were lost, and Shadow how many entries they add up to; zero with
	// multicast.
	Heard, Gaps uint64
	Shadow      int
	// Queue is the memory that waited in the backup daemon's socket when it was
	// last looked at, in octets, and Dropped how many messages it has dropped.
	Queue   int
	Dropped uint64
}

// PartnerStatus is another director.
type PartnerStatus struct {
	Name      string
	Connected bool
	// Conns and Serves are what it last told of itself.
	Conns  int
	Serves int
	// Heard says that it has told of itself.
	Heard bool
	// Waiting says that it waits for connections itself.
	Waiting bool
	// SamePool says that it has the same services and servers.
	SamePool bool
	// Last is what became of the last time that its table was taken over; nil for
	// never.
	Last *Result
	// Received and Sent are live records.
	Received, Sent uint64
	// Taking and Of are how far its table is taken over now.
	Taking, Of int
}

// Snapshot returns the present status.
func (e *Exchange) Snapshot() ExchangeStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := ExchangeStatus{Waiting: e.lastWait, Transport: e.cfg.Transport, Heard: e.relay.heard, Gaps: e.relay.gaps, Queue: e.waiting, Dropped: e.dropped}
	if e.shadow != nil {
		out.Shadow = e.shadow.Len()
	}
	for _, what := range slices.Sorted(maps.Keys(e.troubles)) {
		out.Problems = append(out.Problems, e.troubles[what])
	}
	if e.version0 {
		out.Problems = append(out.Problems, ErrVersion0.Error())
	}
	if e.unknown > 0 {
		out.Problems = append(out.Problems, fmt.Sprintf("%d connections cannot be handed over, because their service cannot be told: %s", e.unknown, whyUnknown))
	}
	for _, p := range e.s.partners {
		row := PartnerStatus{
			Name: p.name, Connected: p.connected, Conns: p.told.Conns, Serves: p.told.Serves, Waiting: p.told.Waiting,
			SamePool: p.heard && p.told.Pool == e.poolHash, Heard: p.heard, Last: p.result,
		}
		if s := e.sessions[p.name]; s != nil {
			row.Received, row.Sent = s.received, s.sent
		}
		if t := e.taking; t != nil && t.session.partner == p {
			row.Taking, row.Of = t.received, t.total
		}
		if p.connected && p.heard && p.told.Transport != e.cfg.Transport && e.s.problem == "" && p.told.Problem == "" {
			out.Problems = append(out.Problems, fmt.Sprintf("%s synchronises by %s, this director by %s: no new connection reaches the other", p.name, p.told.Transport, e.cfg.Transport))
		}
		out.Partners = append(out.Partners, row)
	}
	slices.SortFunc(out.Partners, func(a, b PartnerStatus) int { return strings.Compare(a.Name, b.Name) })
	out.State = e.state(out)
	return out
}

// whyUnknown is why the service of a connection cannot be told.
const whyUnknown = "the server is in several services by a firewall mark that somebody else sets, or has been removed from its service"

func (e *Exchange) state(s ExchangeStatus) string {
	connected := 0
	for _, p := range s.Partners {
		switch {
		case p.Of > 0:
			return fmt.Sprintf("taking over: %d of %d entries of %s", p.Taking, p.Of, p.Name)
		case p.Connected:
			connected++
		}
	}
	switch {
	case e.s.problem != "":
		return "off: " + e.s.problem
	case len(e.troubles) > 0:
		return "failing: " + e.troubles[slices.Min(slices.Collect(maps.Keys(e.troubles)))]
	case s.Waiting != "":
		return "waiting: " + s.Waiting
	case connected == 0:
		return "alone: no other director is connected"
	}
	for _, p := range s.Partners {
		switch r := p.Last; {
		case !p.Connected || r == nil:
		case r.Problem != "":
			return fmt.Sprintf("failing: taking the connections of %s over: %s", p.Name, r.Problem)
		case r.Missing > 0 || r.Wrong > 0:
			return fmt.Sprintf("differs: of the connections of %s %d are missing and %d on another server", p.Name, r.Missing, r.Wrong)
		case r.Unbound > 0:
			return fmt.Sprintf("differs: %d connections of %s are to servers that the services here do not have", r.Unbound, p.Name)
		case r.Unknown > 0:
			return fmt.Sprintf("differs: %d connections of %s are not handed over, because it cannot tell their service: %s", r.Unknown, p.Name, whyUnknown)
		}
	}
	return "in sync"
}

// Verified is when a partner's table was last found to be here, zero for never.
func (s PartnerStatus) Verified() time.Time {
	if s.Last == nil || s.Last.Problem != "" || s.Last.Missing > 0 || s.Last.Wrong > 0 {
		return time.Time{}
	}
	return s.Last.Began.Add(s.Last.Waiting + s.Last.Taking + s.Last.Looking)
}
