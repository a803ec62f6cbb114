package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// dialTimeout bounds one attempt, and the pauses between them grow from
	// minPause to maxPause: together, a director of two addresses that can be
	// reached again is found within 2 s.
	dialTimeout = 600 * time.Millisecond
	minPause    = 100 * time.Millisecond
	maxPause    = 500 * time.Millisecond
	// secondPause is how long the second of two waits for the first to dial.
	secondPause = 3 * time.Second
	// handshakeTimeout bounds all that comes before a session.
	handshakeTimeout = 5 * time.Second
	// tellAfter is how long there is no session before anybody is told why: a
	// restart is over sooner.
	tellAfter = 3 * time.Second
)

var (
	errReplaced = errors.New("a newer connection took the place of this one")
	errCrossed  = errors.New("a connection in the other direction is there")
)

// link is another director, with a session or on the way to one.
type link struct {
	peer   Peer
	ctx    context.Context
	cancel context.CancelFunc
	why    string          // it was cancelled
	before <-chan struct{} // of the same name; closed when that has ended
	ended  chan struct{}   // closed when it has ended

	// taking is held while a session takes the place of another.
	taking sync.Mutex

	// What follows is guarded by Channel.mu.
	session *Session
	since   time.Time // of the session, or of its absence
	problem string
	urgent  bool // the problem does not go away by itself
	left    bool // the last session ended with the word that the director has stopped
	told    map[string]bool
	epoch   string // of the last session
	count   linkCounters
	ready   chan struct{} // closed and replaced when a session begins or ends
}

type linkCounters struct {
	Counters
	sessions, restarts, wrongKeys, failed uint64
}

// newLink makes a link, which begins when the one of the same name has ended.
func newLink(ctx context.Context, p Peer, old *link) *link {
	l := &link{peer: p, ended: make(chan struct{}), ready: make(chan struct{}), since: time.Now(), told: make(map[string]bool)}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.problem = "not connected yet"
	if old != nil {
		l.before, l.epoch, l.count = old.ended, old.epoch, old.count
	}
	if p.Pin.IsZero() {
		l.problem = "no key in the file"
	}
	return l
}

// keep dials whenever there is no session, until the link is cancelled.
func (c *Channel) keep(l *link) {
	defer close(l.ended)
	if l.before != nil {
		<-l.before
	}
	if l.peer.Pin.IsZero() {
		return
	}
	pause := time.Duration(0)
	for l.ctx.Err() == nil {
		c.mu.Lock()
		session, ready, since := l.session, l.ready, l.since
		first := c.first(l.peer.Pin)
		c.mu.Unlock()
		if session != nil {
			pause = 0
			select {
			case <-session.ended:
			case <-l.ctx.Done():
			}
			continue
		}
		wait := jitter(pause)
		if !first {
			wait = max(wait, jitter(secondPause), time.Until(since.Add(secondPause)))
		}
		pause = min(max(2*pause, minPause), maxPause)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			if c.dial(l) {
				pause = 0
			}
		case <-ready:
		case <-l.ctx.Done():
		}
		timer.Stop()
	}
	// Whoever is taking the link now sees that it is cancelled.
	l.taking.Lock()
	c.mu.Lock()
	session := l.session
	c.mu.Unlock()
	l.taking.Unlock()
	if session != nil {
		<-session.ended
	}
}

// jitter is a time between half of d and d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d/2 + rand.N(d/2+1)
}

// dial tries the addresses of the director, one after the other, and holds the
// session with the first that answers. It says whether that was one to be proud of.
func (c *Channel) dial(l *link) (lasted bool) {
	c.mu.Lock()
	own := c.cfg.Addresses
	c.mu.Unlock()
	var found, why []string
	said := false // why an address that answered will not do
	for _, a := range l.peer.Addresses {
		i := slices.IndexFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
		if i < 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
		conn, err := c.opt.Network.Dial(ctx, own[i], netip.AddrPortFrom(a, l.peer.Port))
		cancel()
		if err != nil {
			found, why = append(found, fmt.Sprintf("%s: %s", a, reason(err))), append(why, reason(err))
			continue
		}
		raw := &lively{Conn: conn}
		_, s, err := c.handshake(l.ctx, raw, l)
		if err != nil {
			raw.Close()
			c.failed(l, a, err)
			if l.ctx.Err() != nil {
				return false
			}
			said = true
			continue
		}
		began := time.Now()
		c.hold(l, s)
		return time.Since(began) > time.Second
	}
	if l.ctx.Err() != nil || said {
		return false
	}
	switch {
	case len(l.peer.Addresses) == 0:
		c.trouble(l, "the file has no address of it", true)
	case len(found) == 0:
		c.trouble(l, "the file has no address of a family that both directors have", true)
	case len(found) == 1:
		c.trouble(l, why[0], false)
	default:
		c.trouble(l, strings.Join(found, ", "), false)
	}
	return false
}

// failed keeps why a handshake failed.
func (c *Channel) failed(l *link, from netip.Addr, err error) {
	if l.ctx.Err() != nil {
		return
	}
	text, wrong := said(err)
	c.mu.Lock()
	l.count.failed++
	if wrong {
		l.count.wrongKeys++
	}
	c.mu.Unlock()
	if wrong {
		text = fmt.Sprintf("%s (%s) %s", l.peer.Name, from, text)
	}
	c.trouble(l, text, wrong)
}

// trouble keeps why there is no session, and tells each thing once.
func (c *Channel) trouble(l *link, text string, urgent bool) {
	now := time.Now()
	c.mu.Lock()
	if l.session != nil {
		c.mu.Unlock()
		return
	}
	l.problem, l.urgent = text, urgent
	tell := !l.told[text] && len(l.told) < 8 && (urgent || now.Sub(l.since) >= tellAfter)
	if tell {
		l.told[text] = true
	}
	c.mu.Unlock()
	if tell {
		c.opt.OnChange(Change{At: now, Peer: l.peer.Name, Text: "not connected: " + text})
	}
}

// hold makes a session that of its link and runs it to its end, or refuses it.
func (c *Channel) hold(l *link, s *Session) {
	if err := c.take(l, s); err != nil {
		s.conn.Write(appendFrame(nil, frame{typ: frameBye, payload: []byte(err.Error())}))
		closeGently(s.raw)
		s.fail(err)
		return
	}
	defer close(s.ended)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-l.ctx.Done():
			c.mu.Lock()
			why := l.why
			c.mu.Unlock()
			s.end(why)
		case <-s.Done():
		}
	})
	err := s.run()
	watch.Wait()
	now := time.Now()
	c.mu.Lock()
	l.session, l.since, l.problem, l.urgent, l.left = nil, now, err.Error(), false, hasStopped(err)
	l.count.add(s.counters())
	close(l.ready)
	l.ready = make(chan struct{})
	c.mu.Unlock()
	c.opt.OnChange(Change{At: now, Peer: l.peer.Name, Text: "connection lost: " + err.Error()})
}

// take makes a session that of its link. What was there before has ended when it
// returns.
func (c *Channel) take(l *link, s *Session) error {
	l.taking.Lock()
	defer l.taking.Unlock()
	if l.before != nil {
		<-l.before
	}
	c.mu.Lock()
	old, first := l.session, c.first(l.peer.Pin)
	c.mu.Unlock()
	if old != nil {
		// A new process has no old connections.
		same := old.Hello().Epoch == s.Hello().Epoch
		if same && old.dialed != s.dialed && s.dialed != first && old.Err() == nil {
			return errCrossed
		}
		old.end(errReplaced.Error())
		<-old.ended
	}
	if l.ctx.Err() != nil {
		return errors.New("the file has changed")
	}
	now := time.Now()
	epoch := s.Hello().Epoch
	text := fmt.Sprintf("connected with %s", s.remote.Addr())
	c.mu.Lock()
	if l.epoch != "" && l.epoch != epoch {
		l.count.restarts++
		text += ", which was started again"
	}
	l.session, l.since, l.problem, l.urgent, l.left, l.epoch = s, now, "", false, false, epoch
	l.told = make(map[string]bool)
	l.count.sessions++
	if s.file() != c.cfg.File {
		// It may have changed between the hellos; it tells us if it has.
		s.introduce(c.hello())
	}
	close(l.ready)
	l.ready = make(chan struct{})
	c.mu.Unlock()
	c.opt.OnChange(Change{At: now, Peer: l.peer.Name, Connected: true, Text: text})
	return nil
}
