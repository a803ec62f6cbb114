package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Options are what an Engine works with.
type Options struct {
	// Port is the network; NewPort has the real one.
	Port Port
	// Links are the interfaces; package netif has the real ones.
	Links Links
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// OnTransition hears every change of state, and OnEvent what else operators
	// may want to know. Both are called from the loop and must not block.
	OnTransition func(Transition)
	OnEvent      func(Notice)
	// OnFollow hears whose advertisements a router follows, whenever that, or its
	// own address, has changed. It is called from the loop and must not block; nil
	// is nobody.
	OnFollow func(Followed)
	// Heartbeat is called from the loop after each advertisement sent as
	// Active, with CLOCK_BOOTTIME, and must not block. It keeps the record
	// that a restart resumes from.
	Heartbeat func(Key, time.Duration)
	// Resume returns what the last process left of a virtual router. It is
	// asked once for each router of the first Configure.
	Resume func(Key) (Resume, bool)
	// OnThread, if not nil, is called once on the loop's own OS thread, before
	// anything else there: it may set the thread's scheduling.
	OnThread func()
	// Boottime reads CLOCK_BOOTTIME, which goes on while the machine sleeps.
	// Nil means the kernel's.
	Boottime func() time.Duration
	// Wallclock reads the time of day, which only authentication goes by. Nil
	// means the kernel's.
	Wallclock func() time.Time
}

// StopMode is how an Engine stops.
type StopMode uint8

// The ways to stop.
const (
	_ StopMode = iota
	// Release gives every address to the other directors, make before break.
	Release
	// Hold touches nothing and sends nothing: the next process takes over.
	Hold
)

// String is the mode in a word.
func (m StopMode) String() string {
	switch m {
	case Release:
		return "release"
	case Hold:
		return "hold"
	default:
		return "unknown"
	}
}

// ErrStopped is returned by calls to an Engine that has ended.
var ErrStopped = errors.New("vrrp: engine has stopped")

// phase is where an Engine is in its life.
type phase uint8

const (
	idle phase = iota
	running
	stopped
)

// Engine runs virtual routers: one goroutine on one locked OS thread for all of
// them, and one worker for each interface that carries addresses.
type Engine struct {
	opt Options
	log *slog.Logger

	// mu guards the phase, the queue of calls into the loop, and everything
	// below while the loop does not run.
	mu    sync.Mutex
	phase phase
	queue []func()
	// fresh are the interfaces that the loop has not taken in yet; it looks at the
	// last ones alone.
	fresh *seen
	// ended is closed when the loop has ended.
	ended chan struct{}

	// What follows belongs to the loop.
	members []*member
	byKey   map[Key]*member
	// links are what Watch saw last, and held who has what; nil until it is asked.
	links *seen
	held  *holders
	// looked says that the interfaces were seen at least once.
	looked  bool
	ports   map[portKey]*openPort
	workers map[string]*worker
	// pacers are by the name of their section, and paced by interface.
	pacers   map[string]*pacer
	paced    map[string]*pacer
	spawn    func(*worker)
	stopping StopMode
	// left is why a Release could not remove every address.
	left    error
	scratch Received
	buf     []Packet
	// lastMonotonic and lastBoottime find out that the machine slept.
	lastMonotonic time.Time
	lastBoottime  time.Duration
	complaints    complaints
	// untold is what happened since the last flush.
	untold []func()
}

// member is a virtual router and what the loop keeps beside it.
type member struct {
	router *Router
	// removed says that it is no longer configured and goes once it has left.
	removed bool
	// reply says that a packet wants an advertisement in answer.
	reply bool
	// started says that Startup was given.
	started bool
	// followed is what was told last.
	followed Followed
	resume   *Resume
	holdOff  time.Duration
	// group is nil outside a sync group.
	group *Group
	// deadline is the router's, kept because it is looked at far more often than
	// it changes.
	deadline time.Time
	late     lateness
	link     LinkChange
	// absentSince is when the address to send from went missing; zero while it is there.
	absentSince time.Time
	// packet is the advertisement to each destination, encoded; empty when it
	// has to be encoded again.
	packet         []outgoing
	packetPriority uint8
	// problems are operations that fail.
	problems map[place]problem
	sendErr  string
	// auth signs and verifies; used only when keys are configured.
	auth authenticator
}

// New returns an Engine that does nothing until Run.
func New(opt Options) *Engine {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Boottime == nil {
		opt.Boottime = boottime
	}
	if opt.Wallclock == nil {
		opt.Wallclock = time.Now
	}
	return &Engine{
		opt: opt, log: opt.Logger,
		ended:   make(chan struct{}),
		byKey:   make(map[Key]*member),
		links:   see(nil),
		ports:   make(map[portKey]*openPort),
		workers: make(map[string]*worker),
		buf:     make([]Packet, 0, MaxBatch),
	}
}

// Run runs the virtual routers. It returns nil after Stop; the end of ctx is a
// Stop with Hold. An Engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.phase != idle {
		e.mu.Unlock()
		return errors.New("vrrp: engine runs only once")
	}
	e.phase = running
	e.mu.Unlock()

	// A thread of its own can have a real-time priority, and wakes without
	// another thread's help.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if e.opt.OnThread != nil {
		e.opt.OnThread()
	}

	work, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	e.spawn = func(w *worker) { group.Go(func() { w.run(work) }) }
	group.Go(func() {
		if err := e.opt.Links.Watch(work, e.watched); err != nil && work.Err() == nil {
			e.log.Error("watching interfaces ended", "error", err)
		}
	})
	unregister := context.AfterFunc(ctx, func() { e.post(func() { e.stopping = Hold }) })

	err := e.loop()

	e.tell() // an error leaves no flush
	unregister()
	cancel()
	group.Wait()
	if cerr := e.opt.Port.Shutdown(); err == nil && cerr != nil {
		err = fmt.Errorf("closing the VRRP port: %w", cerr)
	}
	e.mu.Lock()
	e.phase, e.queue = stopped, nil
	e.mu.Unlock()
	close(e.ended)
	return err
}

// Configure makes the virtual routers and their sync groups equal to the lists.
// Routers that stay keep their state, timers and counters; one that goes leaves
// gracefully; an address that moves from one router to another stays installed.
// An error changes nothing. It may be called before Run.
func (e *Engine) Configure(ctx context.Context, configs []Config, groups ...GroupConfig) error {
	var errs []error
	seen := make(map[Key]string)
	for _, c := range configs {
		if err := c.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("virtual router %q: %w", c.Name, err))
			continue
		}
		if other, ok := seen[c.Key()]; ok {
			errs = append(errs, fmt.Errorf("virtual routers %q and %q are both %s", other, c.Name, c.Key()))
		}
		seen[c.Key()] = c.Name
	}
	if len(errs) == 0 {
		errs = append(errs, checkGroups(configs, groups))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	configs = slices.Clone(configs)
	refused := false
	if err := e.do(ctx, func() {
		if refused = e.stopping != 0; !refused {
			e.apply(configs, groups)
		}
	}); err != nil {
		return err
	}
	if refused {
		return ErrStopped
	}
	return nil
}

// Stop ends Run. With Release it returns when the addresses were given away and
// removed; when one cannot be removed, or ctx ends before, Run ends all the same
// and the error says so.
func (e *Engine) Stop(ctx context.Context, mode StopMode) error {
	if mode != Release && mode != Hold {
		return fmt.Errorf("vrrp: stop mode %d", mode)
	}
	e.mu.Lock()
	if e.phase == idle {
		e.phase = stopped
		e.mu.Unlock()
		close(e.ended)
		return nil
	}
	e.mu.Unlock()
	e.post(func() { e.stop(mode) })
	select {
	case <-e.ended:
		return e.left
	case <-ctx.Done():
		e.post(func() { e.stopping = Hold })
		<-e.ended
		return fmt.Errorf("stopping before every address was released: %w", context.Cause(ctx))
	}
}

// Snapshot is every virtual router as it is now, in the order of its key.
func (e *Engine) Snapshot() []Status {
	var out []Status
	if err := e.do(context.Background(), func() { out = e.statuses() }); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.statuses()
	}
	return out
}

// post queues a call into the loop, which may not run yet.
func (e *Engine) post(call func()) {
	e.mu.Lock()
	if e.phase != stopped {
		e.queue = append(e.queue, call)
	}
	runs := e.phase == running
	e.mu.Unlock()
	if runs {
		e.opt.Port.Wake()
	}
}

// watched takes in what Watch saw.
func (e *Engine) watched(links []Link) {
	now := see(links)
	e.mu.Lock()
	waiting := e.fresh != nil
	e.fresh = now
	e.mu.Unlock()
	if waiting {
		return
	}
	e.post(func() {
		e.mu.Lock()
		now := e.fresh
		e.fresh = nil
		e.mu.Unlock()
		e.sawLinks(now)
	})
}

// do runs a call in the loop, or here while there is no loop yet, and waits.
func (e *Engine) do(ctx context.Context, call func()) error {
	e.mu.Lock()
	switch e.phase {
	case idle:
		defer e.mu.Unlock()
		call()
		return nil
	case stopped:
		e.mu.Unlock()
		return ErrStopped
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

// statuses is Snapshot in the loop.
func (e *Engine) statuses() []Status {
	out := make([]Status, 0, len(e.members))
	for _, m := range e.members {
		s := m.router.Status()
		s.Jitter = m.late.jitter()
		s.Problems = append(s.Problems, m.troubles()...)
		if m.sendErr != "" {
			s.Problems = append(s.Problems, m.sendErr)
		}
		if p := e.ports[s.Key.port()]; p != nil {
			s.Counters.VRIDErrors = p.foreign.VRIDErrors
		}
		out = append(out, s)
	}
	return out
}
