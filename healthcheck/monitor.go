package healthcheck

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options configure a Monitor; the zero value will do.
type Options struct {
	// Logger gets one line per change of state; nil means discard.
	Logger *slog.Logger
	// OnChange is called for each change of state from the monitor's goroutine;
	// it must not block and may call Snapshot and Status. A call may arrive just
	// after a Set that dropped its target.
	OnChange func(Change)
	// Ready says why a path does not lead to its server now; a probe is not sent
	// then. Excuse says why a failure along a path may be this machine's doing and
	// not the server's. Nil is ready, and excuses nothing. They are called from many
	// goroutines.
	Ready, Excuse func(Path) error
	// Learned is called for each probe that passed along a path: nothing is in its way.
	Learned func(Path)
	// Limits replaces the limits on probes in flight, by kind of check; nil means
	// those of the kinds.
	Limits map[string]int
	// Prepare replaces Question.Prepare; nil replaces nothing.
	Prepare func(Question) (ProbeFunc, error)
}

// Want is one target of the desired state.
type Want struct {
	Target Target
	// Initial is where a new target starts. Up is for a server that the kernel
	// already had in use: it stays in use until Fall failures say otherwise.
	// Unknown, the default, is decided by the first probe. It is ignored for a
	// target that is already monitored.
	Initial State
}

// Monitor probes targets and keeps their verdicts. Use New.
type Monitor struct {
	log         *slog.Logger
	onChange    func(Change)
	pathReady   func(Path) error
	pathExcuse  func(Path) error
	pathLearned func(Path)
	limits      map[string]int
	prepare     func(Question) (ProbeFunc, error)
	wake        chan struct{}

	// mu guards what follows: Set, Snapshot and Status come from other
	// goroutines than Run. It is never held over a probe or a callback.
	mu      sync.Mutex
	entries map[Target]*entry
	queue   queue
	lanes   map[string]*lane
	ports   ports
	news    []Change // to be told
	// connector makes plain connections; nil until there is one to make, and where
	// it cannot.
	connector *connector
	// plain counts the targets that it is for.
	plain int

	// panicMu guards panics, the places at which a probe panicked.
	panicMu sync.Mutex
	panics  map[string]bool
}

// entry is a monitored target. It is in the queue (at >= 0), in its lane's
// waiting list, or in flight (flying).
type entry struct {
	target Target // canonical
	check  Check  // with defaults
	ask    ProbeFunc
	// secrets are what is never shown of what the server says (see needles).
	secrets []string
	// plain is whether to connect directly is all there is to ask.
	plain   bool
	lane    *lane
	counter counter
	last    Probe
	count   Counters
	advice  Advice
	latency Histogram
	// heard is when the last probe began that heard anything of the server, and silence
	// when the first one did that has not since.
	heard, silence time.Time
	// unreached is whether the last probe was no answer of the server. moved is when Anew
	// was called because of that, until the first answer since, and until how long that
	// counts.
	unreached    bool
	moved, until time.Time

	// due is when the next probe starts, base when it would without jitter.
	due, base time.Time
	// round is when the regular schedule begins; zero once it has.
	round  time.Time
	at     int
	flying bool
	// flight numbers the probes, and hanging says that the present one does not end.
	flight  uint64
	hanging bool
	// inherited is whether another entry goes on with its ask.
	inherited bool
	cancel    context.CancelFunc // of a probe with a goroutine
	gone      bool
	// spared is whether the previous result was disregarded as starvation: that
	// is done only once in a row, or an overloaded machine would never see a
	// dead server.
	spared bool
}

// lane holds the probes of one kind.
type lane struct {
	limit    int
	inFlight int
	waiting  []*entry
}

// New returns a monitor without targets. Run starts it.
func New(o Options) *Monitor {
	m := &Monitor{
		log:         o.Logger,
		onChange:    o.OnChange,
		pathReady:   o.Ready,
		pathExcuse:  o.Excuse,
		pathLearned: o.Learned,
		limits:      o.Limits,
		prepare:     o.Prepare,
		wake:        make(chan struct{}, 1),
		entries:     make(map[Target]*entry),
		queue:       queue{epoch: time.Now()},
		lanes:       make(map[string]*lane),
		panics:      make(map[string]bool),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.onChange == nil {
		m.onChange = func(Change) {}
	}
	if m.pathReady == nil {
		m.pathReady = func(Path) error { return nil }
	}
	if m.pathLearned == nil {
		m.pathLearned = func(Path) {}
	}
	if m.pathExcuse == nil {
		m.pathExcuse = func(Path) error { return nil }
	}
	if m.prepare == nil {
		m.prepare = Question.Prepare
	}
	if m.limits == nil {
		m.limits = make(map[string]int)
		for name, k := range kinds() {
			m.limits[name] = k.Limit
		}
	}
	return m
}

// Set makes the monitored targets equal to want. Targets that stay keep their
// schedule, counters and state; so does one whose interval, timeout, rise or
// fall alone changed, but for the schedule. Others start as their Want says.
// It does not wait for any probe, and holds as soon as it returns.
func (m *Monitor) Set(want []Want) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()

	keep := make(map[Target]bool, len(want))
	var fresh []Want
	for _, w := range want {
		w.Target = w.Target.Canonical()
		if keep[w.Target] {
			continue
		}
		keep[w.Target] = true
		if m.entries[w.Target] == nil {
			fresh = append(fresh, w)
		}
	}
	// predecessors are the entries that go, by what they asked.
	predecessors := make(map[Target]*entry)
	for t, e := range m.entries {
		if keep[t] {
			continue
		}
		m.drop(e)
		predecessors[t.identity()] = e
	}
	for _, w := range fresh {
		e := &entry{target: w.Target, check: w.Target.Check.withDefaults(), at: -1}
		e.ask, e.secrets = m.ready(e.check), needles(shortWord, secretsOf(e.check.Ask)...)
		if q, ok := e.check.Ask.(TCP); ok {
			e.plain = q.plain() && !e.check.Through
		}
		e.lane = m.lane(e.check.Kind())
		if e.plain {
			e.lane = m.lane(plainLane)
		}
		e.counter.adopt(now, w.Initial, initialReason(w.Initial))
		if mute, may := e.check.Ask.(Mute); may && mute.Mute() {
			// Whoever vouches for the server has not heard it from this check.
			e.counter.verdict.Mute = w.Initial == Up
		}
		if p := predecessors[w.Target.identity()]; p != nil {
			e.counter, e.last, e.count, e.advice, e.latency = p.counter, p.last, p.count, p.advice, p.latency
			e.counter.history = slices.Clone(p.counter.history)
			if !p.flying && !p.inherited {
				// What a kind of check knows of before goes on. It is for one at a time.
				e.ask, p.inherited = p.ask, true
			}
			e.heard, e.silence, e.unreached, e.moved, e.until = p.heard, p.silence, p.unreached, p.moved, p.until
		}
		e.base, e.round = firstDue(now, Target{Server: w.Target.Server, Check: e.check}, len(fresh), w.Initial)
		e.due = e.base
		m.entries[w.Target] = e
		if e.plain {
			m.plain++
		}
		heap.Push(&m.queue, e)
	}
	m.ports.forget(uptime())
	m.kick()
}

// Soon probes the targets that match at once, but for those in flight.
func (m *Monitor) Soon(match func(Target) bool) {
	now := time.Now()
	m.mu.Lock()
	for t, e := range m.entries {
		if e.at >= 0 && e.due.After(now) && match(t) {
			e.due = now
			m.queue.moved(e)
		}
	}
	m.mu.Unlock()
	m.kick()
}

// kick has Run look at what has changed.
func (m *Monitor) kick() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// ready gets a check ready to be asked; one that cannot be fails with the reason.
func (m *Monitor) ready(c Check) ProbeFunc {
	err := errNothing
	if c.Ask != nil {
		var ask ProbeFunc
		if ask, err = guarded(m, c.Kind(), func() (ProbeFunc, error) { return m.prepare(c.Ask) }); err == nil {
			return ask
		}
	}
	return func(context.Context, Target) (Answer, error) { return Answer{}, err }
}

// errNothing is the reason of a check without a question.
var errNothing = errors.New("nothing to ask")

func initialReason(s State) string {
	switch s {
	case Unknown:
		return "not probed yet"
	case Down:
		return "down until it passes"
	}
	return "taken over as " + s.String()
}

// drop forgets an entry. The caller holds mu.
func (m *Monitor) drop(e *entry) {
	delete(m.entries, e.target)
	if e.plain {
		m.plain--
	}
	e.gone = true
	if e.at >= 0 {
		heap.Remove(&m.queue, e.at)
	}
	if e.cancel != nil {
		e.cancel()
	}
}

// Snapshot is the status of every target, sorted by server and check.
func (m *Monitor) Snapshot() []Status {
	m.mu.Lock()
	out := make([]Status, 0, len(m.entries))
	for _, e := range m.entries {
		out = append(out, e.status())
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b Status) int {
		if c := a.Target.Server.Compare(b.Target.Server); c != 0 {
			return c
		}
		return strings.Compare(a.Target.Check.String(), b.Target.Check.String())
	})
	return out
}

// Status is the status of one target, which need not be in canonical form;
// false when it is not monitored.
func (m *Monitor) Status(t Target) (Status, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[t.Canonical()]
	if e == nil {
		return Status{}, false
	}
	return e.status(), true
}

// Judgment is what a decision about a target needs of its status.
type Judgment struct {
	Verdict
	Advice Advice
	// Fell says that it was up before it went down.
	Fell bool
	// Heard is when the last probe began that heard anything of the server, and Silence
	// when the first one did that has not since; zero is none.
	Heard, Silence time.Time
	// Passes and Fails are whether the last probe passed, and whether it failed: neither of
	// one that was inconclusive. Warning is the last one's.
	Passes, Fails bool
	Warning       string
	// Assumed says that nobody has seen it so.
	Assumed bool
	// Open says that no probe has decided it yet: it is unknown, or started as down and
	// may be on its way up.
	Open bool
	// Anew says that it is not up, could not be reached, and has not answered since Anew.
	Anew bool
}

// Judgments are those of targets, in their order; the zero value for one that is
// not monitored.
func (m *Monitor) Judgments(targets []Target) []Judgment {
	out, now := make([]Judgment, len(targets)), time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, t := range targets {
		if e := m.entries[t.Canonical()]; e != nil {
			out[i] = Judgment{
				Verdict: e.counter.verdict, Advice: e.advice, Fell: e.counter.fell(), Heard: e.heard, Silence: e.silence,
				Passes: e.last.OK, Fails: !e.last.Start.IsZero() && !e.last.OK && !e.last.Inconclusive, Warning: e.last.Warning,
				Open: e.open(), Anew: !e.moved.IsZero() && now.Before(e.until),
			}
		}
	}
	return out
}

func (e *entry) status() Status {
	return Status{
		Target: e.target, Verdict: e.counter.verdict, Streak: e.counter.streak, Last: e.last, Counters: e.count,
		Advice: e.advice, History: slices.Clip(e.counter.history), Latency: e.latency,
	}
}
