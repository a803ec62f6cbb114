package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultPort is where directors listen.
const DefaultPort = 8849

// Options are what a Channel works with.
type Options struct {
	// Network is where the directors meet; nil is the machine's.
	Network Network
	// Version is that of the program, which others show.
	Version string
	// Kinds are the messages that the rooms understand.
	Kinds []Kind
	// OnChange hears of sessions that begin and end, and of what keeps them from
	// it. It must not block; nil is nobody.
	OnChange func(Change)
	// Logger hears of strangers; nil means discard.
	Logger *slog.Logger
}

// Config is everything a Channel is to do.
type Config struct {
	// Name is this director's.
	Name string
	// Key is this director's own; nil means no channel.
	Key ed25519.PrivateKey
	// Addresses are this director's own, and Port is where it listens.
	Addresses []netip.Addr
	Port      uint16
	// File tells files apart.
	File string
	// Peers are the other directors.
	Peers []Peer
}

// Peer is another director of the file.
type Peer struct {
	Name string
	// Pin is its key; zero means that the file has none, and no channel to it.
	Pin       Pin
	Addresses []netip.Addr
	Port      uint16
}

func (p Peer) equal(q Peer) bool {
	return p.Name == q.Name && p.Pin == q.Pin && p.Port == q.Port && slices.Equal(p.Addresses, q.Addresses)
}

// Change is something that happened between this director and another.
type Change struct {
	At   time.Time
	Peer string
	// Connected is whether there is a session now.
	Connected bool
	// Text says what happened.
	Text string
}

// Channel keeps a session with every other director.
type Channel struct {
	opt   Options
	log   *slog.Logger
	epoch string
	wake  chan struct{} // capacity 1: there may be a new Config
	all   sync.WaitGroup

	mu        sync.Mutex // guards what follows
	wanted    Config
	cfg       Config // in force
	pin       Pin
	own       tls.Certificate
	problem   string // why there is no channel although there should be
	links     map[string]*link
	listeners map[netip.AddrPort]*listener
	refused   map[Refusal]uint64
	shaking   map[origin][]shaking // handshakes of connections that came in, oldest first
	warned    time.Time            // of a stranger
	farewell  string               // what the end of Run says, after our name
}

// New returns a channel without peers. Run starts it.
func New(opt Options) *Channel {
	if opt.Network == nil {
		opt.Network = NewNetwork()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.OnChange == nil {
		opt.OnChange = func(Change) {}
	}
	for _, k := range opt.Kinds {
		if k.Name == "" || len(k.Name) > MaxKindName {
			panic(fmt.Sprintf("peer: a kind is called %q", k.Name))
		}
	}
	return &Channel{
		opt: opt, log: opt.Logger, epoch: rand.Text(), wake: make(chan struct{}, 1),
		links: make(map[string]*link), listeners: make(map[netip.AddrPort]*listener),
		refused: make(map[Refusal]uint64), shaking: make(map[origin][]shaking),
		farewell: stops,
	}
}

// What a director says at its end, after its name. The others go by the first. Those
// before it say " stops" when they restart too.
const (
	stops    = " stops for good"
	restarts = " restarts"
	ends     = " ends, and has not given everything up"
)

// hasStopped reports whether a session ended with the other director's word that it
// has given everything up.
func hasStopped(err error) bool {
	var bye errBye
	return errors.As(err, &bye) && strings.HasSuffix(bye.text, stops)
}

// Configure makes the channel what cfg says. Sessions with peers that stay as they
// are go on. It waits for nothing.
func (c *Channel) Configure(cfg Config) {
	c.mu.Lock()
	c.wanted = cfg
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run keeps the sessions until ctx ends.
func (c *Channel) Run(ctx context.Context) error {
	// What runs below ends one by one, with a bye.
	below, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		c.apply(below)
		select {
		case <-c.wake:
		case <-ctx.Done():
			c.mu.Lock()
			c.wanted = Config{}
			c.mu.Unlock()
			c.apply(below)
			cancel()
			c.all.Wait()
			return nil
		}
	}
}

// Restarting has the end of Run tell the others that a next process follows.
func (c *Channel) Restarting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = restarts
}

// Holding has the end of Run tell the others that what this director holds stays, until
// GivenUp says otherwise.
func (c *Channel) Holding() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = ends
}

// GivenUp has the end of Run tell the others that nothing is left.
func (c *Channel) GivenUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = stops
}

// Session is the one with a director now.
func (c *Channel) Session(name string) (*Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.links[name]
	if l == nil || l.session == nil {
		return nil, false
	}
	return l.session, true
}

// Wake has a kind's Compose asked, for every session.
func (c *Channel) Wake(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if l.session != nil {
			l.session.compose(kind)
		}
	}
}

// apply makes links and listeners what is wanted.
func (c *Channel) apply(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.cfg
	c.cfg = c.wanted
	stay := old.Name == c.cfg.Name && bytes.Equal(old.Key, c.cfg.Key) && slices.Equal(old.Addresses, c.cfg.Addresses)
	if !bytes.Equal(old.Key, c.cfg.Key) {
		c.problem, c.pin, c.own = "", Pin{}, tls.Certificate{}
		if c.cfg.Key != nil {
			var err error
			if c.own, err = certificate(c.cfg.Key); err != nil {
				c.problem = err.Error()
			} else {
				c.pin = PinOf(c.cfg.Key)
			}
		}
	}
	wanted := make(map[string]Peer)
	for _, p := range c.cfg.Peers {
		if !c.pin.IsZero() && p.Name != c.cfg.Name && p.Pin != c.pin {
			wanted[p.Name] = p
		}
	}
	gone := make(map[string]*link)
	for name, l := range c.links {
		if p, ok := wanted[name]; !ok || !stay || !p.equal(l.peer) {
			why := "it is no longer in the file of " + old.Name
			if ok {
				why = "its section of the file has changed"
			}
			switch {
			case len(c.cfg.Peers) == 0:
				why = old.Name + c.farewell
			case c.pin.IsZero():
				why = old.Name + " has no key to use any more"
			}
			l.why = why
			l.cancel()
			gone[name] = l
			delete(c.links, name)
		}
	}
	for name, p := range wanted {
		if l := c.links[name]; l != nil {
			if l.session != nil && old.File != c.cfg.File {
				l.session.introduce(c.hello())
			}
			continue
		}
		l := newLink(ctx, p, gone[name])
		c.links[name] = l
		c.all.Go(func() { c.keep(l) })
	}
	c.listen(ctx)
}

// hello is how we introduce ourselves. The caller holds mu.
func (c *Channel) hello() Hello {
	h := Hello{
		Protocol: protocol, Name: c.cfg.Name, Epoch: c.epoch, Version: c.opt.Version, File: c.cfg.File, Kinds: make(map[string]int),
	}
	for _, k := range c.opt.Kinds {
		h.Kinds[k.Name] = k.window()
	}
	return h
}

// first says whether this director is the one of the two that dials at once, and
// whose connection stays of two that cross. Both ends find the same.
func (c *Channel) first(other Pin) bool { return bytes.Compare(c.pin[:], other[:]) < 0 }

// handshake makes a session of a connection: TLS, the keys, and the hellos.
// dialed is the link that was dialed, nil for a connection that came in; the link
// that it turned out to be is returned.
func (c *Channel) handshake(ctx context.Context, raw *lively, dialed *link) (*link, *Session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	// The hellos have no context of their own.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	var found *link
	accept := func(pin Pin) error {
		found = c.pinned(pin)
		if found == nil || (dialed != nil && found != dialed) {
			return errWrongKey
		}
		return nil
	}
	c.mu.Lock()
	config, hello := tlsConfig(c.own, accept), c.hello()
	c.mu.Unlock()
	conn := tls.Server(raw, config)
	if dialed != nil {
		conn = tls.Client(raw, config)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		closeGently(raw)
		return nil, nil, err
	}
	// Who dials listens first: it may be that its key is not accepted, and what it
	// has sent by then would take the answer away.
	introduce := func() error {
		_, err := conn.Write(appendFrame(nil, frame{typ: frameHello, payload: hello.encode()}))
		return err
	}
	if dialed == nil {
		if err := introduce(); err != nil {
			return found, nil, err
		}
	}
	reader := bufio.NewReaderSize(conn, 32<<10)
	f, err := readFrame(reader, maxHello)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return found, nil, err
	}
	switch f.typ {
	case frameHello:
	case frameBye:
		return found, nil, errBye{Printable(string(f.payload), 200)}
	default:
		return found, nil, errors.New("does not begin with a hello")
	}
	theirs, err := parseHello(f.payload)
	if err != nil {
		// The other end knows better what to do about it if it hears why.
		conn.Write(appendFrame(nil, frame{typ: frameBye, payload: []byte("refuses us: " + err.Error())}))
		closeGently(raw)
		return found, nil, err
	}
	if dialed != nil {
		if err := introduce(); err != nil {
			return found, nil, err
		}
	}
	if !stop() {
		return found, nil, ctx.Err()
	}
	s := newSession(found.peer.Name, conn, raw, reader, c.opt.Kinds, theirs)
	s.dialed = dialed != nil
	return found, s, nil
}

// pinned is the link of a key. It compares with every one of them.
func (c *Channel) pinned(pin Pin) (found *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if l.peer.Pin.equal(pin) && !l.peer.Pin.IsZero() {
			found = l
		}
	}
	return found
}

// said is an error of a handshake in words about the other director.
func said(err error) (text string, wrong bool) {
	switch {
	case errors.Is(err, errWrongKey):
		return errWrongKey.Error(), true
	case errors.Is(err, errProtocol):
		return errProtocol.Error(), false
	case strings.Contains(err.Error(), "remote error: tls: bad certificate"):
		return "does not accept our key: it is not the one in its file", true
	case strings.Contains(err.Error(), "remote error: tls: no application protocol"), strings.Contains(err.Error(), "unsupported application protocols"):
		return errProtocol.Error(), false
	}
	var bye errBye
	if errors.As(err, &bye) {
		return bye.text, false
	}
	return reason(err), false
}
