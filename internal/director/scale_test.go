package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// Nothing may cost more than in proportion to the file. Each test here does the same with
// two sizes side by side, and takes the best of several rounds of each, in time of
// processors, so that a busy machine does not fail it: a cost that grows with the square of
// the size is 100 times as high for ten times the size.

const (
	fewServers, thousands = 1_000, 10_000
	// mostGrowth is how many times longer ten times the size may take, and besides what
	// the caches of a processor may save the smaller one.
	mostGrowth = 15
	besides    = 4 * time.Millisecond
	// maxRounds bounds how often the two are compared, until one shows that it grows in
	// proportion.
	maxRounds = 12
)

// grows fails when doing it with the large size takes too much longer than with the small
// one, and returns the best time.
func grows(t *testing.T, what string, small, large func()) time.Duration {
	t.Helper()
	var few, many time.Duration
	// What the garbage of one round costs is counted for none.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	best := func(d time.Duration, f func()) time.Duration {
		runtime.GC()
		start := spent(t)
		f()
		if took := spent(t) - start; d == 0 || took < d {
			return took
		}
		return d
	}
	for round := range maxRounds {
		few, many = best(few, small), best(many, large)
		if round >= 2 && many <= mostGrowth*(few+besides) {
			break
		}
	}
	t.Logf("%s: %.2f ms with %d, %.2f ms with %d", what, ms(few), fewServers, ms(many), thousands)
	if many > mostGrowth*(few+besides) {
		t.Errorf("%s takes %v with %d and %v with %d", what, few, fewServers, many, thousands)
	}
	return many
}

// spent is the time of processors that this process has used.
func spent(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// large is a file of that many servers in services of so many each, none of which is asked
// over a network.
func large(servers, each int) string {
	var b strings.Builder
	b.WriteString("manage_sysctls = true\n[director.lvs1]\naddress = \"192.0.2.1\"\n[director.lvs2]\naddress = \"192.0.2.2\"\n")
	for i := range servers {
		if i%each == 0 {
			n := i / each
			fmt.Fprintf(&b, "[service.s%d]\nlisten = \"192.0.2.%d:%d/tcp\"\nowner = \"none\"\nforward = \"nat\"\npersistence = \"60s\"\ncheck = { type = \"on\", interval = \"1h\" }\n", n, 1+n%100, 1000+n/100)
		}
		fmt.Fprintf(&b, "[[service.s%d.server]]\naddress = \"10.%d.%d.%d:80\"\n", i/each, i>>16, i>>8&255, i&255)
	}
	return b.String()
}

// oneWay is a machine that has one way to everywhere, and parameters that are as they
// should not be.
type oneWay struct{}

func (oneWay) WayTo(netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	return "eth1", netip.MustParseAddr("10.0.0.1"), false, nil
}
func (oneWay) Setting(string, string) (int, error) { return 0, nil }
func (oneWay) Sysctl(string) (string, error)       { return "0", nil }
func (oneWay) SetSysctl(string, string) error      { return errors.New("read-only file system") }
func (oneWay) List() ([]vrrp.Link, error)          { return []vrrp.Link{{Name: "eth0"}, {Name: "eth1"}}, nil }

// running is a director with a file of that many servers, all of which are up, and whose
// kernel has them.
func running(t testing.TB, servers, each int) *Director {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lvsha.toml")
	if err := os.WriteFile(path, []byte(large(servers, each)), 0o600); err != nil {
		t.Fatal(err)
	}
	port, daemons, table := (&vrrptest.Segment{}).NewPort([6]byte{2}), connsync.NewMemory(), ipvs.NewMemory(nil)
	d, err := New(Options{
		Load: config.NewLoader(path, "lvs1").Load,
		Dir:  t.TempDir(), State: t.TempDir(), Port: port, Links: vrrptest.NewLinks(port), Routing: oneWay{},
		IPVS: func() (ipvs.Kernel, error) { return table, nil }, Sync: func() (connsync.Kernel, error) { return daemons, nil },
		InMemory: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	up := func() (n int) {
		for _, s := range d.table.Snapshot().Services {
			for _, to := range s.Destinations {
				if to.Weight > 0 {
					n++
				}
			}
		}
		return n
	}
	for deadline := time.After(time.Minute); up() < servers; {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%d of %d servers are in the kernel", up(), servers)
		}
	}
	d.channel.mu.Lock()
	d.channel.compare.open("lvs2", nil) // which sees all of them
	for id, seen := range observe(d.monitor.Snapshot()) {
		d.channel.compare.others["lvs2"].sees[id] = seen.seen
	}
	d.channel.mu.Unlock()
	return d
}

// TestGrowth: what a running director does about many servers, each in a service of its
// own and ten in each. It ends with a table of what an operator waits for (BenchmarkLarge
// holds that against its bars).
func TestGrowth(t *testing.T) {
	var table strings.Builder
	for _, each := range []int{1, 10} {
		t.Run(fmt.Sprintf("%d each", each), func(t *testing.T) {
			few, many := running(t, fewServers, each), running(t, thousands, each)
			both := func(what string, f func(d *Director) error) time.Duration {
				t.Helper()
				do := func(d *Director) func() {
					return func() {
						if err := f(d); err != nil {
							t.Errorf("%s: %v", what, err)
						}
					}
				}
				return grows(t, what, do(few), do(many))
			}
			snapshot := both("status", func(d *Director) error { d.Status(); return nil })
			locked := both("the lock that it holds", func(d *Director) error { d.stand(); return nil })
			both("status of one service", func(d *Director) error {
				_, err := d.StatusOf([]string{"s7"})
				return err
			})
			reload := both("reload of an unchanged file", func(d *Director) error {
				_, err := d.Reload(t.Context())
				return err
			})
			fmt.Fprintf(&table, "\n%6d services with %2d servers: snapshot %6.2f ms, lock %5.2f ms, reload %6.2f ms", thousands/each, each, ms(snapshot), ms(locked), ms(reload))
			both("plan", func(d *Director) error {
				_, err := d.Plan(t.Context(), control.PlanRequest{})
				return err
			})
			both("judging", func(d *Director) error { return d.onLoop(t.Context(), d.want) })
			both("quorums", func(d *Director) error {
				return d.onLoop(t.Context(), func() {
					clear(d.hooks.services)
					d.notifyQuorums(d.judging.quorums(), time.Now())
				})
			})
			both("hooks of a file", func(d *Director) error { return d.onLoop(t.Context(), func() { d.setHooks(d.cfg) }) })
			both("drain of one server", func(d *Director) error {
				_, err := d.Servers(t.Context(), control.ServersRequest{Do: control.DoDrain, Force: true, Server: "10.0.0.7"})
				return err
			})
			for _, d := range []*Director{few, many} {
				if err := d.onLoop(t.Context(), func() { d.keepServers(drainAll(d)) }); err != nil {
					t.Fatal(err)
				}
			}
			both("drains of all servers", func(d *Director) error { return d.onLoop(t.Context(), d.watchDrains) })
			both("drains of servers that have left", func(d *Director) error {
				left := judging{kept: d.judging.kept}
				left.set(&config.Config{Services: d.cfg.Services[:1]}, steering{})
				if n := len(left.gone()); n < fewServers-each {
					return fmt.Errorf("%d are gone", n)
				}
				left.goneProblems()
				_, err := left.goneAsked(control.ServersRequest{Do: control.DoUndrain, Service: "s0", Server: "10.0.0.7"})
				return err
			})
		})
	}
	t.Logf("time of processors:%s", table.String())
}

// drainAll is what is kept when an operator has drained everything.
func drainAll(d *Director) (out []keptServer) {
	for _, row := range d.judging.rows {
		for _, s := range row.servers {
			out = append(out, keptServer{Service: row.listen, Server: s.at, Drain: &keptDrain{Since: time.Now()}})
		}
	}
	return out
}
