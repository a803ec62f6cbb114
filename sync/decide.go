package connsync

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/internal/reconcile"
)

const (
	// DefaultGate is how long a director that starts waits for the connections of a
	// living one before it may take addresses from it.
	DefaultGate = 30 * time.Second
	// retryPull and maxRetryPull bound the time after which a pull that failed, or
	// that changed nothing, is tried again; it doubles.
	retryPull    = 2 * time.Second
	maxRetryPull = 5 * time.Minute
	// lookAgain is when a second look is due at entries that seem to be over.
	lookAgain = 20 * time.Second
	// compareAll is how often whole tables are compared though nothing seems to
	// differ.
	compareAll = 10 * time.Minute
)

// partner is what is known of another director.
type partner struct {
	name      string
	connected bool
	// told is the newest report, and heard whether there is one of this session.
	told  report
	heard bool
	// due is why its table is to be taken over; empty is not to be.
	due string
	// token is what to answer a leaving director with.
	token uint64
	// asks are operators' wishes for it.
	asks []*ask
	// again is when the table is to be compared for the next time, and then why.
	again     time.Time
	againWhy  string
	retry     time.Duration
	notBefore time.Time
	// whole says that its table has been taken over in this session, or that it had
	// none, and looked that extras of it were looked at twice.
	whole, looked bool
	// full are the addresses that are here, and of which all that it has was here once
	// since then: what it has of them and this director has not is over.
	full map[netip.Addr]bool
	// fill is when it is looked whether that is so, after addresses have come here.
	fill time.Time
	// met and turns are its epoch and turns at the end of the last session.
	met   uint64
	turns int
	// quiet is how long counters that differ are no reason, and calm how long that
	// was.
	quiet time.Time
	calm  time.Duration
	// result is that of the last table.
	result *Result
}

// ask is an operator's wish for a partner's table.
type ask struct {
	// compare changes nothing.
	compare bool
	answer  chan Result // of capacity 1
}

// situation is all that decisions are made of.
type situation struct {
	now time.Time
	// behind is when this director began to lack what others may have: it started, or
	// lost another one while it did not serve.
	behind time.Time
	// since is from when on there has been no reason to wait; zero while there is one.
	since    time.Time
	gate     time.Duration
	expected int // other directors that the channel knows
	serving  bool
	serves   []netip.Addr
	whole    bool
	taking   string // the director whose table is being taken over
	problem  string // why none can be
	unready  string // why none can be yet
	partners []*partner
}

// greet says why the table of a partner that has just told of itself is to be taken
// over, or nothing. One that serves nothing, is known and was never without us has
// nothing that a director that serves does not have.
func (s *situation) greet(p *partner) string {
	switch {
	case p.told.Conns == 0:
		return ""
	case !s.serving || !s.whole:
		return "connected"
	case p.told.Serves > 0, p.told.Epoch == p.met && p.told.Turns != p.turns:
		return "it has served meanwhile" // other addresses, or these
	default:
		return ""
	}
}

// next is the partner whose table to take over now, nil for none.
func (s *situation) next() *partner {
	if s.taking != "" || s.problem != "" || s.unready != "" {
		return nil
	}
	var best *partner
	for _, p := range s.partners {
		if !p.able() {
			continue
		}
		if p.due == "" && !p.again.IsZero() && !s.now.Before(p.again) && (!s.serving || p.told.Serves > 0) {
			p.due = p.againWhy
		}
		if !p.fill.IsZero() && !s.now.Before(p.fill) {
			if p.fill = (time.Time{}); p.due == "" && p.lacks(s.serves) {
				p.due = "the addresses came here"
			}
		}
		if (p.due != "" && !s.now.Before(p.notBefore) || p.due == "" && len(p.asks) > 0) && (best == nil || p.before(best)) {
			best = p
		}
	}
	return best
}

// before says whose table is taken over first: that of one that leaves, then of one
// that serves, then of the one with the most.
func (p *partner) before(o *partner) bool {
	switch {
	case (p.token != 0) != (o.token != 0):
		return p.token != 0
	case (p.told.Serves > 0) != (o.told.Serves > 0):
		return p.told.Serves > 0
	default:
		return p.told.Conns > o.told.Conns
	}
}

// able says whether a partner can give its table.
func (p *partner) able() bool {
	return p.connected && p.heard && !p.told.Unready && p.told.Problem == ""
}

// wait says why a living director is to be left its addresses for now, or why not
// any more. Nobody waits with taking over from a dead one.
func (s *situation) wait() (wait, open string) {
	switch {
	case s.expected == 0:
		return "", "there is no other director to take connections over from"
	case s.problem != "":
		return "", s.problem
	case s.now.Sub(s.behind) >= s.gate:
		return "", fmt.Sprintf("it has waited %s for other directors' connections", s.gate)
	case s.unready != "":
		return s.unready, ""
	}
	connected := 0
	var unheard, pending, empty []string
	var whole string    // of one that serves
	var decisive string // one that serves and whose table is to come
	for _, p := range s.partners {
		if !p.connected {
			continue
		}
		connected++
		serves := p.told.Serves > 0
		switch {
		case !p.heard || p.told.Unready:
			unheard = append(unheard, p.name)
		case p.told.Problem != "" || p.told.Conns == 0 || p.told.Waiting && !serves:
			empty = append(empty, p.name)
		case p.whole && serves:
			whole = p.name
		case p.due != "" || s.taking == p.name || serves && !p.whole:
			pending = append(pending, p.name)
			if serves {
				decisive = p.name
			}
		default:
			empty = append(empty, p.name)
		}
	}
	slices.Sort(pending)
	switch {
	case decisive != "":
		return "it takes over the connections of " + decisive + " first", ""
	case whole != "":
		return "", "it has the connections of " + whole
	case len(pending) > 0:
		return "it takes over the connections of " + strings.Join(pending, ", ") + " first", ""
	case len(unheard) > 0:
		return "it waits for " + strings.Join(unheard, ", ") + " to tell of its connections", ""
	case connected < s.expected:
		return "it waits for other directors to tell of their connections", ""
	default:
		return "", strings.Join(empty, ", ") + " has no other connections to give"
	}
}

// opened takes notice whether there is no reason to wait.
func (s *situation) opened(open bool) {
	switch {
	case !open:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = s.now
	}
}

// fallBehind begins to wait anew, if there was no reason to wait for so long as the gate
// lasts: a channel that comes and goes must not keep it closed for ever.
func (s *situation) fallBehind(now time.Time) {
	if !s.since.IsZero() && now.Sub(s.since) >= s.gate {
		s.behind = now
	}
}

// ended takes in what became of taking a partner's table over.
func (s *situation) ended(p *partner, r Result, token uint64) {
	p.result = &r
	switch {
	case r.Problem != "":
		p.retry = reconcile.Backoff(p.retry, retryPull, maxRetryPull)
		p.notBefore = s.now.Add(p.retry)
		if p.due == "" {
			p.due, p.token = r.Why, max(p.token, token)
		}
		return
	case r.Missing > 0 || r.Wrong > 0:
		p.retry = reconcile.Backoff(p.retry, retryPull, maxRetryPull)
		p.again, p.againWhy = s.now.Add(p.retry), "entries were missing"
	case r.Extra > r.Offered && !p.whole && !p.looked:
		// They would be the truth once the addresses are here: look again before.
		p.looked = true
		p.again, p.againWhy = s.now.Add(retryPull), "a second look at entries that are over"
		return
	case r.Extra > 0:
		p.retry = reconcile.Backoff(p.retry, lookAgain, compareAll)
		p.again, p.againWhy = s.now.Add(p.retry), "a second look at entries that are over"
	default:
		p.retry = 0
		p.again, p.againWhy = s.now.Add(compareAll), "it is time to compare again"
	}
	if r.Missing+r.Wrong+r.Unknown == 0 {
		p.gave(s.serves, r.serves)
	}
	p.whole, s.whole = true, true
}
