package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
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
	// Dir is the directory of the record, below /run.
	Dir    string
	Logger *slog.Logger

	Port  vrrp.Port
	Links vrrp.Links
	// VRRPThread is called on the OS thread of the VRRP loop, which it may
	// schedule; nil leaves it as it is.
	VRRPThread func()
	IPVS       func() (ipvs.Kernel, error)
	Sync       func() (connsync.Kernel, error)

	// Notify tells the service manager; nil tells nobody. It is called with
	// "READY=1" once, with "STOPPING=1" once, and with "WATCHDOG=1" every
	// Watchdog/2 unless that is zero.
	Notify   func(state string)
	Watchdog time.Duration
}

// Director runs the rooms and joins them. One goroutine owns its state.
type Director struct {
	opts    Options
	log     *slog.Logger
	events  *eventLog
	inbox   *inbox
	store   *store
	beats   *heartbeats
	started time.Time

	engine  *vrrp.Engine
	monitor *healthcheck.Monitor
	table   *ipvs.Reconciler
	daemons *connsync.Reconciler

	reloading sync.Mutex // held by one reload at a time
	stop      chan vrrp.StopMode

	mu         sync.Mutex // guards what follows, for Status
	cfg        *config.Config
	generation uint64
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
		opts: opts, log: opts.Logger, events: newEventLog(), inbox: newInbox(), started: time.Now(), cfg: cfg, generation: 1,
		stop: make(chan vrrp.StopMode, 2),
	}
	if d.beats, err = openHeartbeats(opts.Dir); err != nil {
		return nil, err
	}
	d.store = &store{path: recordPath(opts.Dir), record: last}
	d.engine = vrrp.New(vrrp.Options{
		Port: opts.Port, Links: opts.Links, OnThread: opts.VRRPThread,
		OnTransition: func(t vrrp.Transition) { d.inbox.add(t) },
		OnEvent:      func(n vrrp.Notice) { d.inbox.add(n) },
		Heartbeat:    d.beats.beat,
		Resume:       resumer(opts.Dir, last, bootTime()),
	})
	d.monitor = healthcheck.New(healthcheck.Options{OnChange: func(c healthcheck.Change) { d.inbox.add(c) }})
	d.table = ipvs.New(ipvs.Options{
		Kernel: opts.IPVS, Owned: last.Services, Logger: opts.Logger,
		Record:    func(keys []ipvs.ServiceKey) error { return d.store.update(func(r *Record) { r.Services = keys }) },
		OnApplied: func(r ipvs.Result) { d.inbox.add(r) },
	})
	d.daemons = connsync.New(connsync.Options{
		Kernel: opts.Sync, Owned: last.Daemons, Logger: opts.Logger,
		Record: func(roles []connsync.Role) error { return d.store.update(func(r *Record) { r.Daemons = roles }) },
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
	rooms, ctx := errgroup.WithContext(ctx)
	rooms.Go(func() error { return d.engine.Run(ctx) })
	rooms.Go(func() error { return d.monitor.Run(ctx) })
	rooms.Go(func() error { return d.table.Run(ctx) })
	rooms.Go(func() error { return d.daemons.Run(ctx) })
	rooms.Go(func() error {
		defer cancel()
		return d.loop(ctx)
	})
	return errors.Join(rooms.Wait(), d.beats.close())
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
	d.removeStale()
	if err := d.apply(ctx, d.cfg, usedBy(d.kernelTable())); err != nil {
		return err
	}
	d.event("director", d.cfg.Director, fmt.Sprintf("started with %s", d.cfg.File))
	d.opts.Notify("READY=1")

	var watchdog <-chan time.Time
	if d.opts.Watchdog > 0 {
		ticker := time.NewTicker(d.opts.Watchdog / 2)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	var leaving chan error // of the goroutine that gives everything up
	hurry := make(chan struct{})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.inbox.wake:
			d.attend(d.inbox.take())
		case <-watchdog:
			d.opts.Notify("WATCHDOG=1")
		case mode := <-d.stop:
			if leaving != nil {
				select {
				case <-hurry:
				default:
					close(hurry)
				}
				continue
			}
			d.opts.Notify("STOPPING=1")
			leaving = make(chan error, 1)
			go func() { leaving <- d.leave(ctx, mode, hurry) }()
		case err := <-leaving:
			d.attend(d.inbox.take())
			return err
		}
	}
}

// leave carries a Stop out.
func (d *Director) leave(ctx context.Context, mode vrrp.StopMode, hurry <-chan struct{}) error {
	if mode == vrrp.Hold {
		d.event("director", d.cfg.Director, "stopping; addresses, services and sync daemons stay for the next process")
		return errors.Join(d.engine.Stop(ctx, vrrp.Hold), d.store.update(func(r *Record) { r.Phase = Held }))
	}
	d.event("director", d.cfg.Director, "stopping; giving everything up")
	if d.syncsForOthers() {
		batch := time.NewTimer(syncBatch)
		defer batch.Stop()
		select {
		case <-batch.C:
		case <-hurry:
		case <-ctx.Done():
			return nil
		}
	}
	// From here on a process that dies has not finished, and cleanup finishes for it.
	if err := d.store.update(func(r *Record) { r.Phase = Releasing }); err != nil {
		d.log.Warn("recording the stop", "error", err)
	}
	err := d.engine.Stop(ctx, vrrp.Release)
	err = errors.Join(err, d.table.Flush(ctx), d.daemons.Flush(ctx))
	if err != nil {
		return fmt.Errorf("giving everything up: %w", err)
	}
	return d.store.update(func(r *Record) {
		*r = Record{Boot: r.Boot, Phase: Released}
	})
}

// syncsForOthers reports whether this director holds addresses and sends its
// connections to a peer.
func (d *Director) syncsForOthers() bool {
	if !slices.Contains(d.daemons.Snapshot().Daemons, connsync.Master.String()) {
		return false
	}
	return slices.ContainsFunc(d.engine.Snapshot(), func(s vrrp.Status) bool { return s.State == vrrp.Active })
}

// kernelTable is the table found at the start; empty when there is none.
func (d *Director) kernelTable() []ipvs.Service {
	kernel, err := d.opts.IPVS()
	if err != nil {
		return nil // the reconciler meets the same error and shows it
	}
	defer kernel.Close()
	table, err := kernel.List()
	if err != nil {
		return nil
	}
	return table
}

// removeStale removes addresses that the last process may have left and that
// the file no longer has.
func (d *Director) removeStale() {
	kept := addresses(d.cfg.Routers)
	for _, a := range d.store.read().Addresses {
		if slices.Contains(kept, a) {
			continue
		}
		if err := d.opts.Links.Remove(a.Interface, a.Prefix); err != nil {
			d.log.Error("removing an address that the last process left", "address", a.String(), "error", err)
			continue
		}
		d.event("vrrp", a.String(), "removed: it is no longer in the file")
	}
}

// addresses are those of all routers, each with its interface.
func addresses(routers []vrrp.Config) []vrrp.Address {
	var all []vrrp.Address
	for _, r := range routers {
		for _, a := range r.Addresses {
			if a.Interface == "" {
				a.Interface = r.Interface
			}
			all = append(all, a)
		}
	}
	return all
}

// apply hands a configuration to the rooms. inUse tells which servers have
// traffic already.
func (d *Director) apply(ctx context.Context, cfg *config.Config, inUse inUse) error {
	if err := d.record(cfg); err != nil {
		return err
	}
	if err := d.engine.Configure(ctx, cfg.Routers); err != nil {
		return fmt.Errorf("configuring the virtual routers: %w", err)
	}
	d.mu.Lock()
	d.cfg = cfg
	generation := d.generation
	d.mu.Unlock()
	d.monitor.Set(targets(cfg, inUse))
	d.daemons.Set(connsync.Desired{Generation: generation, Daemons: syncDaemons(cfg)})
	d.want()
	return nil
}

func syncDaemons(cfg *config.Config) []connsync.Daemon {
	if cfg.Sync == nil {
		return nil
	}
	return cfg.Sync.Daemons()
}

// want hands the desired table to the reconciler.
func (d *Director) want() {
	d.mu.Lock()
	cfg, generation := d.cfg, d.generation
	d.mu.Unlock()
	d.table.Set(ipvs.Desired{Generation: generation, Services: desired(cfg, d.verdict)})
}

// verdict is what the monitor knows of a target.
func (d *Director) verdict(t healthcheck.Target) healthcheck.Verdict {
	status, _ := d.monitor.Status(t)
	return status.Verdict
}

// record writes down what cfg is about to put into the kernel, and keeps what
// is still there of the last one.
func (d *Director) record(cfg *config.Config) error {
	slots := make(map[vrrp.Key]int)
	err := d.store.update(func(r *Record) {
		r.Phase = Running
		old := r.Routers
		r.Routers = nil
		for _, c := range cfg.Routers {
			router := RecordedRouter{Key: c.Key(), Interval: c.Interval, Slot: -1}
			if i := slices.IndexFunc(old, func(o RecordedRouter) bool { return o.Key == router.Key }); i >= 0 {
				router.Active, router.Slot = old[i].Active, old[i].Slot
			}
			r.Routers = append(r.Routers, router)
		}
		r.Addresses = addresses(cfg.Routers)
		for _, s := range d.engine.Snapshot() {
			for _, a := range s.Addresses {
				if a.Interface == "" {
					a.Interface = s.Key.Interface
				}
				if !slices.Contains(r.Addresses, a) {
					r.Addresses = append(r.Addresses, a)
				}
			}
		}
		giveSlots(r.Routers)
		for _, router := range r.Routers {
			slots[router.Key] = router.Slot
		}
	})
	d.beats.assign(slots)
	return err
}

// giveSlots gives each router that has none a free slot.
func giveSlots(routers []RecordedRouter) {
	taken := make(map[int]bool)
	for _, r := range routers {
		taken[r.Slot] = true
	}
	next := 0
	for i := range routers {
		if routers[i].Slot >= 0 {
			continue
		}
		for taken[next] {
			next++
		}
		routers[i].Slot = next
		taken[next] = true
	}
}

// attend deals with what happened in the rooms.
func (d *Director) attend(items []any) {
	changed := false
	for _, item := range items {
		switch item := item.(type) {
		case vrrp.Transition:
			d.transition(item)
		case vrrp.Notice:
			d.log.Warn(item.Text, "router", item.Router, "notice", string(item.Kind))
			d.events.add(item.At, string(item.Kind), item.Router, item.Text)
		case healthcheck.Change:
			changed = true
			d.health(item)
		case ipvs.Result:
			d.applied(item)
		}
	}
	if changed {
		d.want()
	}
}

func (d *Director) transition(t vrrp.Transition) {
	d.log.Info(fmt.Sprintf("%s is %s", t.Name, t.To), "router", t.Name, "from", t.From.String(), "reason", t.Reason)
	d.events.add(t.At, "vrrp", t.Name, fmt.Sprintf("%s -> %s: %s", t.From, t.To, t.Reason))
	err := d.store.update(func(r *Record) {
		for i := range r.Routers {
			if r.Routers[i].Key == t.Key {
				r.Routers[i].Active = t.To == vrrp.Active
			}
		}
	})
	if err != nil {
		d.log.Error("recording a role", "error", err)
	}
}

func (d *Director) health(c healthcheck.Change) {
	level := slog.LevelInfo
	if c.To == healthcheck.Down {
		level = slog.LevelWarn
	}
	text := fmt.Sprintf("%s -> %s: %s", c.From, c.To, c.Reason)
	d.log.Log(context.Background(), level, fmt.Sprintf("server %s is %s", c.Target.Server, c.To),
		"check", c.Target.Check.String(), "reason", c.Reason)
	d.events.add(c.Time, "server", c.Target.Server.String(), text)
}

func (d *Director) applied(r ipvs.Result) {
	kind := "ipvs"
	if r.Drift {
		kind = "ipvs repaired"
	}
	for _, change := range r.Changes {
		d.event(kind, change.Service.Key.String(), change.String())
	}
	if r.Err != nil {
		d.event("ipvs", "", r.Err.Error())
	}
}

func (d *Director) event(kind, object, text string) { d.events.add(time.Now(), kind, object, text) }

// Events is part of control.Daemon.
func (d *Director) Events(after uint64) ([]control.Event, <-chan struct{}) {
	return d.events.after(after)
}

// Reload is part of control.Daemon: it reads the file again and applies the
// difference. When the file is refused nothing changes.
func (d *Director) Reload(ctx context.Context) (control.Reloaded, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	cfg, err := d.opts.Load()
	if err != nil {
		d.event("reload", "", "refused: "+err.Error())
		return control.Reloaded{}, err
	}
	d.mu.Lock()
	d.generation++
	generation := d.generation
	d.mu.Unlock()
	if err := d.apply(ctx, cfg, usedBy(d.table.Snapshot().Services)); err != nil {
		return control.Reloaded{}, err
	}
	done := control.Reloaded{Generation: generation}
	wait, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := d.table.Applied(wait, generation); err != nil {
		done.Warnings = append(done.Warnings, "ipvs: "+err.Error())
	}
	d.event("reload", cfg.Director, fmt.Sprintf("applied %s, generation %d", cfg.File, generation))
	d.log.Info("reloaded", "file", cfg.File, "generation", generation)
	return done, nil
}
