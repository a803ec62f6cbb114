package connsync_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	connsync "lvsha/sync"
)

// bench is a reconciler on a kernel in memory, inside a synctest bubble.
type bench struct {
	*connsync.Reconciler
	kernel  *connsync.Memory
	log     *bytes.Buffer
	records [][]connsync.Role
	noIPVS  atomic.Bool
	opens   atomic.Int32
}

// start runs a reconciler until the end of the test. edit may change its options.
func start(t *testing.T, edit func(*bench, *connsync.Options)) *bench {
	t.Helper()
	b := &bench{kernel: connsync.NewMemory("eth0"), log: new(bytes.Buffer)}
	opts := connsync.Options{
		Kernel: func() (connsync.Kernel, error) {
			b.opens.Add(1)
			if b.noIPVS.Load() {
				return nil, connsync.ErrNoIPVS
			}
			return b.kernel, nil
		},
		Record: func(roles []connsync.Role) error {
			b.records = append(b.records, slices.Clone(roles))
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	}
	if edit != nil {
		edit(b, &opts)
	}
	b.Reconciler = connsync.New(opts)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return b
}

// apply sets what is wanted and waits until it is carried out.
func (b *bench) apply(t *testing.T, generation uint64, want ...connsync.Daemon) error {
	t.Helper()
	b.Set(connsync.Desired{Generation: generation, Daemons: want})
	return b.Applied(t.Context(), generation)
}

// expect compares what runs.
func (b *bench) expect(t *testing.T, want string) {
	t.Helper()
	if diff := cmp.Diff(want, b.kernel.String()); diff != "" {
		t.Errorf("running daemons (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait lets a reconciler work for a time.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var both = connsync.Config{Interface: "eth0", ID: 1}.Daemons()

const bothRun = "backup on eth0 id 1\nmaster on eth0 id 1\n"

func TestReconcilerKeepsBothRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		must(t, b.apply(t, 1, both...))
		b.expect(t, bothRun)
		wait(time.Hour)
		must(t, b.apply(t, 2, both...))
		if n := b.kernel.Starts(); n != 2 {
			t.Errorf("%d daemons started, want 2: what runs is not to be touched", n)
		}
		s := b.Snapshot()
		s.Running, s.Looked = nil, time.Time{}
		want := connsync.Status{
			State: "running", Interface: "eth0", ID: 1, Daemons: []string{"master", "backup"},
			Generation: 2, Starts: 2,
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}

		must(t, b.kernel.Stop(connsync.Master))
		wait(time.Second)
		b.expect(t, bothRun)
		if s := b.Snapshot(); s.Drift != 1 || s.Starts != 3 {
			t.Errorf("status is %+v", s)
		}

		must(t, b.apply(t, 3, connsync.Config{Interface: "eth0", ID: 2}.Daemons()...))
		b.expect(t, "backup on eth0 id 2\nmaster on eth0 id 2\n")
		must(t, b.apply(t, 4))
		b.expect(t, "")
		if s := b.Snapshot(); s.State != "off" || s.Interface != "" || s.Drift != 1 {
			t.Errorf("status is %+v", s)
		}
		if diff := cmp.Diff([][]connsync.Role{{connsync.Master, connsync.Backup}, nil}, b.records); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		golden(t, "reconciler.log", b.log.String())
	})
}

func TestReconcilerAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, o *connsync.Options) {
			o.Owned = []connsync.Role{connsync.Master, connsync.Backup}
			for _, d := range both {
				must(t, b.kernel.Start(d))
			}
		})
		wait(time.Minute)
		b.expect(t, bothRun)
		if s := b.Snapshot(); s.State != "starting" || len(s.Daemons) != 2 || s.Interface != "eth0" {
			t.Errorf("status before the first Set is %+v", s)
		}
		must(t, b.apply(t, 1, both...))
		if n := b.kernel.Starts(); n != 2 {
			t.Errorf("%d daemons started, want none but the 2 that ran", n)
		}
	})
}

func TestReconcilerLeavesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *connsync.Options) {
			must(t, b.kernel.Start(connsync.Daemon{Role: connsync.Master, Interface: "eth0", ID: 9}))
		})
		must(t, b.apply(t, 1))
		b.expect(t, "master on eth0 id 9\n")
		must(t, b.Flush(t.Context()))
		b.expect(t, "master on eth0 id 9\n")
		must(t, b.apply(t, 2, both[0]))
		b.expect(t, "backup on eth0 id 1\nmaster on eth0 id 9\n")
		must(t, b.apply(t, 3, both...))
		b.expect(t, bothRun)
	})
}

func TestReconcilerWaitsForTheInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		want := connsync.Config{Interface: "eth1", ID: 1}.Daemons()
		must(t, b.apply(t, 1, both...))
		if err := b.apply(t, 2, want...); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("applying without the interface: %v", err)
		}
		b.expect(t, bothRun) // until there is something better
		s := b.Snapshot()
		if s.State != "waiting: looking for interface eth1: no such device" || s.Interface != "eth1" {
			t.Errorf("status is %+v", s)
		}
		b.kernel.AddInterface("eth1")
		wait(time.Second)
		b.expect(t, "backup on eth1 id 1\nmaster on eth1 id 1\n")
		must(t, b.Applied(t.Context(), 2))

		// Made anew: the daemons are on the one that is gone.
		b.kernel.RemoveInterface("eth1")
		wait(time.Second)
		if s := b.Snapshot(); !strings.HasPrefix(s.State, "waiting: ") {
			t.Errorf("status is %+v", s)
		}
		b.kernel.AddInterface("eth1")
		wait(time.Second)
		if n := b.kernel.Starts(); n != 6 {
			t.Errorf("%d daemons started, want 6", n)
		}
		// The same between two looks.
		b.kernel.RemoveInterface("eth1")
		b.kernel.AddInterface("eth1")
		wait(time.Second)
		if n := b.kernel.Starts(); n != 8 {
			t.Errorf("%d daemons started, want 8", n)
		}
	})
}

// TestReconcilerTakesOverFromAGoneInterface adopts daemons whose interface is gone
// at the time.
func TestReconcilerTakesOverFromAGoneInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *connsync.Options) {
			for _, d := range both {
				must(t, b.kernel.Start(d))
			}
			b.kernel.RemoveInterface("eth0")
		})
		if err := b.apply(t, 1, both...); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("applying: %v", err)
		}
		b.kernel.AddInterface("eth0")
		wait(time.Second)
		b.expect(t, bothRun)
		if n := b.kernel.Starts(); n != 4 {
			t.Errorf("%d daemons started, want 4", n)
		}
	})
}

func TestReconcilerWaitsForIPVS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *connsync.Options) { b.noIPVS.Store(true) })
		if err := b.apply(t, 1, both...); !errors.Is(err, connsync.ErrNoIPVS) {
			t.Errorf("applying without IPVS: %v", err)
		}
		if s := b.Snapshot(); s.State != "waiting: IPVS is not in this kernel: modprobe ip_vs" || s.Generation != 0 {
			t.Errorf("status is %+v", s)
		}
		must(t, b.Flush(t.Context()))
		b.Set(connsync.Desired{Generation: 2, Daemons: both})
		wait(time.Minute)
		b.noIPVS.Store(false)
		wait(time.Second)
		b.expect(t, bothRun)
		must(t, b.Applied(t.Context(), 2))
	})
}

func TestReconcilerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		b := start(t, func(b *bench, _ *connsync.Options) {
			b.kernel.Fail(func(what string) error {
				if strings.HasPrefix(what, "start sync daemon master") {
					asked.Add(1)
					return syscall.EINVAL
				}
				return nil
			})
		})
		if err := b.apply(t, 1, both...); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("applying: %v", err)
		}
		b.expect(t, "backup on eth0 id 1\n")
		if s := b.Snapshot(); !strings.HasPrefix(s.State, "failing: start sync daemon master on eth0 id 1: the kernel does not synchronise") {
			t.Errorf("status is %+v", s)
		}
		wait(10 * time.Minute)
		if n := asked.Load(); n < 20 || n > 30 {
			t.Errorf("asked %d times in ten minutes, want once in 30 s", n)
		}
		b.kernel.Fail(nil)
		wait(31 * time.Second)
		b.expect(t, bothRun)
		if s := b.Snapshot(); s.State != "running" || s.Drift != 0 {
			t.Errorf("status is %+v", s)
		}

		b.kernel.Fail(func(string) error { return syscall.EPERM })
		wait(time.Second)
		if s := b.Snapshot(); !strings.HasPrefix(s.State, "failing: ") {
			t.Errorf("status is %+v", s)
		}
		if err := b.Flush(t.Context()); !errors.Is(err, syscall.EPERM) {
			t.Errorf("flushing: %v", err)
		}
	})
}

func TestReconcilerRefusesWhatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		must(t, b.apply(t, 1, both...))
		if err := b.apply(t, 2, connsync.Daemon{Role: connsync.Master, Interface: "eth0"}); err == nil {
			t.Error("a daemon without an id was applied")
		}
		b.expect(t, bothRun)
		if err := b.apply(t, 3, both[0], both[0], both[1]); err == nil || !strings.Contains(err.Error(), "wanted twice") {
			t.Errorf("applying a role twice: %v", err)
		}
		b.expect(t, bothRun)
	})
}

func TestReconcilerFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		var refuse atomic.Bool
		b := start(t, func(_ *bench, o *connsync.Options) {
			record := o.Record
			o.Record = func(roles []connsync.Role) error {
				if refuse.Load() {
					return full
				}
				return record(roles)
			}
		})
		must(t, b.apply(t, 1, both...))
		must(t, b.Flush(t.Context()))
		b.expect(t, "")
		wait(time.Minute)
		b.expect(t, "")
		if s := b.Snapshot(); s.State != "released" || len(s.Daemons) != 0 {
			t.Errorf("status is %+v", s)
		}
		refuse.Store(true)
		if err := b.apply(t, 2, both...); !errors.Is(err, full) {
			t.Errorf("applying without a record: %v", err)
		}
		b.expect(t, bothRun)
		refuse.Store(false)
		wait(2 * time.Second)
		if s := b.Snapshot(); s.State != "running" {
			t.Errorf("status is %+v", s)
		}
		b.kernel.Fail(func(what string) error {
			if strings.HasPrefix(what, "stop") {
				return syscall.ENOMEM
			}
			return nil
		})
		if err := b.Flush(t.Context()); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("flushing: %v", err)
		}
	})
}

// TestReconcilerReload: IPVS is unloaded and loaded again between two looks, and the
// connection to it is dead: the daemons run again with the next look, or at once with the
// next change, and a stop is none that fails.
func TestReconcilerReload(t *testing.T) {
	reload := func(b *bench) { b.kernel.Unload(); b.kernel.Load() }
	running := "backup on eth0 id 5\nmaster on eth0 id 5\n"
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, o *connsync.Options) { o.Kernel = b.kernel.Open })
		both := connsync.Config{Interface: "eth0", ID: 5}.Daemons()
		if err := b.apply(t, 1, both...); err != nil {
			t.Fatal(err)
		}
		reload(b)
		time.Sleep(connsync.DefaultInterval)
		synctest.Wait()
		b.expect(t, running)
		if s := b.Snapshot(); s.State != "running" || s.Starts != 4 {
			t.Errorf("status %+v", s)
		}
		reload(b)
		if err := b.apply(t, 2, connsync.Config{Interface: "eth0", ID: 6}.Daemons()...); err != nil {
			t.Error(err)
		}
		b.expect(t, strings.ReplaceAll(running, "5", "6"))
		b.kernel.Unload()
		time.Sleep(3 * connsync.DefaultInterval)
		if s := b.Snapshot(); !strings.HasPrefix(s.State, "waiting: IPVS is not") {
			t.Errorf("status %+v", s)
		}
		b.kernel.Load()
		time.Sleep(connsync.DefaultInterval)
		synctest.Wait()
		b.expect(t, strings.ReplaceAll(running, "5", "6"))
		reload(b)
		if err := b.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		b.expect(t, "")
		if last := b.records[len(b.records)-1]; len(last) != 0 {
			t.Errorf("recorded as ours at the end: %v", last)
		}
	})
}
