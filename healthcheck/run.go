package healthcheck

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// result is how a probe in flight comes back.
type result struct {
	entry   *entry
	start   time.Time
	elapsed time.Duration
	answer  Answer
	err     error
}

// Run probes until ctx ends and returns nil when the last probe in flight has
// ended. It is called once.
func (m *Monitor) Run(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		m.poll()
		if d, ok := m.startDue(ctx, time.Now(), &probes); ok {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
			m.tell()
		case <-timer.C:
		}
	}
}

// startDue starts what is due and says how long it is until the next one;
// false when nothing waits for its time.
func (m *Monitor) startDue(ctx context.Context, now time.Time, probes *sync.WaitGroup) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.queue.first(); e != nil && !e.due.After(now); e = m.queue.first() {
		heap.Pop(&m.queue)
		l := e.lane
		l.waiting = append(l.waiting, e)
	}
	for _, l := range m.lanes {
		for len(l.waiting) > 0 && l.inFlight < l.limit {
			e := l.waiting[0]
			l.waiting[0] = nil
			l.waiting = l.waiting[1:]
			if !e.gone {
				m.start(ctx, now, e, probes)
			}
		}
	}
	if m.crowded() {
		return breath, true
	}
	e := m.queue.first()
	if e == nil {
		return 0, false
	}
	return e.due.Sub(now), true
}

const (
	// many is how many targets make it worth to look at all that is due or has ended
	// once in a breath, instead of at each in its moment: to wake up is most of what a
	// probe costs then.
	many = 500
	// breath is how much later a probe may start, and its result be seen.
	breath = 10 * time.Millisecond
)

// crowded is whether there are many targets that are probed by plain connections.
// The caller holds mu.
func (m *Monitor) crowded() bool { return m.connector != nil && m.plain > many }

// poll takes in the results of plain connections where nobody waits for them.
func (m *Monitor) poll() {
	m.mu.Lock()
	c, crowded := m.connector, m.crowded()
	m.mu.Unlock()
	if c == nil {
		return
	}
	c.setPolled(crowded)
	if crowded {
		if err := c.poll(time.Now()); err != nil {
			m.log.Error("polling plain connections", "error", err)
		}
	}
}

const (
	// plainLane is the lane of plain connections, which cost a descriptor each and
	// next to nothing else.
	plainLane  = "plain tcp"
	plainLimit = 16384
)

// lane finds or makes the lane of a kind. The caller holds mu.
func (m *Monitor) lane(kind string) *lane {
	l := m.lanes[kind]
	if l == nil {
		l = &lane{limit: m.limits[kind]}
		switch {
		case kind == plainLane:
			l.limit = plainLimit
		case l.limit <= 0:
			l.limit = defaultLimit
		}
		m.lanes[kind] = l
	}
	return l
}

// start puts a probe into flight. The caller holds mu.
func (m *Monitor) start(ctx context.Context, now time.Time, e *entry, probes *sync.WaitGroup) {
	if now.Sub(e.due) > lateAfter(e.check.Interval) {
		e.count.Late++
	}
	e.flying = true
	e.flight++
	e.lane.inFlight++
	if e.plain && m.connect(ctx, now, e, probes) {
		return
	}
	probe, cancel := context.WithTimeout(ctx, e.check.Timeout)
	e.cancel = cancel
	t := Target{Server: e.target.Server, Check: e.check, Path: e.target.Path}
	if !t.Path.Direct() {
		t.Path.Port = m.ports.pick(t.Path, uptime())
	}
	flight := e.flight
	late := time.AfterFunc(e.check.Timeout+hangSlack, func() { m.hangs(time.Now(), e, flight, now) })
	probes.Go(func() {
		defer cancel()
		r := result{entry: e, start: time.Now()}
		r.answer, r.err = m.askGuarded(probe, e.ask, t)
		r.elapsed = time.Since(r.start)
		late.Stop()
		if ctx.Err() == nil { // else it is the end, not the server, that is seen
			m.finish(time.Now(), r)
		}
	})
}

// hangSlack is how much later than its timeout a probe may end before it is said to hang.
const hangSlack = time.Second

// hangs takes notice of a probe that does not end although its time is over, which no server
// can bring about: what hangs is on this machine, a file or a program. It says nothing about
// the server, gives its place in the lane to others, and is probed again when it has ended.
func (m *Monitor) hangs(now time.Time, e *entry, flight uint64, start time.Time) {
	m.mu.Lock()
	defer m.kick()
	defer m.mu.Unlock()
	if !e.flying || e.flight != flight {
		return
	}
	e.hanging = true
	e.lane.inFlight--
	if e.gone {
		return
	}
	e.last = Probe{Start: start.Round(0), Latency: now.Sub(start), Inconclusive: true, Reason: "the check itself hangs: a file or a program on this director does not answer"}
	if e.counter.verdict.State == Unknown {
		e.counter.verdict.Reason = e.last.Reason
	}
}

// connect has the connector probe; false when it cannot. The caller holds mu.
func (m *Monitor) connect(ctx context.Context, now time.Time, e *entry, probes *sync.WaitGroup) bool {
	if m.connector == nil {
		c, err := newConnector(m.landed)
		if err != nil {
			return false // no descriptors, or another system
		}
		m.connector = c
		probes.Go(func() {
			if err := c.run(ctx); err != nil {
				m.log.Error("probing by plain connections; beginning again", "error", err)
				m.mu.Lock()
				m.connector = nil
				m.mu.Unlock()
			}
		})
	}
	if err := m.connector.start(e, now); err != nil {
		err = dialError(err, Target{Server: e.target.Server, Check: e.check})
		// Not from here: the entry would go back into the queue that is being read.
		probes.Go(func() { m.finish(time.Now(), result{entry: e, start: now, err: err}) })
	}
	return true
}

// landed takes in the results of plain connections, on the connector's goroutine.
func (m *Monitor) landed(all []landing) {
	now := time.Now()
	m.mu.Lock()
	kick := false
	for _, l := range all {
		r := result{entry: l.entry, start: l.start, elapsed: now.Sub(l.start), answer: Answer{Detail: "connected"}}
		if l.took > 0 {
			r.elapsed = l.took
		}
		if l.err != nil {
			r.answer, r.err = Answer{}, dialError(l.err, Target{Server: l.entry.target.Server, Check: l.entry.check})
		}
		kick = m.take(now, r) || kick
	}
	m.mu.Unlock()
	if kick {
		m.kick()
	}
}

// finish takes a result in, on the probe's own goroutine. Run is woken only when
// that gives it something to do: a thread that wakes up another one is most of
// what an idle director costs.
func (m *Monitor) finish(now time.Time, r result) {
	m.mu.Lock()
	kick := m.take(now, r)
	m.mu.Unlock()
	if kick {
		m.kick()
	}
}

// take takes a result in, and says whether Run has something to do because of it.
// The caller holds mu.
func (m *Monitor) take(now time.Time, r result) bool {
	change, changed := m.record(now, r)
	if changed {
		m.news = append(m.news, change)
	}
	next := m.queue.first() == r.entry
	return changed || next || len(r.entry.lane.waiting) > 0
}

// tell tells of the changes since the last time.
func (m *Monitor) tell() {
	m.mu.Lock()
	news := m.news
	m.news = nil
	m.mu.Unlock()
	for _, c := range news {
		if c.From == c.To {
			m.onChange(c)
			continue
		}
		m.log.Info("server is "+c.To.String(), "server", c.Target.Server, "check", c.Target.Check.String(),
			"was", c.From.String(), "reason", c.Reason)
		m.onChange(c)
	}
}

// record takes a result in and schedules the next probe. The caller holds mu.
func (m *Monitor) record(now time.Time, r result) (Change, bool) {
	e := r.entry
	if !e.hanging {
		e.lane.inFlight--
	}
	e.flying, e.hanging, e.cancel = false, false, nil
	if e.gone {
		return Change{}, false
	}
	e.last = Probe{Start: r.start.Round(0), Latency: r.elapsed, OK: r.err == nil, Silent: r.err != nil && silent(r.err)}
	e.last.Reason, e.last.Warning = r.shown()
	e.count.Probes++
	if errors.Is(r.err, errPanicked) {
		e.count.Panics++
	}
	e.unreached = e.missed(r.err)
	again, early := e.early(now, r)
	switch {
	case r.err == nil:
		e.count.Successes++
		e.latency.add(r.elapsed)
	case early:
		e.last.Inconclusive = true
	case errors.Is(r.err, ErrInconclusive):
		e.last.Inconclusive = true
	case errors.Is(r.err, ErrTimeout) && starved(r.elapsed, e.check.Timeout) && !e.spared:
		e.last.Inconclusive = true
		e.last.Reason += " (this director was not running)"
		again = now
	default:
		e.count.Failures++
	}
	if errors.Is(r.err, errNotReady) && e.counter.verdict.State == Unknown {
		again = now.Add(readyRetry)
	}
	e.spared = e.last.Inconclusive && errors.Is(r.err, ErrTimeout)
	from, changed := e.counter.verdict.State, false
	if e.last.Inconclusive {
		e.count.Inconclusive++
		if e.counter.verdict.State == Unknown {
			e.counter.verdict.Reason = e.last.Reason
		}
	} else {
		e.hear(r.start)
		atOnce := r.answer.AtOnce || !e.moved.IsZero()
		changed = e.counter.observe(now, finding{e.last.OK, e.last.Reason, e.last.OK && r.answer.Mute, atOnce}, e.check)
		e.moved = time.Time{}
	}
	m.schedule(now, e, again)
	advised := e.advice != r.answer.Advice && !e.last.Inconclusive
	if r.err != nil && r.answer.Advice == (Advice{}) && e.counter.verdict.State != Down {
		advised = false // what was said last holds as long as the server does
	}
	if advised {
		e.advice = r.answer.Advice
	}
	if changed && e.counter.verdict.State != from {
		e.count.Changes++
	}
	v := e.counter.verdict
	return Change{
		Target: e.target, From: from, To: v.State, Reason: v.Reason, Advice: e.advice, Silent: e.last.Silent, Time: now.Round(0),
	}, changed || advised
}

// hear takes notice of whether the last probe heard anything.
func (e *entry) hear(at time.Time) {
	switch {
	case !e.last.Silent:
		e.heard, e.silence = at, time.Time{}
	case e.silence.IsZero():
		e.silence = at
	}
}

// schedule puts an entry whose probe has ended back into the queue, for again or,
// if that is zero, for its next turn. The caller holds mu.
func (m *Monitor) schedule(now time.Time, e *entry, again time.Time) {
	switch {
	case !again.IsZero():
		e.base = again
	case e.round.After(now):
		e.base = e.round
	case e.base.After(now): // it was probed before its time
		if soon := now.Add(e.check.pace(e.counter.verdict.State, e.counter.streak)); soon.Before(e.base) {
			e.base = soon
		}
	default:
		if !e.round.IsZero() {
			e.base = e.round // overtaken by the first probe: begin with the one after
		}
		e.base = nextDue(e.base, now, e.check.pace(e.counter.verdict.State, e.counter.streak))
	}
	e.round = time.Time{}
	e.due = e.base
	if e.check.Jitter > 0 {
		e.due = e.check.jittered(e.base, rand.Float64())
	}
	heap.Push(&m.queue, e)
}
