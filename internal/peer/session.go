package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// pingEvery is how often something is sent, and deadAfter the silence after which
	// a director is gone; grace is for reading what arrived while this process was
	// stopped.
	pingEvery = time.Second
	deadAfter = 4 * time.Second
	grace     = 100 * time.Millisecond
	// writeTimeout is how long a peer may take nothing at all.
	writeTimeout = 8 * time.Second
	// farewell bounds how long a bye may take.
	farewell = 200 * time.Millisecond
	// queueLimit is how much may wait in Send of a kind, in octets; one message may
	// always.
	queueLimit = 1 << 20
)

// ErrEnded is what an ended session answers; the reason is wrapped with it.
var ErrEnded = errors.New("peer: the session has ended")

// ErrUnknownKind is returned for messages that the other end does not understand.
var ErrUnknownKind = errors.New("peer: the other director does not know this kind of message")

// errBye is the end that the other director has announced.
type errBye struct{ text string }

func (e errBye) Error() string { return "it said: " + e.text }

// Session is one connection with another director, from the hello to its end. Its
// methods may be called from any goroutine.
type Session struct {
	peer   string
	remote netip.AddrPort
	dialed bool // by us
	conn   net.Conn
	raw    *lively // below TLS
	reader io.Reader
	ctx    context.Context
	cancel context.CancelFunc
	lanes  map[string]*lane
	order  []*lane       // sorted by name
	wake   chan struct{} // capacity 1: there may be something to write
	ended  chan struct{} // closed when nothing of it runs any more

	mu    sync.Mutex // guards what follows, and in the lanes what they say
	err   error      // why it has ended
	bye   string     // what to say before ending
	hello Hello      // the peer's, newest
	ours  *Hello     // to be sent again
	next  int        // the lane whose turn is next
	count Counters
}

// Counters count frames of one director since the process started.
type Counters struct {
	Sent, Received uint64
	// UnknownKinds and UnknownFrames were ignored.
	UnknownKinds, UnknownFrames uint64
}

func (c *Counters) add(d Counters) {
	c.Sent += d.Sent
	c.Received += d.Received
	c.UnknownKinds += d.UnknownKinds
	c.UnknownFrames += d.UnknownFrames
}

// lane is a kind within a session.
type lane struct {
	Kind
	// Guarded by Session.mu: known is whether the peer understands the kind, credit
	// what may be sent now, queue what waits, dirty whether Compose is to be asked.
	known  bool
	credit int
	queue  [][]byte
	queued int
	room   chan struct{} // closed and replaced when there is less in the queue
	dirty  bool
	// due is what has been read and not yet told.
	due int
	// in is what has arrived, and window what may still arrive. Guarded by Session.mu.
	in      [][]byte
	window  int
	arrived chan struct{} // capacity 1
}

func cost(payload []byte) int { return len(payload) + messageCost }

// newSession joins two hellos. reader is where conn is read from.
func newSession(peer string, conn net.Conn, raw *lively, reader io.Reader, kinds []Kind, hello Hello) *Session {
	s := &Session{
		peer: peer, remote: address(raw), conn: conn, raw: raw, reader: reader, hello: hello,
		lanes: make(map[string]*lane), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, k := range kinds {
		window, known := hello.Kinds[k.Name]
		l := &lane{
			Kind: k, known: known, credit: window, room: make(chan struct{}), dirty: k.Compose != nil,
			window: k.window(), arrived: make(chan struct{}, 1),
		}
		s.lanes[k.Name] = l
	}
	for _, name := range slices.Sorted(maps.Keys(s.lanes)) {
		s.order = append(s.order, s.lanes[name])
	}
	return s
}

// Peer is the director's name in the file.
func (s *Session) Peer() string { return s.peer }

// Hello is how it introduced itself, as of now.
func (s *Session) Hello() Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hello
	h.Kinds = maps.Clone(h.Kinds)
	return h
}

// Knows says whether the other end understands a kind.
func (s *Session) Knows(kind string) bool {
	l := s.lanes[kind]
	return l != nil && l.known
}

// Done is closed when the session has failed or ended.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why it has ended; nil while it has not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Send queues a message and waits until there is room for it, or ctx or the
// session ends. The payload is the session's from then on. That a message was
// queued does not say that it arrives: the other room has to answer for that.
func (s *Session) Send(ctx context.Context, kind string, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("peer: a message of %d octets, more than %d", len(payload), MaxPayload)
	}
	l := s.lanes[kind]
	if l == nil || !l.known {
		return ErrUnknownKind
	}
	for {
		s.mu.Lock()
		if s.err != nil {
			defer s.mu.Unlock()
			return fmt.Errorf("%w: %w", ErrEnded, s.err)
		}
		if l.queued == 0 || l.queued+cost(payload) <= queueLimit {
			l.queue = append(l.queue, payload)
			l.queued += cost(payload)
			s.mu.Unlock()
			s.kick()
			return nil
		}
		room := l.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.ctx.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// compose has the kind asked for what there is to say.
func (s *Session) compose(kind string) {
	s.mu.Lock()
	if l := s.lanes[kind]; l != nil {
		l.dirty = l.Compose != nil
	}
	s.mu.Unlock()
	s.kick()
}

// introduce sends a hello again.
func (s *Session) introduce(h Hello) {
	s.mu.Lock()
	s.ours = &h
	s.mu.Unlock()
	s.kick()
}

func (s *Session) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fail ends the session; the first reason counts.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.cancel()
	// Not by TLS, whose farewell may wait for a peer that reads nothing.
	s.raw.Close()
}

// end says why and ends the session.
func (s *Session) end(why string) {
	s.mu.Lock()
	if s.bye == "" {
		s.bye = why
	}
	s.mu.Unlock()
	s.kick()
	// A writer that is stuck does not get to it.
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
	case <-timer.C:
		s.fail(errors.New(why))
	}
}

// run speaks until the session fails, and returns why. All that it started has
// ended then; Close of the kinds has been called.
func (s *Session) run() error {
	var open []*lane
	for _, l := range s.order {
		if l.known {
			if l.Open != nil {
				l.Open(s)
			}
			open = append(open, l)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { s.fail(s.read()) })
	all.Go(func() { s.fail(s.write()) })
	for _, l := range open {
		all.Go(func() {
			if err := s.receive(l); err != nil {
				s.fail(err)
			}
		})
	}
	all.Wait()
	for _, l := range open {
		if l.Close != nil {
			l.Close(s)
		}
	}
	return s.Err()
}

// read takes in frames.
func (s *Session) read() error {
	for {
		f, err := readFrame(s.reader, maxFrame)
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the connection was closed")
		case err != nil:
			return readError(err)
		}
		if err := s.frame(f); err != nil {
			return err
		}
	}
}

// frame takes in one frame.
func (s *Session) frame(f frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Received++
	switch f.typ {
	case framePing:
	case frameHello:
		h, err := parseHello(f.payload)
		if err != nil {
			return err
		}
		if h.Epoch != s.hello.Epoch {
			return errors.New("a second hello of another process")
		}
		h.Kinds = s.hello.Kinds // windows are those of the beginning
		s.hello = h
	case frameBye:
		return errBye{Printable(string(f.payload), 200)}
	case frameCredit:
		n, err := parseCredit(f.payload)
		if err != nil {
			return err
		}
		if l := s.lanes[f.kind]; l != nil {
			l.credit = min(l.credit+n, maxWindow)
			s.kick()
		}
	case frameMessage:
		l := s.lanes[f.kind]
		if l == nil || !l.known {
			s.count.UnknownKinds++
			return nil
		}
		if l.window -= cost(f.payload); l.window < 0 {
			return fmt.Errorf("more than its window allows of %q", l.Name)
		}
		l.in = append(l.in, f.payload)
		select {
		case l.arrived <- struct{}{}:
		default:
		}
	default:
		s.count.UnknownFrames++
	}
	return nil
}

// receive hands a kind's messages to its room, one after the other.
func (s *Session) receive(l *lane) error {
	for {
		s.mu.Lock()
		var payload []byte
		some := len(l.in) > 0
		if some {
			payload, l.in[0] = l.in[0], nil
			l.in = l.in[1:]
		}
		s.mu.Unlock()
		if !some {
			select {
			case <-l.arrived:
				continue
			case <-s.ctx.Done():
				return nil
			}
		}
		if s.ctx.Err() != nil {
			return nil
		}
		n := cost(payload)
		if l.Receive != nil {
			if err := l.Receive(s.ctx, s, payload); err != nil {
				if s.ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("a message of %q: %w", l.Name, err)
			}
		}
		s.mu.Lock()
		l.window += n
		l.due += n
		tell := l.due >= l.Kind.window()/4
		s.mu.Unlock()
		if tell {
			s.kick()
		}
	}
}

// write sends what there is to send, and a ping when there is nothing.
func (s *Session) write() error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var buffer []byte
	idle := false // since the last tick
	for {
		f, some := s.outgoing()
		if !some {
			select {
			case <-s.ctx.Done():
				return s.ctx.Err()
			case <-s.wake:
				continue
			case <-ping.C:
				if !idle {
					idle = true
					continue
				}
				f = frame{typ: framePing}
			}
		}
		idle = false
		buffer = appendFrame(buffer[:0], f)
		if f.typ == frameBye {
			return s.farewell(buffer, errors.New(string(f.payload)))
		}
		if _, err := s.conn.Write(buffer); err != nil {
			return fmt.Errorf("sending: %s", reason(err))
		}
		s.mu.Lock()
		s.count.Sent++
		s.mu.Unlock()
	}
}

// farewell sends a bye and lets the other end close, so that nothing of its own
// that we did not read takes the bye away from it.
func (s *Session) farewell(bye []byte, why error) error {
	s.mu.Lock()
	if s.err == nil {
		s.err = why
	}
	s.mu.Unlock()
	stop := time.AfterFunc(farewell, func() { s.raw.Close() })
	defer stop.Stop()
	if _, err := s.conn.Write(bye); err == nil {
		closeWrite(s.raw)
		<-s.ctx.Done() // the reader fails, at the end of the time if not before
	}
	return why
}

// outgoing is the frame whose turn it is: what the channel itself has to say
// first, then what rooms compose, then what waits, kind by kind.
func (s *Session) outgoing() (frame, bool) {
	f, composer := s.choose()
	for composer != nil {
		payload, more := composer.Compose(s)
		if len(payload) > composeLimit {
			panic(fmt.Sprintf("peer: %q composed %d octets, more than %d", composer.Name, len(payload), composeLimit))
		}
		s.mu.Lock()
		composer.dirty = composer.dirty || more
		composer.credit -= cost(payload)
		if payload == nil {
			composer.credit += cost(payload)
		}
		s.mu.Unlock()
		if payload != nil {
			return frame{typ: frameMessage, kind: composer.Name, payload: payload}, true
		}
		f, composer = s.choose()
	}
	return f, f.typ != 0
}

// choose is outgoing without what is still to be composed.
func (s *Session) choose() (frame, *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bye != "" {
		return frame{typ: frameBye, payload: []byte(s.bye)}, nil
	}
	if s.ours != nil {
		h := *s.ours
		s.ours = nil
		return frame{typ: frameHello, payload: h.encode()}, nil
	}
	for _, l := range s.order {
		if l.due >= l.Kind.window()/4 {
			n := l.due
			l.due = 0
			return frame{typ: frameCredit, kind: l.Name, payload: credit(n)}, nil
		}
	}
	for _, l := range s.order {
		if l.known && l.dirty && l.credit >= composeLimit+messageCost {
			l.dirty = false
			return frame{}, l
		}
	}
	for i := range s.order {
		l := s.order[(s.next+i)%len(s.order)]
		if len(l.queue) == 0 || l.credit < cost(l.queue[0]) {
			continue
		}
		s.next = (s.next + i + 1) % len(s.order)
		payload := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.queued -= cost(payload)
		l.credit -= cost(payload)
		close(l.room)
		l.room = make(chan struct{})
		return frame{typ: frameMessage, kind: l.Name, payload: payload}, nil
	}
	return frame{}, nil
}

// readError is why nothing is read any more, in words.
func readError(err error) error {
	switch why := reason(err); why {
	case "timeout":
		return fmt.Errorf("nothing was heard for %s", deadAfter)
	default:
		return errors.New(why)
	}
}
