package track

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lvsha/healthcheck"
	"lvsha/vrrp"
)

// Options are what a Tracker works with.
type Options struct {
	// Watch calls update with every interface, at once and after changes, until
	// ctx ends.
	Watch func(ctx context.Context, update func([]vrrp.Link)) error
	// OnChange is called with what has changed, from a goroutine of the tracker's;
	// it must not block for long and may call Report and Snapshot.
	OnChange func(changed []Report)
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
}

// Tracker watches conditions. Its methods may be called from any goroutine.
type Tracker struct {
	opt     Options
	log     *slog.Logger
	monitor *healthcheck.Monitor
	wake    chan struct{}

	// mu guards what follows.
	mu       sync.Mutex
	watched  map[string]*watched
	links    map[string]vrrp.Link
	looked   bool // links were seen
	services map[string]Health

	// scan looks for processes, the next time at scanAt or when rescan says so.
	scan   reading[scanned]
	scanAt time.Time // of Run's goroutine, as scan
	rescan atomic.Bool
}

// Health counts the servers of a virtual service.
type Health struct {
	// Up are the healthy ones, Unknown those that no check has decided on yet.
	Up, Unknown int
}

// watched is a condition and what is known of it.
type watched struct {
	Condition
	level level
	// next is when a File is read again, and file is that; of Run's goroutine.
	next time.Time
	file reading[Report]
}

// New returns a tracker without conditions. Run starts it.
func New(opt Options) *Tracker {
	t := &Tracker{
		opt: opt, log: opt.Logger, wake: make(chan struct{}, 1),
		watched: make(map[string]*watched), links: make(map[string]vrrp.Link), services: make(map[string]Health),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.opt.OnChange == nil {
		t.opt.OnChange = func([]Report) {}
	}
	t.monitor = healthcheck.New(healthcheck.Options{OnChange: func(healthcheck.Change) { t.kick() }})
	return t
}

// Set makes the conditions equal to the list. One that stays as it is keeps what
// is known of it.
func (t *Tracker) Set(conditions []Condition) {
	t.mu.Lock()
	old := t.watched
	t.watched = make(map[string]*watched, len(conditions))
	var probes []healthcheck.Want
	for _, c := range conditions {
		if w := old[c.Name]; w != nil && w.Condition == c {
			t.watched[c.Name] = w
		} else {
			t.watched[c.Name] = &watched{Condition: c, level: level{report: Report{Name: c.Name, Reason: "not looked at yet"}}}
		}
		if c.Kind == Probe {
			probes = append(probes, healthcheck.Want{Target: c.target()})
		}
	}
	t.mu.Unlock()
	t.monitor.Set(probes)
	t.rescan.Store(true)
	t.kick()
}

// target is what the monitor probes.
func (c Condition) target() healthcheck.Target {
	return healthcheck.Target{Server: c.Server, Check: c.Check}
}

// SetServices tells the health of each virtual service.
func (t *Tracker) SetServices(health map[string]Health) {
	t.mu.Lock()
	t.services = health
	t.mu.Unlock()
	t.kick()
}

// Report is what is known of a condition.
func (t *Tracker) Report(name string) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.watched[name]; w != nil {
		return w.level.report
	}
	return Report{Name: name}
}

// Snapshot is what is known of all conditions, by name.
func (t *Tracker) Snapshot() []Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Report, 0, len(t.watched))
	for _, w := range t.watched {
		out = append(out, w.level.report)
	}
	slices.SortFunc(out, func(a, b Report) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// kick has Run look now.
func (t *Tracker) kick() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends.
func (t *Tracker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		if err := t.monitor.Run(ctx); err != nil && ctx.Err() == nil {
			t.log.Error("probing tracked servers ended", "error", err)
		}
	})
	group.Go(func() {
		if err := t.opt.Watch(ctx, t.sawLinks); err != nil && ctx.Err() == nil {
			t.log.Error("watching tracked interfaces ended", "error", err)
		}
	})
	exits := newExits(func() {
		t.rescan.Store(true)
		t.kick()
	})
	defer exits.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-timer.C:
		}
		changed, next := t.look(time.Now(), exits)
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
		if len(changed) > 0 {
			t.opt.OnChange(changed)
		}
	}
}

// sawLinks takes in the interfaces.
func (t *Tracker) sawLinks(links []vrrp.Link) {
	t.mu.Lock()
	t.looked = true
	clear(t.links)
	for _, l := range links {
		t.links[l.Name] = l
	}
	t.mu.Unlock()
	t.kick()
}

// look looks at everything that is due, and returns when to look again.
func (t *Tracker) look(now time.Time, exits *exits) (changed []Report, next time.Time) {
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.watched))
	t.mu.Unlock()
	seen := make(map[*watched]Report, len(all))
	next = sooner(t.lookAtFiles(now, all, seen), t.lookForProcesses(now, all, seen, exits))

	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range all {
		if report, ok := seen[w]; ok || t.see(w.Condition, &report) {
			if w.level.see(now, w.Condition, report) {
				changed = append(changed, w.level.report)
			}
		}
		if at := w.level.deadline(w.Condition); !at.IsZero() {
			next = sooner(next, at)
		}
	}
	return changed, next
}

// lookAtFiles takes in what was read of files, and reads those that are due.
func (t *Tracker) lookAtFiles(now time.Time, all []*watched, seen map[*watched]Report) (next time.Time) {
	for _, w := range all {
		if w.Kind != File {
			continue
		}
		if report, ok := w.file.taken(); ok {
			seen[w] = report
		}
		if !w.file.going() && !now.Before(w.next) {
			w.next = now.Add(w.Interval)
			c := w.Condition
			w.file.begin(now, func() Report { return seeFile(c) }, t.kick)
		}
		due := w.next
		if w.file.going() {
			var why string
			if why, due = w.file.stuck(now, w.File); why != "" {
				seen[w] = Report{Reason: why}
			}
		}
		next = sooner(next, due)
	}
	return next
}

// lookForProcesses takes in which processes were found, and looks for them when that is
// due: the end of one is told, a beginning is not.
func (t *Tracker) lookForProcesses(now time.Time, all []*watched, seen map[*watched]Report, exits *exits) (next time.Time) {
	if found, ok := t.scan.taken(); ok {
		for _, w := range all {
			if report, ok := found.reports[w.Condition]; ok {
				seen[w] = report
			}
		}
		exits.watch(found.pids)
	}
	var conditions []Condition
	every := time.Duration(0)
	for _, w := range all {
		if w.Kind == Process {
			conditions = append(conditions, w.Condition)
			if every == 0 || w.Interval < every {
				every = w.Interval
			}
		}
	}
	switch {
	case len(conditions) == 0:
		exits.watch(nil)
		return time.Time{}
	case t.scan.going():
		why, due := t.scan.stuck(now, "/proc")
		for _, w := range all {
			if known := w.level.report; w.Kind == Process && why != "" && known.Known {
				seen[w] = Report{Holds: known.Holds, Reason: why} // it stays what it was
			}
		}
		return due
	case t.rescan.Swap(false) || !now.Before(t.scanAt):
		t.scanAt = now.Add(every)
		t.scan.begin(now, func() scanned { return seeProcesses(conditions) }, t.kick)
	}
	return t.scanAt
}

// see is what others told of a condition; false when they have not yet, or
// when it is one that is read.
func (t *Tracker) see(c Condition, seen *Report) bool {
	switch c.Kind {
	case Interface:
		if t.looked {
			*seen = t.seeInterface(c)
		}
		return t.looked
	case Probe:
		status, _ := t.monitor.Status(c.target())
		*seen = Report{Holds: status.Verdict.State == healthcheck.Up, Reason: status.Verdict.Reason}
		return status.Verdict.State != healthcheck.Unknown
	case Service:
		health, ok := t.services[c.Service]
		*seen = Report{Holds: health.Up >= c.Minimum, Reason: fmt.Sprintf("%d servers of %s are up, want %d", health.Up, c.Service, c.Minimum)}
		// Servers that nobody knows yet may be what is missing.
		return ok && (seen.Holds || health.Up+health.Unknown < c.Minimum || health.Unknown == 0)
	}
	return false
}

// seeInterface looks at an interface.
func (t *Tracker) seeInterface(c Condition) Report {
	l, ok := t.links[c.Interface]
	switch {
	case !ok:
		return Report{Reason: fmt.Sprintf("interface %s does not exist", c.Interface)}
	case !l.Up:
		return Report{Reason: c.Interface + " is down"}
	}
	return Report{Holds: true, Reason: c.Interface + " is up"}
}

// sooner is the earlier of two times of which zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
