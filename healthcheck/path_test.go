package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
)

// along asks a server once, along a path.
func along(t *testing.T, p healthcheck.Path, c healthcheck.Check) (healthcheck.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ask, err := c.Ask.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	c.Through = true
	return ask(ctx, healthcheck.Target{Server: addrPort("192.0.2.21:8080"), Check: c, Path: p})
}

// TestPath: a probe along a path goes to the service's address, from the source.
// Marks need CAP_NET_ADMIN.
func TestPath(t *testing.T) {
	from := make(chan string, 1)
	tcp := listen(t, func(c net.Conn) { from <- c.RemoteAddr().(*net.TCPAddr).IP.String() })
	path := healthcheck.Path{VIP: addrPort(tcp), Mark: 0x4c560001, Source: netip.MustParseAddr("127.0.0.2")}
	if answer, err := along(t, path, healthcheck.Check{Ask: healthcheck.TCP{}}); err != nil || answer.Detail != "connected" {
		t.Errorf("tcp: %+v, %v", answer, err)
	}
	if got := <-from; got != "127.0.0.2" {
		t.Errorf("tcp from %s", got)
	}
	path.Source = netip.Addr{}
	if _, err := along(t, path, healthcheck.Check{Ask: healthcheck.TCP{}}); err != nil {
		t.Errorf("tcp without a source: %v", err)
	}
	if got := <-from; got != "127.0.0.1" {
		t.Errorf("tcp without a source from %s", got)
	}

	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked = r.Host + " from " + r.RemoteAddr[:strings.LastIndex(r.RemoteAddr, ":")]
	}))
	defer server.Close()
	path.VIP, path.Source = addrPort(server.Listener.Addr().String()), netip.MustParseAddr("127.0.0.3")
	if _, err := along(t, path, asks(healthcheck.Request{})); err != nil {
		t.Errorf("http: %v", err)
	}
	if want := path.VIP.String() + " from 127.0.0.3"; asked != want {
		t.Errorf("http asked %q, want %q", asked, want)
	}

	path.Source = netip.MustParseAddr("192.0.2.99") // of nobody here
	for _, c := range []healthcheck.Check{{Ask: healthcheck.TCP{}}, asks(healthcheck.Request{})} {
		if _, err := along(t, path, c); !errors.Is(err, healthcheck.ErrInconclusive) {
			t.Errorf("%s from another's address: %v", c, err)
		}
	}
}

// TestPathDatagrams: datagrams leave from the port that was picked.
func TestPathDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	dial := func(port uint16) error {
		path := healthcheck.Path{VIP: addrPort(server.LocalAddr().String()), Mark: 5, Source: netip.MustParseAddr("127.0.0.4"), Port: port}
		conn, err := healthcheck.Target{Path: path}.Dial(t.Context(), "udp")
		if err != nil {
			return err
		}
		defer conn.Close()
		if got, want := conn.LocalAddr().String(), fmt.Sprint("127.0.0.4:", port); got != want {
			t.Errorf("from %s, want %s", got, want)
		}
		if again, err := (healthcheck.Target{Path: path}).Dial(t.Context(), "udp"); !errors.Is(err, healthcheck.ErrInconclusive) {
			t.Errorf("from a port that is taken: %v, %v", again, err)
		}
		return nil
	}
	if err := dial(33333); err != nil {
		t.Error(err)
	}
	if err := dial(0); !errors.Is(err, healthcheck.ErrInconclusive) || !strings.Contains(err.Error(), "every source port") {
		t.Errorf("without a port: %v", err)
	}
}

// TestPorts: no port comes again before its rest is over, from one process to the
// next, and a rush goes on for as long as that can be.
func TestPorts(t *testing.T) {
	path := healthcheck.Path{VIP: addrPort("192.0.2.10:53"), Source: netip.MustParseAddr("192.0.2.1")}
	used := make(map[uint16]time.Duration)
	var p healthcheck.SourcePorts
	refused := 0
	for now := time.Duration(0); now < 30*time.Minute; now += 10 * time.Millisecond {
		port := p.Pick(path, now)
		if port == 0 {
			refused++
			continue
		}
		if port < 32768 || port > 60999 {
			t.Fatalf("port %d", port)
		}
		if last, ok := used[port]; ok && now-last < 5*time.Minute {
			t.Fatalf("port %d after %v", port, now-last)
		}
		used[port] = now
	}
	if refused == 0 {
		t.Error("100 probes a second for half an hour, and all had a port")
	}

	// At the pace that is possible there is one for all, and a new process begins
	// where the time is.
	p, used = healthcheck.SourcePorts{}, make(map[uint16]time.Duration)
	for now := time.Duration(0); now < 30*time.Minute; now += 20 * time.Millisecond {
		if now%(7*time.Minute) == 0 {
			p = healthcheck.SourcePorts{}
		}
		port := p.Pick(path, now)
		if last, ok := used[port]; port == 0 || ok && now-last < 5*time.Minute {
			t.Fatalf("port %d at %v, %v after its last use", port, now, now-last)
		}
		used[port] = now
	}

	// Paths to other services, and of other sources, do not share.
	other := path
	other.VIP = addrPort("192.0.2.11:53")
	p = healthcheck.SourcePorts{}
	if a, b := p.Pick(path, time.Hour), p.Pick(other, time.Hour); a != b {
		t.Errorf("ports %d and %d of two services", a, b)
	}
	if a, b := p.Pick(path, time.Hour), p.Pick(path, time.Hour); a == b {
		t.Errorf("port %d twice", a)
	}
}

// TestMonitorPaths: what is not ready is not asked and is asked soon; what this
// machine may be to blame for is no failure.
func TestMonitorPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ready, excuse atomic.Pointer[error]
		var learned atomic.Int64
		var paths []healthcheck.Path
		why := func(p *atomic.Pointer[error]) func(healthcheck.Path) error {
			return func(healthcheck.Path) error {
				if err := p.Load(); err != nil {
					return *err
				}
				return nil
			}
		}
		f := newFarm()
		m := healthcheck.New(healthcheck.Options{
			Ready: why(&ready), Excuse: why(&excuse), Learned: func(healthcheck.Path) { learned.Add(1) },
			Prepare: func(q healthcheck.Question) (healthcheck.ProbeFunc, error) {
				return func(ctx context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
					paths = append(paths, t.Path)
					return f.probe(ctx, t)
				}, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		defer func() { cancel(); <-done }()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}

		absent, blamed := errors.New("the way is not there"), errors.New("our fault")
		ready.Store(&absent)
		path := healthcheck.Path{VIP: addrPort("192.0.2.10:80"), Mark: 5}
		through := target(1, healthcheck.Check{Ask: fake{}, Interval: 10 * time.Second, Through: true, Fall: 1})
		through.Path = path
		direct := target(1, healthcheck.Check{Ask: fake{}, Interval: 10 * time.Second})
		m.Set(wants(through, direct))
		wait(5 * time.Second)
		s := state(t, m, through)
		if s.State != healthcheck.Unknown || !s.Last.Inconclusive || s.Last.Silent || s.Reason != "nothing learned about the server: not asked: the way is not there" {
			t.Errorf("not ready: %+v", s)
		}
		if s := state(t, m, direct); s.State != healthcheck.Up {
			t.Errorf("the direct way: %+v", s)
		}
		ready.Store(nil)
		wait(100 * time.Millisecond)
		if s := state(t, m, through); s.State != healthcheck.Up || s.Counters.Successes != 1 {
			t.Errorf("ready: %+v", s)
		}
		if learned.Load() != 1 {
			t.Errorf("learned %d times, want once", learned.Load())
		}

		f.set(through, errors.New("connection refused"))
		excuse.Store(&blamed)
		wait(30 * time.Second)
		s = state(t, m, through)
		if s.State != healthcheck.Up || s.Last.Reason != "nothing learned about the server: our fault (seen: connection refused)" {
			t.Errorf("excused: %+v", s)
		}
		if s := state(t, m, direct); s.State != healthcheck.Down && s.Streak == 0 {
			t.Errorf("the direct way has no excuse: %+v", s)
		}
		ready.Store(&absent)
		excuse.Store(nil)
		wait(30 * time.Second)
		if s := state(t, m, through); s.State != healthcheck.Up || s.Counters.Failures != 0 {
			t.Errorf("not ready any more: %+v", s)
		}
		ready.Store(nil)
		wait(10 * time.Second)
		if s := state(t, m, through); s.State != healthcheck.Down {
			t.Errorf("no excuse: %+v", s)
		}

		// Another mark or source is another path to the same server.
		moved := through
		moved.Path.Mark, moved.Path.Source = 6, netip.MustParseAddr("192.0.2.1")
		m.Set(wants(moved))
		if s := state(t, m, moved); s.State != healthcheck.Down {
			t.Errorf("along another path: %+v", s)
		}
		ports := make(map[uint16]bool)
		n := 0
		for _, p := range paths {
			if p.Direct() {
				continue
			}
			n++
			ports[p.Port] = true
			p.Port = 0
			if diff := cmp.Diff(path, p, cmp.Comparer(func(a, b healthcheck.Path) bool { return a == b })); diff != "" {
				t.Errorf("path (-want +got):\n%s", diff)
			}
		}
		if len(ports) != n || ports[0] {
			t.Errorf("%d probes had %d ports: %v", n, len(ports), ports)
		}

		// Nobody said how.
		lost := target(2, healthcheck.Check{Ask: fake{}, Through: true})
		m.Set(wants(lost))
		wait(5 * time.Second)
		if s := state(t, m, lost); s.State != healthcheck.Unknown || !s.Last.Inconclusive {
			t.Errorf("without a path: %+v", s)
		}
	})
}
