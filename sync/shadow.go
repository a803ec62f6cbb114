package connsync

import (
	"iter"
	"time"
)

// Shadow is the connection table as the stream of sync records tells it. It is
// there because the kernel's own listing takes time in the square of the entries: 10
// seconds and more for 100,000.
//
// The kernel says when a connection comes, changes its state and, now and then,
// that it goes on; it says nothing when one runs out. So entries run out here as
// they do there, by their timeout, with Slack for the time between two records of
// a connection that goes on (net.ipv4.vs.sync_refresh_period). It is not safe for
// concurrent use.
type Shadow struct {
	// Slack is how much longer an entry is kept than its timeout.
	Slack   time.Duration
	entries map[ConnKey]shadowed
	swept   time.Time
}

type shadowed struct {
	record Record
	until  time.Time
	// seeded is an entry of a listing, which no record has confirmed, and unfit one that
	// cannot be handed over because of what is not known of it.
	seeded, unfit bool
}

// NewShadow returns an empty shadow.
func NewShadow(slack time.Duration) *Shadow {
	return &Shadow{Slack: slack, entries: make(map[ConnKey]shadowed)}
}

// sweepEvery is how often entries that have run out are looked for.
const sweepEvery = 5 * time.Second

// Take takes a record in that the kernel sent or was given.
func (s *Shadow) Take(now time.Time, r Record) {
	r.Key.Template = r.Flags&Template != 0
	s.put(now, r)
	s.sweep(now)
}

// Seed takes an entry in from a listing, with the time it has left, unless a record
// has told of it already. why is fit for one that can be handed over.
func (s *Shadow) Seed(now time.Time, r Record, left time.Duration, why unfit) {
	if old, known := s.entries[r.Key]; known && !old.seeded && old.until.After(now) {
		return
	}
	if !r.Key.ending(r.State) {
		left += s.Slack
	}
	s.entries[r.Key] = shadowed{record: r, until: now.Add(left), seeded: true, unfit: why != fit}
}

func (s *Shadow) put(now time.Time, r Record) {
	if r.Timeout == goneTimeout {
		delete(s.entries, r.Key)
		return
	}
	timeout := time.Duration(r.Timeout) * time.Second
	if timeout == 0 {
		timeout = defaultTimeout(r.Key, r.State)
	}
	if !r.Key.ending(r.State) {
		timeout += s.Slack
	}
	s.entries[r.Key] = shadowed{record: r, until: now.Add(timeout)}
}

// sweep removes what has run out, now and then.
func (s *Shadow) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for k, e := range s.entries {
		if !e.until.After(now) {
			delete(s.entries, k)
		}
	}
}

// Len is how many entries there are, some of which may have run out a moment ago.
func (s *Shadow) Len() int { return len(s.entries) }

// Has reports whether an entry is there.
func (s *Shadow) Has(now time.Time, k ConnKey) bool {
	e, ok := s.entries[k]
	return ok && e.until.After(now)
}

// Told returns the last record that the kernel sent of an entry, or was given, nil for
// none.
func (s *Shadow) Told(now time.Time, k ConnKey) *Record {
	if e, ok := s.entries[k]; ok && !e.seeded && e.until.After(now) {
		return &e.record
	}
	return nil
}

// Refit looks again whether the entries of which too little was known can be handed over:
// the services may have come since.
func (s *Shadow) Refit(now time.Time, p *Pool) {
	for k, e := range s.entries {
		left := e.until.Sub(now)
		if !e.unfit || left <= 0 {
			continue
		}
		r, why := p.Record(Conn{Key: k, Server: e.record.Server, State: e.record.State, Expires: uint32(left / time.Second)}, nil)
		if why == fit {
			r.Options = e.record.Options
			e.record, e.unfit = r, false
			s.entries[k] = e
		}
	}
}

// Unfit counts the entries of which too little is known to hand them over.
func (s *Shadow) Unfit(now time.Time) (n int) {
	for _, e := range s.entries {
		if e.unfit && e.until.After(now) {
			n++
		}
	}
	return n
}

// Left yields the records worth handing over, in no order, with the time they have
// left as timeout: what does not go on need not live longer there than here, and of
// what does the kernel will tell. The timeout of a template is what its timer is
// always set to, and stays.
func (s *Shadow) Left(now time.Time) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for k, e := range s.entries {
			left := e.until.Sub(now)
			if left <= 0 || e.unfit || k.passing(e.record.State) {
				continue
			}
			e.record.withLeft(s.timer(k, &e, now))
			if !k.Template {
				e.record.Timeout = uint32(left/time.Second) + 1
			}
			if !yield(e.record) {
				return
			}
		}
	}
}

// timer is what the timer of an entry has left, in seconds.
func (s *Shadow) timer(k ConnKey, e *shadowed, now time.Time) uint32 {
	left := e.until.Sub(now)
	if !k.ending(e.record.State) {
		left -= s.Slack
	}
	return uint32(max(left, 0) / time.Second)
}

// conns are all entries, those that are not worth handing over too.
func (s *Shadow) conns(now time.Time) map[ConnKey]ownConn {
	out := make(map[ConnKey]ownConn, len(s.entries))
	for k, e := range s.entries {
		if e.until.After(now) {
			out[k] = ownConn{e.record.Server, ageOf(k, e.record.State, s.timer(k, &e, now))}
		}
	}
	return out
}

// defaultTimeout is the kernel's default of a state (tcp_timeouts, udp_timeouts,
// sctp_timeouts), for a record that names none.
func defaultTimeout(k ConnKey, state uint16) time.Duration {
	switch {
	case k.Template:
		return 3 * time.Minute
	case k.Protocol == protocolTCP:
		switch state {
		case tcpEstablished:
			return 15 * time.Minute
		case tcpClose:
			return 10 * time.Second
		case tcpLastAck:
			return 30 * time.Second
		case tcpSynRecv, tcpSynAck, 7: // CLOSE_WAIT
			return time.Minute
		default:
			return 2 * time.Minute
		}
	case k.Protocol == protocolSCTP:
		if state == sctpEstablished {
			return 15 * time.Minute
		}
		return time.Minute
	default:
		return 5 * time.Minute
	}
}
