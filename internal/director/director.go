package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/bfd"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/machine"
	"lvsha/internal/packetfilter"
	"lvsha/internal/peer"
	"lvsha/internal/track"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// syncBatch is how long the kernel's sync daemon keeps a record at most before
// it sends it (IPVS_SYNC_FLUSH_TIME, 2 s, looked at once a second): a planned
// change waits for it, so that the other director knows every connection.
const syncBatch = 3 * time.Second

// applyTimeout bounds how long a reload waits for the kernel.
const applyTimeout = 10 * time.Second

// Options are what a director is made of.
type Options struct {
	// Version is what status shows.
	Version string
	// Load reads the file; it is called at the start and by each reload.
	Load func() (*config.Config, error)
	// Parse reads a text as if it were the file.
	Parse func(name string, text []byte) (*config.Config, error)
	// Dir is the directory of the record, below /run, and State the one of what
	// operators asked for, below /var/lib.
	Dir, State string
	Logger     *slog.Logger

	Port  vrrp.Port
	Links vrrp.Links
	// Routing is what services and the checks through them depend on; nil is taken to
	// be as it has to be.
	Routing Routing
	// InMemory says that IPVS is not the kernel's, so that it leads no packet anywhere.
	InMemory bool
	// BFD is the network of the sessions with other directors; nil is none.
	BFD bfd.Port
	// Network is where the directors' channel is; nil is the machine's.
	Network peer.Network
	// LocalTo is the interface and the address from which another machine is
	// spoken to; nil knows none.
	LocalTo func(peer netip.Addr) (iface string, local netip.Addr, err error)
	// VRRPThread is called on the OS threads of the VRRP and the BFD loop, which
	// it may schedule; nil leaves them as they are.
	VRRPThread func()
	IPVS       func() (ipvs.Kernel, error)
	Sync       func() (connsync.Kernel, error)
	// Helpers are what the kernel's IPVS can look into; nil knows none and misses none.
	Helpers func() ([]string, error)
	// Filter is where packets are marked and given source addresses; nil is one in
	// memory, which does nothing to packets.
	Filter func() (packetfilter.Kernel, error)
	// Prepare readies what checks ask, instead of Question.Prepare; nil replaces nothing.
	Prepare func(healthcheck.Question) (healthcheck.ProbeFunc, error)
	// Conns is the kernel's connection table; nil exchanges no connections.
	Conns connsync.System

	// Filled, if not nil, is called once, when the table has first been carried out.
	Filled func()
	// Notify tells the service manager; nil tells nobody. It is called with
	// "READY=1" once, with "STOPPING=1" once, and with "WATCHDOG=1" every
	// Watchdog/2 unless that is zero.
	Notify   func(state string)
	Watchdog time.Duration
}

// Director runs the rooms and joins them. One goroutine owns its state.
type Director struct {
	opts   Options
	log    *slog.Logger
	events *eventLog
	inbox  *inbox
	store  *store
	beats  *heartbeats
	// overrides are what operators asked for.
	overrides *overrideStore
	started   time.Time

	engine  *vrrp.Engine
	monitor *healthcheck.Monitor
	table   *ipvs.Reconciler
	daemons *connsync.Reconciler
	filter  *packetfilter.Reconciler
	// moved says that addresses went from here. exchange hands connections over
	// between directors.
	moved    chan struct{} // capacity 1
	exchange *connsync.Exchange
	tracker  *track.Tracker
	channel  *channel
	// bfd is nil without a network for it. followed is what the virtual routers
	// follow, and of the director's goroutine, as hooks are.
	bfd      *bfd.Engine
	followed map[vrrp.Key]vrrp.Followed
	hooks    hooks

	// sysctlsDue has capacity 1: kernel parameters are to be looked at.
	sysctlsDue chan struct{}
	// requests are run on the director's goroutine, whose quiet is: since when servers
	// that drain have been seen to get no new connections.
	requests chan func()
	quiet    map[serverKey]time.Time

	stop    chan vrrp.StopMode
	reloads chan reload
	// reloading has capacity 1: one reload reads the file and hands it in.
	reloading chan struct{}
	ended     chan struct{} // closed when no reload is taken any more

	excuses     excuses
	ipvsProblem string // the last one told, of the director's goroutine
	// kept are services that go when the packet filter has changed, and waits those that
	// come then; of the director's goroutine, as is left, what the last process has left
	// for this one, until it is taken over.
	kept      []ipvs.Service
	lingering lingering
	waits     map[ipvs.ServiceKey]bool
	left      Record
	// stale is what the last process has left and could not be removed yet, and staleTold
	// why not, as it was logged; both are of the director's goroutine.
	stale     Holdings
	staleTold string
	// rejudge fires when services have to be judged although nothing happened, or
	// happened too soon after the last time, which judgeAfter ends. They and
	// doubtTold, the last doubt told, belong to the director's goroutine, as does
	// hastened, whether servers were asked at once because one fell silent.
	rejudge    *time.Timer
	judgeAfter time.Time
	doubtTold  string
	hastened   bool
	// vouched is until when others vouch for servers that could not be reached before this
	// director had its addresses; of the director's goroutine.
	vouched time.Time

	// early are the kernel parameters that a connection goes by from its first packet, and
	// earlyOf the file that needs them; of the director's goroutine.
	early   []machine.Setting
	earlyOf *config.Config

	filled     sync.Once  // the table has been carried out
	tracking   sync.Mutex // held by retrack, and guards elsewhere
	elsewhere  string     // a director that ran another file then
	sysctls    sync.Mutex // held while sysctls are set or put back
	mu         sync.Mutex // guards what follows, for Status
	cfg        *config.Config
	generation uint64
	tables     uint64 // numbers the desired tables
	steering   steering
	// active are the virtual routers for which this director is.
	active   map[vrrp.Key]bool
	flushing bool // nothing is wanted any more: the table is given up
	// settings are the kernel parameters that the services need.
	settings []machine.Setting
	// unset are those that could not be set the last time, with the reasons, and "" what
	// could not be put back. They are written while sysctls is held too.
	unset   map[string]string
	judging judging
}

// New loads the file, reads what the last process left behind and prepares
// everything. Run starts it. An error leaves nothing changed.
func New(opts Options) (*Director, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Notify == nil {
		opts.Notify = func(string) {}
	}
	if opts.Filled == nil {
		opts.Filled = func() {}
	}
	cfg, err := opts.Load()
	if err != nil {
		return nil, err
	}
	last, err := readRecord(opts.Dir)
	if err != nil {
		// Going on without the record is safe: what it named is adopted or foreign.
		opts.Logger.Warn("starting without the last process's record", "error", err)
	}
	d := &Director{
		opts: opts, log: opts.Logger, events: newEventLog(), inbox: newInbox(), started: time.Now(), cfg: cfg,
		stop: make(chan vrrp.StopMode, 2), reloads: make(chan reload), reloading: make(chan struct{}, 1), requests: make(chan func()), moved: make(chan struct{}, 1), sysctlsDue: make(chan struct{}, 1), quiet: make(map[serverKey]time.Time), ended: make(chan struct{}),
		followed: make(map[vrrp.Key]vrrp.Followed), active: make(map[vrrp.Key]bool),
	}
	if d.beats, err = openHeartbeats(opts.Dir); err != nil {
		// Serving goes before being able to resume.
		opts.Logger.Error("heartbeats are not kept; after a crash the next process cannot resume", "error", err)
		if d.beats, err = unkeptHeartbeats(); err != nil {
			return nil, err
		}
	}
	d.store = &store{path: recordPath(opts.Dir), record: last}
	if last.Phase == Running || last.Phase == Held {
		d.left = last
		// Until it turns out otherwise.
		for _, r := range last.Routers {
			d.active[r.Key] = r.Active
		}
	}
	if d.overrides, err = openOverrides(opts.State); err != nil {
		opts.Logger.Error("going on without what operators asked for", "error", err)
		d.event("director", cfg.Director, "going on without what operators asked for: "+err.Error())
	}
	d.engine = vrrp.New(vrrp.Options{
		Port: opts.Port, Links: opts.Links, OnThread: opts.VRRPThread,
		OnTransition: func(t vrrp.Transition) { d.inbox.add(t) },
		OnEvent:      func(n vrrp.Notice) { d.inbox.add(n) },
		OnFollow:     func(f vrrp.Followed) { d.inbox.add(f) },
		Heartbeat:    d.beats.beat,
		Resume:       resumer(opts.Dir, last, bootTime()),
	})
	if opts.BFD != nil {
		d.bfd = d.newBFD(opts.BFD)
	}
	d.hooks = d.newHooks()
	d.tracker = track.New(track.Options{Watch: opts.Links.Watch, OnChange: func(changed []track.Report) {
		d.retrack()
		for _, r := range changed {
			d.inbox.add(r)
		}
	}})
	d.monitor = healthcheck.New(healthcheck.Options{
		OnChange: func(c healthcheck.Change) { d.inbox.add(c) }, Ready: d.pathReady, Excuse: d.pathExcuse, Learned: d.pathLearned, Prepare: d.prepare,
	})
	d.exchange = d.newExchange()
	d.channel = newChannel(opts, d.monitor, d.exchange, func(e channelEvent) { d.inbox.add(e) }, func() { d.inbox.add(opined{}) })
	d.table = ipvs.New(ipvs.Options{
		Kernel: opts.IPVS, Owned: last.Services, Logger: opts.Logger,
		Record:    func(keys []ipvs.ServiceKey) error { return d.store.update(func(r *Record) { r.Services = keys }) },
		OnApplied: func(r ipvs.Result) { d.inbox.add(r) },
		Found:     last.Timeouts,
		RecordTimeouts: func(found ipvs.Timeouts) error {
			return d.store.update(func(r *Record) { r.Timeouts = found })
		},
	})
	d.daemons = connsync.New(connsync.Options{
		Kernel: opts.Sync, Owned: last.Daemons, Logger: opts.Logger,
		Record: func(roles []connsync.Role) error { return d.store.update(func(r *Record) { r.Daemons = roles }) },
	})
	if opts.Filter == nil {
		tables := packetfilter.NewMemory()
		opts.Filter = func() (packetfilter.Kernel, error) { return tables, nil }
	}
	d.filter = packetfilter.New(packetfilter.Options{
		Kernel: opts.Filter, Owned: last.Filter, Logger: opts.Logger,
		Record: func(owned bool) error { return d.store.update(func(r *Record) { r.Filter = owned }) },
	})
	return d, nil
}

// resumer answers what the last process left of a virtual router.
func resumer(dir string, last Record, now time.Duration) func(vrrp.Key) (vrrp.Resume, bool) {
	return func(key vrrp.Key) (vrrp.Resume, bool) {
		if last.Phase != Running && last.Phase != Held {
			return vrrp.Resume{}, false
		}
		i := slices.IndexFunc(last.Routers, func(r RecordedRouter) bool { return r.Key == key })
		if i < 0 {
			return vrrp.Resume{}, false
		}
		beat, err := readHeartbeat(dir, last.Routers[i].Slot)
		if err != nil || beat == 0 {
			return vrrp.Resume{}, false
		}
		return vrrp.Resume{Active: last.Routers[i].Active, Age: now - beat, Interval: last.Routers[i].Interval}, true
	}
}

// Run starts the rooms and returns when Stop has been carried out, or a room
// has failed. When ctx ends everything is held as it is.
func (d *Director) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.channel.Holding()
	rooms, ctx := newRooms(ctx)
	rooms.open("virtual routers", func() error { return d.engine.Run(ctx) })
	if d.bfd != nil {
		rooms.open("bfd", func() error { return d.runBFD(ctx) })
	}
	rooms.open("notify programs", func() error { return d.hooks.notifier.Run(ctx) })
	rooms.open("checks", func() error { return d.monitor.Run(ctx) })
	rooms.open("channel", func() error { return d.channel.Run(ctx) })
	rooms.open("comparison", func() error { return d.channel.runComparison(ctx) })
	rooms.open("conditions", func() error { return d.tracker.Run(ctx) })
	rooms.open("services", func() error { return d.table.Run(ctx) })
	rooms.open("sync daemons", func() error { return d.daemons.Run(ctx) })
	rooms.open("packet filter", func() error { return d.filter.Run(ctx) })
	rooms.open("connections", func() error { return d.exchange.Run(ctx) })
	rooms.open("handover", func() error { return d.handOverMoved(ctx) })
	rooms.open("kernel parameters", func() error { return d.keepSysctls(ctx) })
	rooms.open("director", func() error {
		defer cancel()
		return d.loop(ctx)
	})
	hang, err := rooms.wait(d.ended)
	if len(hang) > 0 {
		d.log.Warn("ending although something does not: a file or a program that it waits for does not answer", "rooms", strings.Join(hang, ", "))
	}
	d.overrides.settle(endGrace)
	return errors.Join(err, d.beats.close())
}

// Stop ends Run: Release gives everything up, make before break, Hold leaves
// everything in place for the next process. A second Release does not wait
// for the sync daemon's batch.
func (d *Director) Stop(mode vrrp.StopMode) {
	select {
	case d.stop <- mode:
	default:
	}
}

// loop is the director's goroutine.
func (d *Director) loop(ctx context.Context) error {
	defer close(d.ended)
	d.rejudge = time.NewTimer(time.Hour)
	defer d.rejudge.Stop()
	d.stale = d.store.read().Holdings
	d.removeStale()
	d.useOverrides()
	if _, err := d.apply(ctx, d.cfg, d.kernelTable); err != nil {
		return err
	}
	d.resumeYields(ctx)
	drains := time.NewTicker(drainTick)
	defer drains.Stop()
	d.tell(fmt.Sprintf("started with %s", d.cfg.File))
	d.opts.Notify("READY=1")

	var watchdog <-chan time.Time
	if d.opts.Watchdog > 0 {
		ticker := time.NewTicker(d.opts.Watchdog / 2)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	var end *ending                // once a stop has come
	leaving := make(chan error, 1) // of the goroutine that carries it out
	var result error               // of that
	var told <-chan struct{}       // programs know of the end
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.inbox.wake:
			d.attend(ctx, d.inbox.take())
		case <-d.rejudge.C:
			d.want()
		case request := <-d.reloads:
			if end != nil {
				request.answer <- reloaded{err: errStopping}
				continue
			}
			generation, err := d.apply(ctx, request.cfg, func() []ipvs.Service { return d.table.Snapshot().Services })
			request.answer <- reloaded{generation, d.tables, err}
		case f := <-d.requests:
			f()
		case <-drains.C:
			d.forget()
			d.rewrite()
			d.watchDrains()
			if d.lingering.end(time.Now(), d.table.Snapshot()) {
				d.want()
			}
			d.watchFiles()
		case <-watchdog:
			d.opts.Notify("WATCHDOG=1")
		case mode := <-d.stop:
			if end != nil {
				end.again(mode)
				if told != nil && end.overtaken() {
					told, end.held = nil, false
					go func() { leaving <- d.abandon(ctx) }()
				}
				continue
			}
			d.opts.Notify("STOPPING=1")
			end = newEnding(mode)
			go func() { leaving <- d.leave(ctx, mode, end) }()
		case result = <-leaving:
			d.attend(ctx, d.inbox.take())
			if end.overtaken() {
				end.held = false
				go func() { leaving <- d.abandon(ctx) }()
				continue
			}
			told = d.toldAll(ctx, end.hurry)
		case <-told:
			d.attend(ctx, d.inbox.take())
			return result
		}
	}
}

// syncsForOthers reports whether this director holds addresses and sends its
// connections to a peer.
func (d *Director) syncsForOthers() bool {
	if !d.hasSync() {
		return false
	}
	return slices.ContainsFunc(d.engine.Snapshot(), func(s vrrp.Status) bool { return s.State == vrrp.Active })
}

// Events is part of control.Daemon.
func (d *Director) Events(after uint64) ([]control.Event, <-chan struct{}) {
	return d.events.after(after)
}
