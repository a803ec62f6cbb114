package connsync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// takeTimeout is how long nothing of a table may come until it is given up: tables of
// others wait. Its giver says every workEvery that it is still reading it.
const takeTimeout, workEvery = time.Minute, 5 * time.Second

// beat calls f at most every workEvery.
func beat(f func()) func() {
	last := time.Now()
	return func() {
		if now := time.Now(); now.Sub(last) >= workEvery {
			last = now
			f()
		}
	}
}

// flushTime is how long the kernel's master daemon keeps a record at most
// (IPVS_SYNC_FLUSH_TIME, looked at once a second).
const flushTime = 3 * time.Second

// repairs is how often what is missing in the end is put in again.
const repairs = 3

// taking is a table that is being taken over.
type taking struct {
	session *session
	id      uint32
	token   uint64
	began   time.Time
	heard   time.Time // when something of it last came
	total   int
	serves  []netip.Addr // the giver's
	// complete are those of them of which the giver had all that is here.
	complete map[netip.Addr]bool
	// records are those that were put in, to be compared with; nil where there are
	// too many.
	records map[ConnKey]Record
	// owners say whose word counts. own are the entries that are here, nil until that
	// matters, won those of the table that count though they were not the giver's to
	// say, and had all of the table; fresh are those that live records have told of
	// meanwhile, which are newer than the table.
	owners          *owners
	own             map[ConnKey]ownConn
	won, had, fresh map[ConnKey]bool
	// asks are the wishes that it answers.
	asks []*ask
	// result grows on the session's goroutine; base is what it began with, and
	// received, under the exchange's lock, how far it is.
	result, base Result
	received     int
	// compareOnly changes nothing.
	compareOnly bool
}

// pull asks a partner for its table. The caller holds the lock.
func (e *Exchange) pull(now time.Time, p *partner) {
	s := e.sessions[p.name]
	if s == nil {
		return
	}
	e.pulls++
	t := &taking{session: s, id: e.pulls, token: p.token, began: now, heard: now, fresh: make(map[ConnKey]bool), won: make(map[ConnKey]bool)}
	why := p.due
	if why == "" {
		// An operator's wish alone.
		why = "asked for by an operator"
		t.compareOnly = !slices.ContainsFunc(p.asks, func(a *ask) bool { return !a.compare })
		t.asks, p.asks = p.asks, nil
	}
	t.base = Result{Peer: p.name, Why: why, Began: now}
	t.result = t.base
	e.taking, e.s.taking = t, p.name
	p.due, p.token = "", 0
	s.say(say(sayPull, pullMessage{ID: t.id, Why: why, Token: t.token}))
}

// say has the session's goroutine send a message. One that finds no room is lost: a
// partner that reads nothing for so long is given up by the channel.
func (s *session) say(payload []byte) {
	select {
	case s.out <- payload:
	default:
	}
}

// current is the table with a number that is being taken over from a session, nil
// if it has been given up.
func (e *Exchange) current(s *session, id uint32) *taking {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.taking == nil || e.taking.session != s || e.taking.id != id {
		return nil
	}
	e.taking.heard = time.Now()
	return e.taking
}

// begin prepares for the records of a table. What is of it belongs to the
// session's goroutine from here on.
func (e *Exchange) begin(s *session, m beginMessage) {
	t := e.current(s, m.ID)
	if t == nil {
		return
	}
	t.serves, t.result.serves = m.Serves, m.Serves
	t.result.Waiting, t.complete = time.Since(t.began), addressSet(m.Complete)
	if m.Total <= listLimit {
		t.records, t.had = make(map[ConnKey]Record, m.Total), make(map[ConnKey]bool, m.Total)
	}
	e.mu.Lock()
	t.total = m.Total
	t.owners = e.owners(s.partner)
	t.owners.giver = addressSet(m.Serves, s.partner.told.At)
	e.mu.Unlock()
}

// ownConns are the entries that are here.
func (e *Exchange) ownConns(ctx context.Context, t *taking) (map[ConnKey]ownConn, error) {
	e.mu.Lock()
	if e.shadow != nil && e.warm && e.cfg.Refresh > 0 {
		defer e.mu.Unlock()
		return e.shadow.conns(time.Now()), nil
	}
	e.mu.Unlock()
	out := make(map[ConnKey]ownConn)
	working := beat(func() { e.current(t.session, t.id) })
	for c, err := range e.opts.System.Conns(false) {
		working()
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		out[c.Key] = ownConn{c.Server, ageOf(c.Key, c.State, c.Expires)}
	}
	return out, nil
}

// take puts records of a table into the kernel.
func (e *Exchange) take(ctx context.Context, s *session, payload []byte) error {
	id, records, err := recordsIn(payload)
	if err != nil {
		return err
	}
	t := e.current(s, id)
	if t == nil {
		return nil
	}
	t.result.Records += len(records)
	if t.owners == nil {
		return errors.New("records ahead of the table that they are of")
	}
	records, err = t.judge(records, func() (map[ConnKey]ownConn, error) { return e.ownConns(ctx, t) })
	if err != nil {
		e.fail(t, err)
		return nil
	}
	e.mu.Lock()
	pool := e.pool
	e.mu.Unlock()
	for i := range records {
		if !pool.Bound(&records[i]) {
			t.result.Unbound++
		}
		if t.records != nil {
			t.records[records[i].Key] = records[i]
		}
	}
	if !t.compareOnly {
		if err := e.put(ctx, records, &t.result.Repeated); err != nil {
			e.fail(t, err)
			return nil
		}
		t.result.Installed += len(records)
	}
	e.mu.Lock()
	t.received = t.result.Records
	e.mu.Unlock()
	return nil
}

// conclude compares what is here with what has come, puts in what is missing and
// removes what is over.
func (e *Exchange) conclude(ctx context.Context, s *session, m endMessage) {
	t := e.current(s, m.ID)
	if t == nil {
		return
	}
	t.result.Taking = time.Since(t.began) - t.result.Waiting
	t.result.Unknown = m.Unknown
	problem := m.Problem
	if problem == "" && t.result.Records != m.Total {
		problem = fmt.Sprintf("%d of %d records have come", t.result.Records, m.Total)
	}
	looking := time.Now()
	if problem == "" {
		if err := e.verify(ctx, t); err != nil {
			problem = err.Error()
		}
	}
	t.result.Looking = time.Since(looking)
	e.mu.Lock()
	if e.taking != t {
		e.mu.Unlock()
		return // given up meanwhile
	}
	t.result.Problem = problem
	e.finish(t, t.result)
	e.mu.Unlock()
	s.say(say(sayDone, doneMessage{ID: t.id, Token: t.token, Result: t.result}))
	e.kick()
}

// fail ends a taking on its session's goroutine.
func (e *Exchange) fail(t *taking, err error) {
	t.result.Problem = err.Error()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finish(t, t.result)
}

// giveUp ends a taking from another goroutine.
func (e *Exchange) giveUp(t *taking, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := t.base
	r.Records, r.Problem = t.received, why
	e.finish(t, r)
}

// finish ends a taking with its result. The caller holds the lock.
func (e *Exchange) finish(t *taking, r Result) {
	if e.taking != t {
		return
	}
	e.taking, e.s.taking = nil, ""
	e.s.now = time.Now()
	p := t.session.partner
	if t.compareOnly {
		p.result = &r
	} else {
		e.s.ended(p, r, t.token)
	}
	for _, a := range t.asks {
		a.answer <- r // of capacity 1
	}
	level := slog.LevelInfo
	if r.Problem != "" || r.Missing > 0 {
		level = slog.LevelWarn
	}
	e.opts.Tell(level, r.Peer, r.String())
	e.kick()
}

// verify compares.
func (e *Exchange) verify(ctx context.Context, t *taking) error {
	if t.records == nil {
		return e.verifyCounters(ctx, t)
	}
	t.result.Compared = "entries"
	for round := 0; ; round++ {
		missing, extra, err := e.differences(ctx, t)
		if err != nil {
			return err
		}
		if t.compareOnly && (len(missing) == 0 || round > 0) {
			t.result.Missing, t.result.Extra = len(missing), len(extra)
			return nil
		}
		if t.compareOnly {
			// The kernel's own messages may bring the youngest yet.
			if err := pause(ctx, flushTime); err != nil {
				return err
			}
			continue
		}
		if len(missing) == 0 || round == repairs {
			t.result.Missing = len(missing)
			return e.prune(ctx, t, extra)
		}
		if err := e.put(ctx, missing, &t.result.Repeated); err != nil {
			return err
		}
	}
}

// differences are the records that the kernel has not taken in, or otherwise, and
// the entries of addresses that the giver alone serves, and that it has not.
func (e *Exchange) differences(ctx context.Context, t *taking) (missing []Record, extra []Conn, err error) {
	e.mu.Lock()
	ours, pool := addressSet(e.serves), e.pool
	e.mu.Unlock()
	giver := addressSet(t.serves)
	spared := func(c *Conn) bool {
		s, _ := pool.infer(c.Key, c.Server)
		return pool.spares(c.Key, s)
	}
	seen := make(map[ConnKey]bool, len(t.records))
	t.result.Wrong = 0
	working := beat(func() { e.current(t.session, t.id) })
	for c, err := range e.opts.System.Conns(false) {
		working()
		if err != nil {
			return nil, nil, err
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		r, sent := t.records[c.Key]
		v := c.Key.Virtual.Addr()
		switch {
		case sent && c.Server == r.Server:
			seen[c.Key] = true
		case sent && !seen[c.Key]:
			t.result.Wrong++
		case !sent && !t.had[c.Key] && !t.fresh[c.Key] && !c.Key.passing(c.State) && giver[v] && !t.owners.others[v] && !ours[v] && !spared(&c):
			extra = append(extra, c)
		}
	}
	for k, r := range t.records {
		if !seen[k] && !t.fresh[k] {
			missing = append(missing, r)
		}
	}
	return missing, extra, nil
}

// prune removes the entries that two tables of a giver in a row did not have though it
// had them once. Others may be the last copy: after a gate that timed out, or because
// somebody emptied its table; it takes those over. Nothing is removed of what is served
// here.
func (e *Exchange) prune(ctx context.Context, t *taking, extra []Conn) error {
	sure := slices.Clone(extra)
	sure = slices.DeleteFunc(sure, func(c Conn) bool { return !t.complete[c.Key.Virtual.Addr()] || t.result.Unknown > 0 })
	t.result.Offered = len(extra) - len(sure)
	last := e.takeExtras(t.result.Peer, sure)
	var over []Record
	for _, c := range sure {
		if last[c.Key] {
			over = append(over, c.gone())
		}
	}
	t.result.Extra = len(extra) - len(over)
	if err := e.put(ctx, over, &t.result.Repeated); err != nil {
		return fmt.Errorf("removing entries that are over: %w", err)
	}
	t.result.Removed = len(over)
	return nil
}

// takeExtras remembers the extra entries and returns those of the time before.
func (e *Exchange) takeExtras(peer string, extra []Conn) map[ConnKey]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.extras[peer]
	now := make(map[ConnKey]bool, len(extra))
	for _, c := range extra {
		now[c.Key] = true
	}
	e.extras[peer] = now
	return last
}

// verifyCounters compares how much the servers have with how much has come.
func (e *Exchange) verifyCounters(ctx context.Context, t *taking) error {
	t.result.Compared = "counters"
	pool, err := e.opts.Pool(ctx, true)
	if err != nil {
		return err
	}
	have := pool.conns()
	t.result.Missing = max(0, t.result.Records-t.result.Unbound-have)
	return nil
}

// driftLimit is how many comparisons of counters in a row must differ before the
// whole table is taken over for it.
const driftLimit = 3

// counters tells the others what the kernel counts, now and then. The caller holds
// the lock.
func (e *Exchange) counters(now time.Time) {
	if len(e.serves) == 0 || len(e.sessions) == 0 || e.s.problem != "" || now.Sub(e.counted) < countEvery {
		return
	}
	e.counted = now
	rows := e.pool.rows(e.serves)
	if len(rows) > rowLimit {
		return // whole tables are compared all the same
	}
	message := say(sayCounters, countersMessage{Rows: rows})
	for _, s := range e.sessions {
		s.say(message)
	}
}

const (
	// countEvery is how often counters are compared, and rowLimit how many at most.
	countEvery = 5 * time.Second
	rowLimit   = 1000
)

// rows are the counters of the servers that have something, of services at the
// addresses and of those by mark, which have none.
func (p *Pool) rows(serves []netip.Addr) (rows []counterRow) {
	served := addressSet(serves)
	for _, s := range p.services {
		if s.Mark == 0 && !served[s.Virtual.Addr()] {
			continue
		}
		for _, server := range s.Servers {
			if p.spares(ConnKey{}, &s) {
				server.Active = 0
			}
			if server.Active+server.Templates > 0 {
				rows = append(rows, counterRow{s.String(), server.Addr, server.Active, server.Templates})
			}
		}
	}
	return rows
}

// String is the service as the kernel knows it.
func (s Service) String() string {
	if s.Mark != 0 {
		return fmt.Sprintf("mark %d %s", s.Mark, s.Virtual.Addr())
	}
	return fmt.Sprintf("%s/%s", s.Virtual, protocolName(s.Protocol))
}

// compare compares a partner's counters with our own. Both are of another moment, so
// that a few may differ; what stays is drift.
func (e *Exchange) compare(s *session, m countersMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	type row struct {
		service string
		server  netip.AddrPort
	}
	own := make(map[row]Server)
	for _, service := range e.pool.services {
		for _, server := range service.Servers {
			if e.pool.spares(ConnKey{}, &service) {
				server.Active = 0
			}
			own[row{service.String(), server.Addr}] = server
		}
	}
	text := ""
	for _, r := range m.Rows {
		have := own[row{r.Service, r.Server}]
		if apart(r.Active, have.Active) || apart(r.Templates, have.Templates) {
			text = fmt.Sprintf("%s of %s has %d connections and %d templates there, %d and %d here",
				r.Server, r.Service, r.Active, r.Templates, have.Active, have.Templates)
			break
		}
	}
	if text == "" {
		s.drift = 0
		return
	}
	if s.drift++; s.drift >= driftLimit && len(e.serves) == 0 && s.partner.due == "" && !e.s.now.Before(s.partner.quiet) {
		s.drift = 0
		s.partner.due = text
		// If that does not help, another one soon will not either.
		s.partner.calm = min(max(2*s.partner.calm, 15*time.Second), maxRetryPull)
		s.partner.quiet = e.s.now.Add(s.partner.calm)
	}
}

// apart says whether two counts differ by more than what happens in a moment.
func apart(a, b int) bool {
	d := max(a-b, b-a)
	return d > 10 && d*50 > max(a, b)
}
