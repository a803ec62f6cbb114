package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Options are what an Engine works with.
type Options struct {
	// Port is the network; NewPort has the real one.
	Port Port
	// Logger hears what keeps sessions from being heard or sent; it may be nil.
	Logger *slog.Logger
	// OnTransition hears every change of state, and OnVoided every detection time
	// that ended because this process itself did not run. Both are called from the
	// loop and must not block; nil is nobody.
	OnTransition func(Transition)
	OnVoided     func(Voided)
	// OnThread, if not nil, is called once on the loop's own OS thread, before
	// anything else there: it may set the thread's scheduling.
	OnThread func()
}

// Config is everything an Engine is to do.
type Config struct {
	// Params are those of every session.
	Params Params
	// Networks are where neighbours may have sessions with us, each with our own
	// addresses on it: no session is with another one.
	Networks []LocalNetwork
	// Watch are the sessions that we want ourselves.
	Watch []Key
}

// LocalNetwork is a Network with our own address.
type LocalNetwork struct {
	Network
	// Local is no virtual address.
	Local netip.Addr
}

// Validate says what an Engine cannot do.
func (c Config) Validate() error {
	switch p := c.Params; {
	case p.Interval < time.Millisecond, p.Interval > time.Hour, p.Interval%time.Microsecond != 0:
		return fmt.Errorf("bfd: interval %s, want 1ms to 1h in whole microseconds", p.Interval)
	case p.Multiplier == 0:
		return errors.New("bfd: multiplier 0, want 1 to 255")
	}
	return nil
}

// ErrStopped is returned by calls to an Engine that has ended.
var ErrStopped = errors.New("bfd: engine has stopped")

const (
	// maxGuests bounds the sessions that neighbours may have with us.
	maxGuests = 32
	// linger is how long a session is kept that nobody wants: a neighbour that is
	// back meets it.
	linger = 10 * time.Second
	// upkeep is how often interfaces are looked at, and what failed is tried again.
	upkeep = time.Second
	// farewells is how often the end of a session is told, farewellGap apart.
	farewells   = 5
	farewellGap = 5 * time.Millisecond
)

// Engine runs sessions: one goroutine on one locked OS thread for all of them.
type Engine struct {
	opt Options
	log *slog.Logger

	// mu guards what follows, and everything below while the loop does not run.
	mu      sync.Mutex
	running bool
	done    bool
	queue   []func()
	// ended is closed when the loop has ended.
	ended chan struct{}

	// What follows belongs to the loop.
	cfg      Config
	networks map[Network]*network
	members  []*member
	drops    map[Reason]uint64
	stopping bool
	lookedAt time.Time
	buf      []Datagram
	packet   []byte
	scratch  Packet
}

// network is where sessions are heard.
type network struct {
	// err is why it could not be opened.
	err string
}

// member is a session and what the loop keeps beside it.
type member struct {
	*Session
	watched bool
	open    bool
	// problem is why packets cannot be sent.
	problem string
}

// New returns an Engine that does nothing until Run.
func New(opt Options) *Engine {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		opt: opt, log: opt.Logger, ended: make(chan struct{}),
		networks: make(map[Network]*network), drops: make(map[Reason]uint64),
		buf: make([]Datagram, 0, MaxBatch),
	}
}

// Run runs the sessions until Stop, or until ctx ends, which is a Stop too. An
// Engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.running || e.done {
		done := e.done && !e.running
		e.mu.Unlock()
		if done {
			return nil // stopped before it ran
		}
		return errors.New("bfd: engine runs only once")
	}
	e.running = true
	e.mu.Unlock()

	// A thread of its own can have a real-time priority, and wakes without
	// another thread's help.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if e.opt.OnThread != nil {
		e.opt.OnThread()
	}
	unregister := context.AfterFunc(ctx, func() { e.post(func() { e.stopping = true }) })
	defer unregister()

	err := e.loop()
	if serr := e.opt.Port.Shutdown(); err == nil && serr != nil {
		err = fmt.Errorf("closing the BFD port: %w", serr)
	}
	e.mu.Lock()
	e.done, e.queue = true, nil
	e.mu.Unlock()
	close(e.ended)
	return err
}

// Configure makes the networks and the watched sessions equal to cfg. Sessions
// that stay go on; new Params are negotiated with a poll. A session that is not
// watched any more goes on while the peer wants it. It may be called before Run.
func (e *Engine) Configure(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.Networks, cfg.Watch = slices.Clone(cfg.Networks), slices.Clone(cfg.Watch)
	return e.do(ctx, func() { e.apply(time.Now(), cfg) })
}

// Stop ends Run. The peers are told that this is no failure.
func (e *Engine) Stop() {
	e.mu.Lock()
	if !e.running {
		if !e.done {
			e.done = true
			close(e.ended)
		}
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	e.post(func() { e.stopping = true })
	<-e.ended
}

// Snapshot is every session as it is now, and why packets that belong to none
// were dropped.
func (e *Engine) Snapshot() (sessions []Status, drops map[Reason]uint64) {
	take := func() { sessions, drops = e.statuses() }
	if err := e.do(context.Background(), take); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		take()
	}
	return sessions, drops
}

// post queues a call into the loop.
func (e *Engine) post(call func()) {
	e.mu.Lock()
	ok := e.running && !e.done
	if ok {
		e.queue = append(e.queue, call)
	}
	e.mu.Unlock()
	if ok {
		e.opt.Port.Wake()
	}
}

// do runs a call in the loop, or here while there is no loop yet, and waits.
func (e *Engine) do(ctx context.Context, call func()) error {
	e.mu.Lock()
	if e.done {
		e.mu.Unlock()
		return ErrStopped
	}
	if !e.running {
		defer e.mu.Unlock()
		call()
		return nil
	}
	done := make(chan struct{})
	e.queue = append(e.queue, func() { call(); close(done) })
	e.mu.Unlock()
	e.opt.Port.Wake()
	select {
	case <-done:
		return nil
	case <-e.ended:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// discriminator is a number that no session has.
func (e *Engine) discriminator() uint32 {
	for {
		d := rand.Uint32()
		if d != 0 && !slices.ContainsFunc(e.members, func(m *member) bool { return m.Discriminator() == d }) {
			return d
		}
	}
}
