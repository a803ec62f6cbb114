package connsync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Link is a session with another director.
type Link interface {
	// Peer is its name.
	Peer() string
	// Send sends a message after those before it; it waits for room.
	Send(ctx context.Context, payload []byte) error
}

// Hearer hears the sync messages of this machine's own master daemon.
type Hearer interface {
	// Hear waits for a message. gap says that some before it were lost.
	Hear(buffer []byte) (n int, gap bool, err error)
	// Inode is that of its socket.
	Inode() uint64
	Close() error
}

// System is the part of the kernel that an Exchange uses.
type System interface {
	// Conns is the kernel's connection table, with where entries come from or with
	// the data of persistence engines. An error is the last that is yielded.
	Conns(synced bool) iter.Seq2[Conn, error]
	// Intake opens the way to the backup daemon that the description is of. own
	// returns the inodes of this process's own sockets on its group.
	Intake(d Daemon, own func() []uint64) (Intake, error)
	// Tap listens to what a master daemon says on the loopback interface.
	Tap(Daemon) (Hearer, error)
}

// ExchangeOptions are what an Exchange needs.
type ExchangeOptions struct {
	// System is nil where IPVS is not the kernel's; then nothing is exchanged.
	System System
	// Pool are the services in the kernel with their counters, as they are now or
	// were a moment ago. An error says why they are not there yet: entries that come
	// before their services belong to no server.
	Pool func(ctx context.Context, now bool) (*Pool, error)
	// Wake has Compose asked; OnWait is told when Waiting gives another answer, Tell
	// what a person should know. They must not block.
	Wake   func()
	OnWait func()
	Tell   func(level slog.Level, peer, text string)
}

// ExchangeConfig is what the file says.
type ExchangeConfig struct {
	// On says that there is connection synchronisation at all; Off says why not.
	On  bool
	Off string
	// Daemons are those that run on this director.
	Daemons []Daemon
	// Transport is how live records travel.
	Transport Transport
	// TemplatesOnly has no connections of persistent services handed over, as the kernel
	// sends none (net.ipv4.vs.sync_persist_mode): their templates are enough.
	TemplatesOnly bool
	// Others are the names of the directors that the channel knows besides this one.
	Others []string
	// Gate is how long to wait for the connections of a living director before
	// taking addresses from it.
	Gate time.Duration
	// Refresh is the time after which the kernel tells again of a connection that
	// goes on (net.ipv4.vs.sync_refresh_period with a sync_threshold whose period is
	// zero); zero where it counts packets instead.
	Refresh time.Duration
}

// listLimit is how many entries are compared one by one, and looked up in the
// kernel's listing, which takes time in the square of them.
const listLimit = 50_000

// Exchange hands connections over between directors: whole tables to those that
// lack them, live records where the kernel's own multicast does not carry them, and
// comparisons. It is safe for concurrent use.
type Exchange struct {
	opts  ExchangeOptions
	wake  chan struct{} // capacity 1
	epoch uint64
	run   context.Context // of what is started for sessions
	end   context.CancelFunc
	group sync.WaitGroup // what is started for sessions

	// installing is held while records are put into the kernel.
	installing sync.Mutex
	in         *installer // guarded by installing; nil until needed
	inFor      Daemon

	mu       sync.Mutex // guards everything below
	cfg      ExchangeConfig
	s        situation
	serves   []netip.Addr
	turns    int
	pool     *Pool
	poolHash uint64
	seen     bool // pool is the kernel's
	conns    int
	lastWait string
	shown    string // the one that OnWait was told of
	sessions map[string]*session
	taking   *taking
	pulls    uint32
	counted  time.Time
	unknown  int // entries that could not be handed over the last time
	tokens   uint64
	extras   map[string]map[ConnKey]bool
	shadow   *Shadow
	warm     bool // the shadow has everything
	relay    relayCounters
	seeding  bool
	own      []uint64 // inodes of the tap's sockets
	// waiting and dropped are what the backup daemon's socket held and had dropped
	// when it was last looked at, at metered.
	waiting  int
	dropped  uint64
	metered  time.Time
	failed   int // looks at it in a row that failed
	version0 bool
	// troubles are what is the matter with the kernel, by what it is about.
	troubles map[string]string
}

// session is one connection with a partner.
type session struct {
	began   time.Time
	link    Link
	partner *partner
	ctx     context.Context
	end     context.CancelFunc
	asks    chan pullMessage // capacity 1
	live    chan []byte
	// out are messages to be sent by the session's own goroutine: nobody else waits
	// for a partner that does not read.
	out     chan []byte
	gap     bool // live records for it were lost
	told    report
	toldAny bool
	// counted says that the kernel's counters have been read since it began, so that
	// there is something true to tell.
	counted bool
	// done is closed and replaced with each sayDone; token is that of the last one that
	// went well.
	done  chan struct{}
	token uint64
	drift int // comparisons in a row that differed
	// sent and received are live records.
	sent, received uint64
}

// NewExchange returns an exchange that does nothing until Run.
func NewExchange(opts ExchangeOptions) *Exchange {
	e := &Exchange{
		opts: opts, wake: make(chan struct{}, 1), epoch: rand.Uint64(), sessions: make(map[string]*session),
		extras: make(map[string]map[ConnKey]bool), pool: NewPool(nil), troubles: make(map[string]string),
	}
	e.run, e.end = context.WithCancel(context.Background())
	e.s.behind = time.Now()
	e.s.problem = "connection synchronisation is off"
	return e
}

// Set says what the file wants. Waiting goes by it at once.
func (e *Exchange) Set(cfg ExchangeConfig) {
	e.mu.Lock()
	if e.cfg.On && cfg.On && e.cfg.Transport != cfg.Transport {
		e.behindAll("the transport has changed")
	}
	if !e.cfg.On && cfg.On {
		// As at the start: others may have what was never told to this director.
		e.s.behind, e.s.since = time.Now(), time.Time{}
		e.s.whole = false
	}
	e.cfg = cfg
	if e.shadow != nil {
		e.shadow.Slack = slack(cfg)
	}
	e.s.gate, e.s.expected = cfg.Gate, len(cfg.Others)
	e.s.problem = ""
	switch {
	case !cfg.On:
		e.s.problem = cfg.Off
	case e.opts.System == nil:
		e.s.problem = "IPVS is not the kernel's"
	}
	e.s.partners = slices.DeleteFunc(e.s.partners, func(p *partner) bool { return !p.connected && !slices.Contains(cfg.Others, p.name) })
	for _, name := range cfg.Others {
		e.partner(name)
	}
	e.s.now = time.Now()
	e.lastWait, _ = e.s.wait()
	e.s.opened(e.lastWait == "")
	e.mu.Unlock()
	e.kick()
}

// Serves says which virtual addresses are here now.
func (e *Exchange) Serves(addresses []netip.Addr) {
	slices.SortFunc(addresses, netip.Addr.Compare)
	e.mu.Lock()
	e.s.now = time.Now()
	var came []netip.Addr
	before := addressSet(e.serves)
	for _, a := range addresses {
		if !before[a] {
			came = append(came, a)
		}
	}
	if len(came) > 0 {
		e.turns++
	}
	if e.s.serving && len(addresses) == 0 {
		if len(e.sessions) == 0 {
			e.s.fallBehind(e.s.now) // whoever serves now is not heard
		}
		// Whoever has them may have had another idea of some connections.
		for _, p := range e.s.partners {
			if p.connected && p.due == "" {
				p.again, p.againWhy = time.Now().Add(retryPull), "the addresses went from here"
			}
		}
	}
	e.serves, e.s.serves, e.s.serving = addresses, addresses, len(addresses) > 0
	e.s.gain(came)
	e.mu.Unlock()
	e.kick()
}

// Waiting says why a living director is to be left its addresses for now; empty
// when it need not be.
func (e *Exchange) Waiting() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastWait
}

func (e *Exchange) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// behindAll has the table of every partner taken over. The caller holds the lock.
func (e *Exchange) behindAll(why string) {
	for _, p := range e.s.partners {
		if p.connected && p.due == "" {
			p.due = why
		}
	}
}

// Open begins a session.
func (e *Exchange) Open(link Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.run.Err() != nil {
		return // it comes while all ends
	}
	delete(e.extras, link.Peer())
	s := &session{began: time.Now(), link: link, asks: make(chan pullMessage, 1), live: make(chan []byte, liveLimit), out: make(chan []byte, 64), done: make(chan struct{})}
	s.ctx, s.end = context.WithCancel(e.run)
	s.partner = e.partner(link.Peer())
	s.partner.connected, s.partner.heard, s.partner.whole, s.partner.looked = true, false, false, false
	s.partner.due, s.partner.token, s.partner.retry = "", 0, 0
	s.partner.notBefore, s.partner.again = time.Time{}, time.Time{}
	e.sessions[link.Peer()] = s
	e.group.Go(func() { e.give(s) })
	e.group.Go(func() { e.send(s) })
	e.kick()
}

// Close ends a session.
func (e *Exchange) Close(link Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sessions[link.Peer()]
	if s == nil || s.link != link {
		return
	}
	s.end()
	delete(e.sessions, link.Peer())
	// A channel that comes and goes must not keep the gate closed for ever.
	if s.partner.heard && !e.s.serving && time.Since(s.began) >= e.s.gate {
		e.s.fallBehind(time.Now()) // what becomes of its connections is not heard
	}
	s.partner.connected, s.partner.met, s.partner.turns = false, s.partner.told.Epoch, s.partner.told.Turns
	if t := e.taking; t != nil && t.session == s {
		r := t.base
		r.Records, r.Problem = t.received, "the connection to it has ended"
		e.finish(t, r)
	}
	if name := link.Peer(); !slices.Contains(e.cfg.Others, name) {
		e.s.partners = slices.DeleteFunc(e.s.partners, func(p *partner) bool { return p.name == name })
	}
	e.kick()
}

// partner is the director of a name. The caller holds the lock.
func (e *Exchange) partner(name string) *partner {
	for _, p := range e.s.partners {
		if p.name == name {
			return p
		}
	}
	p := &partner{name: name, full: make(map[netip.Addr]bool)}
	e.s.partners = append(e.s.partners, p)
	return p
}

// Compose is what there is to tell a director of this one.
func (e *Exchange) Compose(link Link) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sessions[link.Peer()]
	if s == nil || s.link != link || !s.counted {
		return nil
	}
	now := report{
		Epoch: e.epoch, Conns: e.conns, Waiting: e.lastWait != "" && !e.s.serving, Serves: len(e.serves), Turns: e.turns, Pool: e.poolHash,
		Transport: e.cfg.Transport, Problem: e.s.problem, Unready: e.s.unready != "",
	}
	if len(e.serves) <= maxServes {
		now.At = e.serves
	}
	if s.toldAny && s.told.equal(now) {
		return nil
	}
	s.told, s.toldAny = now, true
	return say(sayReport, now)
}

// equal says whether there is no news in another report.
func (r report) equal(o report) bool {
	// A count that moves a little is none.
	near := r.Conns == o.Conns || r.Conns > 0 && o.Conns > 0 && max(r.Conns, o.Conns) < 2*min(r.Conns, o.Conns)
	return near && r.Serves == o.Serves && slices.Equal(r.At, o.At) && r.Unready == o.Unready && r.Epoch == o.Epoch && r.Waiting == o.Waiting && r.Turns == o.Turns &&
		r.Pool == o.Pool && r.Transport == o.Transport && r.Problem == o.Problem
}

// Run works until ctx ends.
func (e *Exchange) Run(ctx context.Context) error {
	defer e.group.Wait()
	defer e.end()
	defer e.closeIntake()
	var listening listener
	defer listening.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-timer.C:
		}
		e.listen(&listening)
		e.mu.Lock()
		seed := e.shadow != nil && !e.warm && !e.seeding && e.s.unready == "" && e.seen
		e.mu.Unlock()
		if seed {
			e.group.Go(e.seed)
		}
		timer.Reset(e.turn(ctx, time.Now()))
	}
}

// tick is how often things are looked at though nothing has happened.
const tick = time.Second

// turn looks at how things stand and does what is due.
func (e *Exchange) turn(ctx context.Context, now time.Time) time.Duration {
	e.mu.Lock()
	var uncounted []*session
	for _, s := range e.sessions {
		if !s.counted {
			uncounted = append(uncounted, s)
		}
	}
	e.mu.Unlock()
	pool, err := e.opts.Pool(ctx, len(uncounted) > 0)
	e.mu.Lock()
	e.s.unready = ""
	if err != nil {
		e.s.unready = err.Error()
	} else {
		if !slices.ContainsFunc(e.cfg.Daemons, func(d Daemon) bool { return d.Role == Backup }) {
			e.s.unready = "the backup daemon does not run while this director serves"
		}
		e.look(pool)
		for _, s := range uncounted {
			s.counted = true
		}
	}
	e.s.now = now
	wait, open := e.s.wait()
	changed := wait != e.shown
	tell := changed && e.lastWait != "" && wait == ""
	e.lastWait, e.shown = wait, wait
	e.s.opened(wait == "")
	if p := e.s.next(); p != nil {
		e.pull(now, p)
	}
	late := e.taking
	if late != nil && now.Sub(late.heard) <= takeTimeout {
		late = nil
	}
	e.counters(now)
	others := len(e.sessions)
	e.mu.Unlock()
	if late != nil {
		e.giveUp(late, fmt.Sprintf("nothing of it has come for %s", takeTimeout))
	}
	if tell {
		e.opts.Tell(slog.LevelInfo, "", "does not wait for connections any more: "+open)
	}
	if changed {
		e.opts.OnWait()
	}
	e.meter(now)
	if others > 0 || changed {
		e.opts.Wake()
	}
	return tick
}

// look takes the services in. The caller holds the lock.
func (e *Exchange) look(pool *Pool) {
	hash, had := e.poolHash, e.conns
	pool.templatesOnly = e.cfg.TemplatesOnly
	e.pool, e.poolHash, e.conns, e.seen = pool, pool.Hash(), pool.conns(), true
	if emptied(had, e.conns) {
		e.lost()
	}
	if hash == e.poolHash {
		return
	}
	for _, p := range e.s.partners {
		if p.result != nil && p.result.Unbound > 0 && p.due == "" {
			p.due = "the services have changed"
		}
	}
}

// lost takes notice that somebody has taken the table away from under the kernel: other
// directors have the last copy. The caller holds the lock.
func (e *Exchange) lost() {
	e.s.whole, e.conns = false, 0
	if e.shadow != nil {
		e.shadow, e.warm = NewShadow(slack(e.cfg)), false
	}
	for _, p := range e.s.partners {
		clear(p.full)
		p.whole, p.looked = false, false
		if p.connected && p.heard && p.told.Conns > 0 {
			p.due, p.notBefore = "the table here was emptied", time.Time{}
		}
	}
}

// conns counts all entries that belong to services.
func (p *Pool) conns() (n int) {
	for _, s := range p.services {
		for _, server := range s.Servers {
			n += server.Active + server.Inactive + server.Templates
		}
	}
	return n
}

// Receive takes a message of a director in. It waits while records are put into
// the kernel, and so makes their sender wait.
func (e *Exchange) Receive(ctx context.Context, link Link, payload []byte) error {
	e.mu.Lock()
	s := e.sessions[link.Peer()]
	e.mu.Unlock()
	if s == nil || s.link != link || len(payload) == 0 {
		return nil
	}
	switch payload[0] {
	case sayReport:
		r, err := hear[report](payload)
		if err != nil {
			return err
		}
		e.mu.Lock()
		p := s.partner
		first := !p.heard
		turned := p.heard && r.Serves > 0 && p.told.Serves == 0
		was := p.told.Conns
		if p.heard && r.Transport != p.told.Transport && p.due == "" {
			p.due = "its transport has changed"
		}
		p.hears(r, first, e.serves)
		if why := e.s.greet(p); first && why != "" {
			p.due = why
		} else if !first && p.result == nil && was == 0 && r.Conns > 0 && p.due == "" && (!e.s.serving || r.Serves > 0) {
			p.due = "its first connections" // to be sure
		}
		if !slices.ContainsFunc(e.s.partners, func(p *partner) bool { return p.connected && (!p.heard || p.told.Conns > 0) }) {
			e.s.whole = true // nobody has what is not here
		}
		if soon := time.Now().Add(retryPull); turned && p.due == "" && (p.again.IsZero() || p.again.After(soon)) {
			p.again, p.againWhy = soon, "it serves now"
		}
		e.mu.Unlock()
		e.kick()
	case sayPull:
		m, err := hear[pullMessage](payload)
		if err != nil {
			return err
		}
		select { // the newest counts
		case <-s.asks:
		default:
		}
		s.asks <- m
	case sayBegin:
		m, err := hear[beginMessage](payload)
		if err != nil {
			return err
		}
		e.begin(s, m)
	case sayRecords:
		return e.take(ctx, s, payload)
	case sayWorking:
		m, err := hear[workingMessage](payload)
		if err != nil {
			return err
		}
		e.current(s, m.ID)
	case sayEnd:
		m, err := hear[endMessage](payload)
		if err != nil {
			return err
		}
		e.conclude(ctx, s, m)
	case sayDone:
		m, err := hear[doneMessage](payload)
		if err != nil {
			return err
		}
		e.mu.Lock()
		if m.Result.Problem == "" {
			s.token = max(s.token, m.Token)
		}
		if p := s.partner; m.Result.Problem == "" && m.Result.Offered > 0 && e.s.serving && p.due == "" {
			p.due = "it has entries that are not here" // and may be the last to have them
		}
		close(s.done)
		s.done = make(chan struct{})
		e.mu.Unlock()
	case sayLive:
		return e.takeLive(ctx, s, payload[1:])
	case sayGap:
		e.mu.Lock()
		s.partner.due = "live records were lost"
		e.mu.Unlock()
		e.kick()
	case sayCounters:
		m, err := hear[countersMessage](payload)
		if err != nil {
			return err
		}
		e.compare(s, m)
	case sayLeaving:
		m, err := hear[leavingMessage](payload)
		if err != nil {
			return err
		}
		e.mu.Lock()
		s.partner.due, s.partner.token, s.partner.notBefore = "it gives its addresses away", m.Token, time.Time{}
		e.mu.Unlock()
		e.kick()
	}
	return nil // what is not known is of a newer version
}

// ErrNobody says that no other director is there to take connections over.
var ErrNobody = errors.New("no other director takes connections over")

// HandOver has all other directors take this one's table over once more, ahead of a
// change that is planned, and waits until they have. The error says who has not.
func (e *Exchange) HandOver(ctx context.Context) error {
	e.mu.Lock()
	e.tokens++
	token := e.tokens
	var sessions []*session
	for _, s := range e.sessions {
		if s.partner.able() {
			sessions = append(sessions, s)
		}
	}
	e.mu.Unlock()
	if len(sessions) == 0 {
		return ErrNobody
	}
	var errs []error
	for _, s := range sessions {
		if err := s.link.Send(ctx, say(sayLeaving, leavingMessage{Token: token})); err != nil {
			errs = append(errs, fmt.Errorf("asking %s to take the connections over: %w", s.link.Peer(), err))
		}
	}
	for _, s := range sessions {
		if err := e.handedOver(ctx, s, token); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// handedOver waits until a partner has taken the table over.
func (e *Exchange) handedOver(ctx context.Context, s *session, token uint64) error {
	for {
		e.mu.Lock()
		done, next := s.token >= token, s.done
		e.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-next:
		case <-s.ctx.Done():
			return fmt.Errorf("%s has gone while it took the connections over", s.link.Peer())
		case <-ctx.Done():
			return fmt.Errorf("%s has not taken all connections over: %w", s.link.Peer(), context.Cause(ctx))
		}
	}
}

// Resync takes the table of another director over now: that of the named one, or
// with no name of whoever serves. With compare it changes nothing. It waits for the
// end.
func (e *Exchange) Resync(ctx context.Context, name string, compare bool) (Result, error) {
	wish := &ask{compare: compare, answer: make(chan Result, 1)}
	e.mu.Lock()
	p, err := e.willing(name)
	if err == nil {
		p.asks = append(p.asks, wish)
	}
	e.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	e.kick()
	select {
	case r := <-wish.answer:
		if r.Problem != "" {
			return r, errors.New(r.Problem)
		}
		return r, nil
	case <-ctx.Done():
		e.mu.Lock()
		p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool { return a == wish })
		e.mu.Unlock()
		return Result{}, context.Cause(ctx)
	}
}

// willing is the partner of a name that can give its table, or with no name the one
// that serves, else the one with the most. The caller holds the lock.
func (e *Exchange) willing(name string) (best *partner, err error) {
	if e.s.problem != "" {
		return nil, errors.New(e.s.problem)
	}
	if e.s.unready != "" {
		return nil, errors.New(e.s.unready)
	}
	for _, p := range e.s.partners {
		switch {
		case name != "" && p.name != name, !p.connected:
		case !p.able() && p.told.Problem != "":
			err = fmt.Errorf("%s gives no connections: %s", p.name, p.told.Problem)
		case !p.able():
			err = fmt.Errorf("%s is not ready to give its connections", p.name)
		case best == nil || p.before(best):
			best = p
		}
	}
	switch {
	case best != nil:
		return best, nil
	case err != nil:
		return nil, err
	case name != "":
		return nil, fmt.Errorf("director %q is not connected", name)
	default:
		return nil, errors.New("no other director is connected")
	}
}
