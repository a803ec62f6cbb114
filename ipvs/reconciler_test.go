package ipvs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"lvsha/ipvs"
)

var (
	web = service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 2", "192.0.2.22:80 dr 1")
	dns = service("192.0.2.10:53/udp", "rr", "192.0.2.21:53 nat 1")
)

// errNone stands for no error in an atomic.Value, which cannot hold nil.
var errNone = errors.New("none")

// bench is a reconciler on a kernel in memory, inside a synctest bubble.
type bench struct {
	*ipvs.Reconciler
	kernel  *ipvs.Memory
	log     *bytes.Buffer
	records [][]ipvs.ServiceKey
	results []ipvs.Result
	opens   atomic.Int32
	openErr atomic.Value // of type error
}

// start runs a reconciler until the end of the test. edit may change its options.
func start(t *testing.T, edit func(*bench, *ipvs.Options)) *bench {
	t.Helper()
	b := &bench{kernel: ipvs.NewMemory(nil), log: new(bytes.Buffer)}
	opts := ipvs.Options{
		Kernel: func() (ipvs.Kernel, error) {
			b.opens.Add(1)
			if err := b.openErr.Load(); err != nil && err != errNone {
				return nil, err.(error)
			}
			return b.kernel, nil
		},
		Record: func(keys []ipvs.ServiceKey) error {
			b.records = append(b.records, slices.Clone(keys))
			return nil
		},
		OnApplied: func(r ipvs.Result) { b.results = append(b.results, r) },
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
	b.Reconciler = ipvs.New(opts)
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

// apply sets a table and waits until it is carried out.
func (b *bench) apply(t *testing.T, generation uint64, services ...ipvs.Service) error {
	t.Helper()
	b.Set(ipvs.Desired{Generation: generation, Services: services})
	return b.Applied(t.Context(), generation)
}

// expect compares the kernel's table.
func (b *bench) expect(t *testing.T, want ...ipvs.Service) {
	t.Helper()
	k := ipvs.NewMemory(nil)
	load(t, k, want)
	if diff := cmp.Diff(list(t, k), list(t, b.kernel), tables); diff != "" {
		t.Errorf("kernel's table (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReconcilerApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		if got := b.Snapshot().State; got != "starting" {
			t.Errorf("state before the first look is %q", got)
		}
		must(t, b.apply(t, 1, web, dns))
		b.expect(t, web, dns)
		before := time.Now()
		must(t, b.apply(t, 2, with(web, func(s *ipvs.Service) { s.Destinations[0].Weight = 0 })))
		if took := time.Since(before); took != 0 {
			t.Errorf("a change took %v", took)
		}
		b.expect(t, with(web, func(s *ipvs.Service) { s.Destinations[0].Weight = 0 }))

		b.kernel.SetConnections(web.Key, web.Destinations[0].Addr, 7, 8, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		s := b.Snapshot()
		if s.State != "ok" || s.Generation != 2 || s.Drift != 0 || s.Error != "" || !s.Listed || s.Interval != time.Second {
			t.Errorf("status is %+v", s)
		}
		if len(s.Services) != 1 || s.Services[0].Destinations[0].Active != 7 || s.Services[0].Destinations[0].Inactive != 8 {
			t.Errorf("status does not count connections: %+v", s.Services)
		}
		want := [][]ipvs.ServiceKey{{dns.Key, web.Key}, {web.Key}}
		if diff := cmp.Diff(want, b.records, tables); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		golden(t, "reconciler.log", b.log.String())
	})
}

func TestReconcilerRepairsDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		must(t, b.apply(t, 1, web, dns))
		must(t, b.kernel.RemoveService(web.Key))
		must(t, b.kernel.SetServer(dns.Key, with(dns, func(s *ipvs.Service) { s.Destinations[0].Weight = 50 }).Destinations[0]))
		time.Sleep(time.Second)
		synctest.Wait()
		b.expect(t, web, dns)
		s := b.Snapshot()
		if s.Drift != 4 {
			t.Errorf("drift is %d, want 4", s.Drift)
		}
		if last := b.results[len(b.results)-1]; !last.Drift || len(last.Changes) != 4 || last.Err != nil {
			t.Errorf("last result is %+v", last)
		}
		if !strings.Contains(b.log.String(), `level=WARN msg="IPVS add service 192.0.2.10:80/tcp scheduler wlc" drift=true`) {
			t.Errorf("the log has no word of it:\n%s", b.log)
		}

		// A change of something else, based on what is not so any more.
		must(t, b.kernel.RemoveService(dns.Key))
		must(t, b.apply(t, 2, web, with(dns, func(s *ipvs.Service) { s.Destinations[0].Weight = 3 })))
		b.expect(t, web, with(dns, func(s *ipvs.Service) { s.Destinations[0].Weight = 3 }))
	})
}

func TestReconcilerOwnership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := service("192.0.2.10:8080/tcp", "rr", "192.0.2.21:8080 dr 1")
		foreign := service("192.0.2.99:80/tcp", "rr", "192.0.2.98:80 dr 1")
		b := start(t, func(b *bench, o *ipvs.Options) {
			o.Owned = []ipvs.ServiceKey{gone.Key, key("192.0.2.10:9999/tcp")}
			load(t, b.kernel, []ipvs.Service{gone, foreign, service("192.0.2.10:80/tcp", "rr", "192.0.2.66:80 nat 1")})
		})
		s, err := b.Refresh(t.Context())
		must(t, err)
		if !s.Listed || len(s.Services) != 1 || len(s.Foreign) != 2 {
			t.Errorf("status before the first Set is %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		s = b.Snapshot()
		if len(s.Services) != 1 || len(s.Foreign) != 2 || s.Changes != 0 || len(b.records) != 0 {
			t.Errorf("something was done before the first Set: %+v, records %v", s, b.records)
		}

		must(t, b.apply(t, 1, web))
		b.expect(t, web, foreign)
		s = b.Snapshot()
		if len(s.Services) != 1 || s.Services[0].Key != web.Key || len(s.Foreign) != 1 || s.Foreign[0].Key != foreign.Key {
			t.Errorf("status is %+v", s)
		}
		want := [][]ipvs.ServiceKey{{web.Key, gone.Key, key("192.0.2.10:9999/tcp")}, {web.Key}}
		if diff := cmp.Diff(want, b.records, tables); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}

		// Removed by lvsha, made again by somebody: foreign.
		must(t, b.apply(t, 2))
		load(t, b.kernel, []ipvs.Service{web})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		b.expect(t, web, foreign)

		// Foreign, then wanted between two looks: adopted at once.
		load(t, b.kernel, []ipvs.Service{service("192.0.2.10:53/udp", "wrr")})
		must(t, b.apply(t, 3, dns))
		b.expect(t, web, foreign, dns)
		if n := b.Snapshot().Drift; n != 0 {
			t.Errorf("drift is %d, want 0", n)
		}
	})
}

func TestReconcilerRecordsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var atRecord []string
		full := errors.New("no space left on device")
		var refuse atomic.Bool
		b := start(t, func(b *bench, o *ipvs.Options) {
			o.Record = func(keys []ipvs.ServiceKey) error {
				atRecord = append(atRecord, fmt.Sprint(keys, " with ", b.kernel))
				if refuse.Load() {
					return full
				}
				return nil
			}
		})
		must(t, b.apply(t, 1, dns))
		if diff := cmp.Diff([]string{"[192.0.2.10:53/udp] with "}, atRecord); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		refuse.Store(true)
		if err := b.apply(t, 2, dns, web); !errors.Is(err, full) {
			t.Errorf("applying without a record: %v", err)
		}
		b.expect(t, dns, web)
		if s := b.Snapshot().State; s != "degraded: recording what is ours in IPVS: no space left on device" {
			t.Errorf("state is %q", s)
		}
		refuse.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if s := b.Snapshot().State; s != "ok" {
			t.Errorf("state is %q", s)
		}
	})
}

func TestReconcilerWaitsForIPVS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *ipvs.Options) { b.openErr.Store(ipvs.ErrNoIPVS) })
		if err := b.apply(t, 1, web); !errors.Is(err, ipvs.ErrNoIPVS) {
			t.Errorf("applying without IPVS: %v", err)
		}
		s := b.Snapshot()
		if s.State != "waiting: IPVS is not in this kernel: modprobe ip_vs" || s.Generation != 0 || s.Listed {
			t.Errorf("status is %+v", s)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := b.opens.Load(); n > 3600/5+10 {
			t.Errorf("opened %d times in an hour", n)
		}
		b.openErr.Store(errNone)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.expect(t, web)
		must(t, b.Applied(t.Context(), 1))

		// rmmod and modprobe: an empty table that cannot be listed in between.
		b.kernel.Fail(func(string) error { return syscall.ENOENT })
		b.openErr.Store(ipvs.ErrNoIPVS)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := b.Snapshot(); s.Listed || len(s.Services) != 0 || !strings.HasPrefix(s.State, "waiting: ") {
			t.Errorf("status is %+v", s)
		}
		must(t, b.Flush(t.Context()))
		b.Set(ipvs.Desired{Generation: 2, Services: []ipvs.Service{dns}})
		b.kernel.Fail(nil)
		must(t, b.kernel.RemoveService(web.Key))
		b.openErr.Store(errNone)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.expect(t, dns)
		if n := strings.Count(b.log.String(), "waiting: "); n != 4 {
			t.Errorf("the log says %d times that it waits, want 2 times going and 2 times coming:\n%s", n, b.log)
		}
	})
}

func TestReconcilerWithoutCapability(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *ipvs.Options) {
			b.kernel.Fail(func(string) error { return fmt.Errorf("listing: CAP_NET_ADMIN: %w", syscall.EPERM) })
		})
		if err := b.apply(t, 1, web); !errors.Is(err, syscall.EPERM) {
			t.Errorf("applying: %v", err)
		}
		if s := b.Snapshot().State; !strings.HasPrefix(s, "failing: ") || !strings.Contains(s, "CAP_NET_ADMIN") {
			t.Errorf("state is %q", s)
		}
		if err := b.Flush(t.Context()); !errors.Is(err, syscall.EPERM) {
			t.Errorf("flushing: %v", err)
		}
	})
}

func TestReconcilerGoesOnAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, _ *ipvs.Options) { b.kernel.RemoveScheduler("twos") })
		bad := with(dns, func(s *ipvs.Service) { s.Scheduler = "twos" })
		err := b.apply(t, 1, bad, web)
		if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "modprobe ip_vs_twos") {
			t.Errorf("applying: %v", err)
		}
		b.expect(t, web)
		if s := b.Snapshot(); s.State != "degraded: add service 192.0.2.10:53/udp scheduler twos: scheduler twos is not in this kernel: modprobe ip_vs_twos: no such file or directory" || s.Generation != 1 {
			t.Errorf("status is %+v", s)
		}

		// What is wanted wrongly is left as it is, what is right is carried out.
		must(t, b.apply(t, 2, web, dns))
		err = b.apply(t, 3, with(web, func(s *ipvs.Service) { s.Scheduler = "best" }), with(dns, func(s *ipvs.Service) { s.Scheduler = "sh" }))
		if err == nil || !strings.Contains(err.Error(), `scheduler "best" is none of`) {
			t.Errorf("applying: %v", err)
		}
		b.expect(t, web, with(dns, func(s *ipvs.Service) { s.Scheduler = "sh" }))
		if err := b.apply(t, 4, web, dns, dns); err == nil || !strings.Contains(err.Error(), "appears twice") {
			t.Errorf("applying: %v", err)
		}
		b.expect(t, web, dns)
	})
}

// TestReconcilerBacksOff has a server that cannot be added: the others come, a
// server that is to go stays while it is the only one that takes connections,
// and the kernel is not asked all the time.
func TestReconcilerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		must(t, b.apply(t, 1, web, dns))
		asked := 0
		b.kernel.Fail(func(what string) error {
			if strings.HasPrefix(what, "add server 192.0.2.29:53") {
				asked++
				return syscall.ENOMEM
			}
			return nil
		})
		moved := service("192.0.2.10:53/udp", "rr", "192.0.2.29:53 nat 1")
		more := with(web, func(s *ipvs.Service) { s.Destinations[0].Weight = 9 })
		if err := b.apply(t, 2, moved, more); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("applying: %v", err)
		}
		b.expect(t, dns, more) // with weight 1, not 0
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.expect(t, dns, more)
		if asked < 20 || asked > 30 {
			t.Errorf("asked %d times in ten minutes, want once in 30 s", asked)
		}
		if n := b.Snapshot().Drift; n != 0 {
			t.Errorf("drift is %d, want 0", n)
		}
		b.kernel.Fail(nil)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		b.expect(t, moved, more)
		if s := b.Snapshot(); s.State != "ok" || s.Drift != 0 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestReconcilerFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := service("192.0.2.99:80/tcp", "rr", "192.0.2.98:80 dr 1")
		b := start(t, func(b *bench, _ *ipvs.Options) { load(t, b.kernel, []ipvs.Service{foreign}) })
		must(t, b.apply(t, 1, web, dns))
		must(t, b.kernel.RemoveService(dns.Key))
		must(t, b.Flush(t.Context()))
		b.expect(t, foreign)
		time.Sleep(time.Minute)
		synctest.Wait()
		b.expect(t, foreign)
		s := b.Snapshot()
		if s.State != "released" || len(s.Services) != 0 || len(s.Foreign) != 1 {
			t.Errorf("status is %+v", s)
		}
		if last := b.records[len(b.records)-1]; len(last) != 0 {
			t.Errorf("the record still has %v", last)
		}
		must(t, b.apply(t, 2, web))
		b.expect(t, foreign, web)

		b.kernel.Fail(func(what string) error {
			if strings.HasPrefix(what, "remove") {
				return syscall.ENOMEM
			}
			return nil
		})
		if err := b.Flush(t.Context()); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("flushing: %v", err)
		}
		if last := b.records[len(b.records)-1]; len(last) != 1 {
			t.Errorf("the record is %v, want what could not be removed", last)
		}
	})
}

// slow is a kernel whose listing takes time, as that of a large table does.
type slow struct {
	*ipvs.Memory
	lists atomic.Int32
}

func (s *slow) List() ([]ipvs.Service, error) {
	s.lists.Add(1)
	time.Sleep(100 * time.Millisecond)
	return s.Memory.List()
}

func TestReconcilerPacesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &slow{Memory: ipvs.NewMemory(nil)}
		b := start(t, func(b *bench, o *ipvs.Options) {
			b.kernel = k.Memory
			o.Kernel = func() (ipvs.Kernel, error) { return k, nil }
		})
		must(t, b.apply(t, 1, web))
		before, lists := time.Now(), k.lists.Load()
		must(t, b.apply(t, 2, web, dns))
		if took := time.Since(before); took != 0 || k.lists.Load() != lists {
			t.Errorf("a change took %v and %d looks at the table", took, k.lists.Load()-lists)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := k.lists.Load(); n < 340 || n > 365 {
			t.Errorf("listed %d times in an hour, want once in 10 s", n)
		}
		k.SetConnections(web.Key, web.Destinations[0].Addr, 5, 6, 0)
		if s, err := b.Refresh(t.Context()); err != nil || s.Services[1].Destinations[0].Active != 5 {
			t.Errorf("refreshed status is %+v (%v)", s, err)
		}
		// Changes do not put off the look.
		must(t, k.RemoveService(web.Key))
		for g := range uint64(12) {
			b.Set(ipvs.Desired{Generation: 3 + g, Services: []ipvs.Service{web, with(dns, func(s *ipvs.Service) { s.Destinations[0].Weight = int(g) })}})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		b.expect(t, web, with(dns, func(s *ipvs.Service) { s.Destinations[0].Weight = 11 }))
	})
}

// TestReconcilerReload: IPVS is unloaded and loaded again between two looks, and the
// connection to it is dead: what is wanted is there again with the next look, or at once
// with the next change, and a stop is none that fails.
func TestReconcilerReload(t *testing.T) {
	reload := func(b *bench) { b.kernel.Unload(); b.kernel.Load() }
	synctest.Test(t, func(t *testing.T) {
		var found []ipvs.Timeouts
		b := start(t, func(b *bench, o *ipvs.Options) {
			o.Kernel = b.kernel.Open
			o.RecordTimeouts = func(t ipvs.Timeouts) error { found = append(found, t); return nil }
		})
		timeouts := ipvs.Timeouts{TCP: time.Hour}
		set := func(generation uint64, services ...ipvs.Service) {
			t.Helper()
			b.Set(ipvs.Desired{Generation: generation, Services: services, Timeouts: timeouts})
			must(t, b.Applied(t.Context(), generation))
		}
		set(1, web)
		reload(b)
		time.Sleep(ipvs.DefaultInterval)
		synctest.Wait()
		b.expect(t, web)
		if got, err := b.kernel.Timeouts(); err != nil || got.TCP != time.Hour {
			t.Errorf("timeouts %v, %v", got, err)
		}
		if s := b.Snapshot(); s.State != "ok" || s.Drift == 0 {
			t.Errorf("status is %+v", s)
		}
		// A change that meets the dead connection first.
		reload(b)
		set(2, web, dns)
		b.expect(t, dns, web)
		if s := b.Snapshot(); s.State != "ok" || s.Error != "" {
			t.Errorf("status is %+v", s)
		}
		// A change while it is away, which is carried out when it comes.
		b.kernel.Unload()
		b.Set(ipvs.Desired{Generation: 3, Services: []ipvs.Service{dns}, Timeouts: timeouts})
		if err := b.Applied(t.Context(), 3); !errors.Is(err, ipvs.ErrNoIPVS) {
			t.Errorf("applied without IPVS: %v", err)
		}
		b.kernel.Load()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.expect(t, dns)
		// A stop that meets it.
		reload(b)
		must(t, b.Flush(t.Context()))
		b.expect(t)
		if last := b.records[len(b.records)-1]; len(last) != 0 {
			t.Errorf("recorded as ours at the end: %v", last)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(b *bench, o *ipvs.Options) { o.Kernel = b.kernel.Open })
		must(t, b.apply(t, 1, web))
		b.kernel.Unload()
		must(t, b.Flush(t.Context()))
	})
}
