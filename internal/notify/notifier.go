package notify

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"lvsha/internal/program"
)

const (
	// running bounds how many programs run at a time over all objects.
	running = 16
	// retry is how long after a program could not be started it is tried again.
	retry = time.Second
	// outputLines is how many lines of a program's output are shown.
	outputLines = 3
)

// Options are what a Notifier works with.
type Options struct {
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// OnResult hears how each program ended, and OnProblem what is wrong with the
	// FIFO. Both are called from goroutines of the Notifier and must not block; nil
	// is nobody.
	OnResult  func(Result)
	OnProblem func(text string)
	// Run runs a program; nil means really. Tests have their own.
	Run Runner
}

// Runner runs a program until it or ctx ends, as program.Run does.
type Runner func(context.Context, program.Program) (program.Output, error)

// Result is how a program ended.
type Result struct {
	Event   Event
	Command Command
	// Err is nil for exit status 0.
	Err error
	// Again says that this machine was short of what it takes to start the program, which
	// is tried again until it starts or another state overtakes this one. There is one
	// Result of that, however often it is tried.
	Again bool
	// Output are the first lines that it printed.
	Output string
	Took   time.Duration
	// Skipped is how many states of the object were overtaken before.
	Skipped int
}

// Notifier runs programs and writes the FIFO.
type Notifier struct {
	opt Options
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	cfg     Config
	objects map[Object]*object
	// waiting are those for which a goroutine is to be started, and open counts those that
	// have something to tell or are told of. There may be thousands of objects.
	waiting []Object
	open    int
	// warned says that the daemon's own user was remarked on.
	warned bool
	// closed says that nothing new begins.
	closed bool
	// changed is closed and replaced when an object has become idle.
	changed chan struct{}

	// due has room for one: an object may have to be started.
	due  chan struct{}
	fifo *fifo
	// slots are taken while a program runs.
	slots chan struct{}
}

// object is the queue of one object.
type object struct {
	hooks Hooks
	// gone says that it is no longer in the file, and goes once it was stopped.
	gone bool
	// told is the last state whose programs were started.
	told State
	// next is the newest state that was not told yet; skipped are those that it
	// overtook.
	next    *Event
	skipped int
	// busy says that a goroutine tells.
	busy bool
}

// New returns a Notifier that does nothing until Run.
func New(opt Options) *Notifier {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.OnResult == nil {
		opt.OnResult = func(Result) {}
	}
	if opt.OnProblem == nil {
		opt.OnProblem = func(string) {}
	}
	if opt.Run == nil {
		opt.Run = program.Run
	}
	return &Notifier{
		opt: opt, log: opt.Logger, objects: make(map[Object]*object), changed: make(chan struct{}),
		due: make(chan struct{}, 1), fifo: newFIFO(opt.OnProblem), slots: make(chan struct{}, running),
	}
}

// Set replaces the configuration. An object that is no longer in it keeps its
// programs until it was told to be stopped.
func (n *Notifier) Set(cfg Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg = cfg
	for name, o := range n.objects {
		if _, stays := cfg.Hooks[name]; !stays {
			o.gone = true
		}
	}
	for name, hooks := range cfg.Hooks {
		o := n.object(name)
		o.hooks, o.gone = hooks, false
	}
	n.fifo.set(cfg.FIFO)
	if cfg.programs() && cfg.User == "" && os.Geteuid() == 0 && !n.warned {
		n.warned = true
		n.log.Warn("notify programs run as root; user in [notify] names another")
	}
}

// object is the queue of an object, made if it is new.
func (n *Notifier) object(name Object) *object {
	o := n.objects[name]
	if o == nil {
		o = &object{}
		n.objects[name] = o
	}
	return o
}

// Tell adds a state of an object. It waits for nothing.
func (n *Notifier) Tell(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.fifo.add(e.line())
	o := n.object(e.Object)
	switch {
	case o.next != nil:
		o.skipped++
	case !o.busy:
		n.waiting = append(n.waiting, e.Object)
		n.open++
	}
	o.next = &e
	n.wake()
}

func (n *Notifier) wake() {
	select {
	case n.due <- struct{}{}:
	default:
	}
}

// Run runs programs until ctx ends, and then waits for those that run, which are
// killed.
func (n *Notifier) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { n.fifo.run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.due:
		}
		n.mu.Lock()
		for _, name := range n.waiting {
			if o := n.objects[name]; o != nil && o.next != nil && !o.busy {
				o.busy = true
				group.Go(func() { n.tell(ctx, name, o) })
			}
		}
		n.waiting = n.waiting[:0]
		n.mu.Unlock()
	}
}

// Wait returns when everything told so far has been told on, or ctx ends.
func (n *Notifier) Wait(ctx context.Context) {
	for {
		n.mu.Lock()
		changed, idle := n.changed, n.open == 0
		n.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Close drops what was not begun and takes nothing new: the next process tells
// its states itself. Programs that run go on; Wait waits for them.
func (n *Notifier) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, o := range n.objects {
		if o.next != nil && !o.busy {
			n.open--
		}
		o.next = nil
	}
}

// Open takes news again after a Close.
func (n *Notifier) Open() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = false
}

// tell is the goroutine of an object while there is something to be told.
func (n *Notifier) tell(ctx context.Context, name Object, o *object) {
	for {
		select {
		case n.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		more := n.tellOne(ctx, name, o)
		<-n.slots
		if !more {
			return
		}
	}
}

// tellOne runs the programs of the newest state, and says whether there was one.
func (n *Notifier) tellOne(ctx context.Context, name Object, o *object) bool {
	n.mu.Lock()
	if o.next == nil {
		o.busy = false
		n.open--
		if o.gone && o.told == Stopped {
			delete(n.objects, name)
		}
		close(n.changed)
		n.changed = make(chan struct{})
		n.mu.Unlock()
		return false
	}
	e, skipped := *o.next, o.skipped
	e.From = o.told
	o.next, o.skipped, o.told = nil, 0, e.To
	commands, timeout, user := n.cfg.commands(o.hooks, e), n.cfg.Timeout, n.cfg.User
	n.mu.Unlock()
	for i, c := range commands {
		if n.run(ctx, o, Result{Event: e, Command: c, Skipped: skipped}, program.Program{Command: c, User: user, Input: e.input()}, timeout) {
			continue
		}
		if i == 0 {
			// Nobody was told.
			n.mu.Lock()
			o.told = e.From
			n.mu.Unlock()
		}
		break
	}
	return true
}

// run runs one program of a state, again and again while this machine is short of what it
// takes to start it. It reports whether the next one is to run.
func (n *Notifier) run(ctx context.Context, o *object, r Result, p program.Program, timeout time.Duration) bool {
	for {
		begin := time.Now()
		bounded, cancel := context.WithTimeout(ctx, timeout)
		output, err := n.opt.Run(bounded, p)
		cancel()
		if ctx.Err() != nil {
			return false // the end of everything: nobody listens any more
		}
		var failed *program.StartError
		again := errors.As(err, &failed) && errors.Is(err, program.ErrMachine)
		if !again || !r.Again {
			r.Err, r.Again, r.Took = err, again, time.Since(begin)
			r.Output = strings.Join(output.Lines(outputLines), " | ")
			n.opt.OnResult(r)
		}
		if !again {
			return true
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return false
		}
		if n.overtaken(o) {
			return false
		}
	}
}

// overtaken reports whether a state that could not be told has been overtaken, or nothing
// is to begin any more.
func (n *Notifier) overtaken(o *object) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o.next != nil {
		o.skipped++
	}
	return o.next != nil || n.closed
}
