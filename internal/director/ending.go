package director

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lvsha/vrrp"
)

// ending is how a process comes to its end, and what it is told meanwhile.
type ending struct {
	mode vrrp.StopMode // the one that counts; of the director's goroutine
	// hurry is closed when nothing is to be waited for any more, and release when a
	// Release has come after a Hold: the next process that was to take over does not come.
	hurry, release chan struct{}
	// held says that all is left as it is. It is set before the end of leave.
	held bool
}

func newEnding(mode vrrp.StopMode) *ending {
	return &ending{mode: mode, hurry: make(chan struct{}), release: make(chan struct{})}
}

// again takes in a further stop.
func (e *ending) again(mode vrrp.StopMode) {
	if mode == vrrp.Release && e.mode == vrrp.Hold {
		e.mode = vrrp.Release
		close(e.release)
		return
	}
	if !over(e.hurry) {
		close(e.hurry)
	}
}

// overtaken reports whether all is held although a Release has come.
func (e *ending) overtaken() bool { return e.held && e.mode == vrrp.Release }

// over reports whether a channel is closed.
func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// leave carries a Stop out.
func (d *Director) leave(ctx context.Context, mode vrrp.StopMode, e *ending) error {
	if mode == vrrp.Release {
		return d.release(ctx, e)
	}
	d.tell("stopping; addresses, services and sync daemons stay for the next process")
	// The next process tells its states itself. What runs must not lose its output, and
	// VRRP goes on meanwhile.
	d.hooks.notifier.Close()
	told := d.toldAll(ctx, e.hurry)
	select {
	case <-told:
	case <-e.release:
	}
	if over(e.release) {
		d.hooks.notifier.Open()
		return d.release(ctx, e)
	}
	d.channel.Restarting()
	if d.bfd != nil {
		// Our restart is not our death.
		d.bfd.Stop()
	}
	err := d.engine.Stop(ctx, vrrp.Hold)
	e.held = true
	return errors.Join(err, d.store.update(func(r *Record) { r.Phase = Held }))
}

// release gives everything up, make before break.
func (d *Director) release(ctx context.Context, e *ending) error {
	d.tell("stopping; giving everything up")
	d.handOver(ctx, e.hurry)
	if ctx.Err() != nil {
		return nil
	}
	d.recordReleasing()
	serving := d.syncsForOthers()
	err := d.engine.Stop(ctx, vrrp.Release)
	if serving {
		d.handOverLast(ctx)
	}
	return d.giveUp(ctx, err)
}

// abandon gives up what is held already: VRRP has ended, so the others miss its
// advertisements.
func (d *Director) abandon(ctx context.Context) error {
	d.tell("giving everything up after all, as a stop came after the one that was to restart")
	d.recordReleasing()
	done, _, err := d.store.read().Holdings.release(d.opts.Links)
	for _, what := range done {
		d.event("vrrp", "", what)
	}
	return d.giveUp(ctx, err)
}

// recordReleasing has a process that dies from here on not have finished, so that cleanup
// finishes for it.
func (d *Director) recordReleasing() {
	if err := d.store.update(func(r *Record) { r.Phase = Releasing }); err != nil {
		d.log.Warn("recording the stop", "error", err)
	}
}

// giveUp removes everything but the addresses, at which err has come up.
func (d *Director) giveUp(ctx context.Context, err error) error {
	d.mu.Lock()
	d.flushing = true
	d.mu.Unlock()
	err = errors.Join(err, d.table.Flush(ctx), d.filter.Flush(ctx), d.daemons.Flush(ctx), d.giveUpSysctls())
	if err != nil {
		return fmt.Errorf("giving everything up: %w", err)
	}
	d.channel.GivenUp()
	return d.store.update(func(r *Record) {
		*r = Record{Boot: r.Boot, Phase: Released}
	})
}

// endGrace is how long the end waits for rooms that have nothing left to do for it.
const endGrace = 100 * time.Millisecond

// rooms are the goroutines of a process, by name.
type rooms struct {
	group *errgroup.Group
	mu    sync.Mutex // guards what follows
	// running are those that have not ended, and failed why the first one that did failed.
	running map[string]bool
	failed  error
}

func newRooms(ctx context.Context) (*rooms, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &rooms{group: group, running: make(map[string]bool)}, ctx
}

// open has a room run.
func (r *rooms) open(name string, run func() error) {
	r.mu.Lock()
	r.running[name] = true
	r.mu.Unlock()
	r.group.Go(func() error {
		err := run()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, name)
		if r.failed == nil {
			r.failed = err
		}
		return err
	})
}

// wait returns the error of the first room that failed. It waits until over is closed, and
// then a moment for all rooms to end; hang are the names of those that have not. What a room
// hangs on by then, a file or a program that does not answer, is not this process's to
// finish, and the next process must be able to begin, for VRRP has ended here.
func (r *rooms) wait(over <-chan struct{}) (hang []string, err error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.group.Wait() // which is failed
	}()
	<-over
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.running)), r.failed
}
