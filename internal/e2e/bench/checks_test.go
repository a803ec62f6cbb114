package bench_test

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// farm is many servers on the loopback addresses of one host. They belong to this
// process, so that they cost the directors nothing.
type farm struct {
	host    *lab.Host
	epoll   int
	accepts atomic.Int64
	// http has servers answer a request instead of closing at once.
	http bool

	mu      sync.Mutex // guards what follows
	fds     []int      // of the listening sockets; -1 is dead
	clients map[int]bool
	stop    chan struct{}
	stopped chan struct{}
}

const farmPort = 8000

// farmAddress is the address of a server of a farm.
func farmAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}) }

// newFarm starts n servers.
func newFarm(t testing.TB, h *lab.Host, n int, http bool) *farm {
	t.Helper()
	f := &farm{host: h, http: http, fds: make([]int, n), clients: make(map[int]bool), stop: make(chan struct{}), stopped: make(chan struct{})}
	var err error
	if f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for i := range f.fds {
		f.fds[i] = -1
	}
	if err := f.revive(0, n); err != nil {
		t.Fatal(err)
	}
	go func() {
		// Servers and directors are not to take the processor from each other.
		runtime.LockOSThread()
		var first unix.CPUSet
		first.Set(0)
		unix.SchedSetaffinity(0, &first) // a wish
		f.run()
	}()
	t.Cleanup(f.close)
	return f
}

// revive has servers listen.
func (f *farm) revive(from, to int) error {
	return f.host.Do(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := from; i < to; i++ {
			if f.fds[i] >= 0 {
				continue
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: farmPort, Addr: farmAddress(i).As4()}); err != nil {
				return err
			}
			if err := unix.Listen(fd, 128); err != nil {
				return err
			}
			if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
				return err
			}
			f.fds[i] = fd
		}
		return nil
	})
}

// kill has servers refuse, and returns when each did first, on the monotonic clock.
func (f *farm) kill(from, to int) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var at []time.Duration
	for i := from; i < to; i++ {
		if f.fds[i] >= 0 {
			unix.Close(f.fds[i])
			f.fds[i] = -1
		}
		at = append(at, rig.Monotonic())
	}
	return at
}

func (f *farm) run() {
	defer close(f.stopped)
	events := make([]unix.EpollEvent, 1024)
	buf := make([]byte, 4096)
	answer := []byte("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	for {
		select {
		case <-f.stop:
			return
		default:
		}
		n, _ := unix.EpollWait(f.epoll, events, 100)
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			if f.clients[fd] {
				unix.Read(fd, buf)
				unix.Write(fd, answer)
				delete(f.clients, fd)
				unix.Close(fd)
				continue
			}
			for {
				c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
				if err != nil {
					break
				}
				f.accepts.Add(1)
				if !f.http {
					unix.Close(c)
					continue
				}
				f.clients[c] = true
				unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, c, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c)})
			}
		}
	}
}

func (f *farm) close() {
	select {
	case <-f.stop:
		return
	default:
		close(f.stop)
	}
	<-f.stopped
	f.kill(0, len(f.fds))
	for c := range f.clients {
		unix.Close(c)
	}
	unix.Close(f.epoll)
}

// perService is how many servers of a farm one service has.
const perService = 100

// farmFile is lvsha's file for a farm, farmConf keepalived's.
func farmFile(n int, check string) string {
	var b strings.Builder
	b.WriteString("[health]\ndoubt = \"0s\"\n")
	for i := range n {
		if i%perService == 0 {
			fmt.Fprintf(&b, "[service.s%d]\nlisten = \"192.0.2.10:%d/tcp\"\nowner = \"none\"\nforward = \"nat\"\nscheduler = \"wlc\"\ncheck = %s\n", i/perService, 1000+i/perService, check)
		}
		fmt.Fprintf(&b, "[[service.s%d.server]]\naddress = \"%s:%d\"\n", i/perService, farmAddress(i), farmPort)
	}
	return b.String()
}

func farmConf(n int, check string) string {
	var b strings.Builder
	for i := range n {
		if i%perService == 0 {
			if i > 0 {
				b.WriteString("}\n")
			}
			fmt.Fprintf(&b, "virtual_server 192.0.2.10 %d {\n delay_loop 1\n warmup 1\n lb_algo wlc\n lb_kind NAT\n protocol TCP\n", 1000+i/perService)
		}
		fmt.Fprintf(&b, " real_server %s %d {\n  weight 1\n  %s\n }\n", farmAddress(i), farmPort, check)
	}
	return b.String() + "}\n"
}

// checker is a program under measurement.
type checker struct {
	name string
	pid  int
	log  string // the path of what it changed in IPVS
	host *lab.Host
}

// startChecker starts lvsha or keepalived with a farm on a host of its own.
func startChecker(r *rig.Rig, h *lab.Host, name string, n int, kind string) *checker {
	r.Helper()
	c := &checker{name: name, host: h, log: filepath.Join(r.Life.TempDir(), "ipvs.log")}
	switch name {
	case "lvsha":
		check := `{ type = "tcp", interval = "1s", timeout = "500ms", rise = 1, fall = 1 }`
		if kind == "http" {
			check = `{ type = "http", interval = "1s", timeout = "500ms", rise = 1, fall = 1 }`
		}
		c.pid = r.Lvsha(h, farmFile(n, check), "--kernel=memory", "--kernel-log", c.log).PID()
		aside(r, c.pid)
	case "keepalived":
		check := "TCP_CHECK { connect_timeout 1\n retry 0\n }"
		if kind == "http" {
			check = "HTTP_GET { url { path /\n status_code 200\n }\n connect_timeout 1\n retry 0\n }"
		}
		r.Check(h.WriteFile("/run/keepalived.conf", []byte(farmConf(n, check)), 0o600))
		p, err := h.Start(nil, "env", "LD_PRELOAD="+standin(r), "STANDIN_LOG="+c.log, "keepalived", "--dont-fork", "--log-console", "--check",
			"-f", "/run/keepalived.conf", "-p", "/run/keepalived.pid", "-c", "/run/checkers.pid")
		r.Check(err)
		c.pid = p.PID()
		aside(r, c.pid)
		r.Life.Cleanup(func() {
			if r.Life.Failed() {
				out := p.Output()
				r.Life.Logf("keepalived printed:\n%s", out[:min(len(out), 4000)])
			}
		})
	}
	return c
}

var standinOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "standin.so")
	text, err := exec.Command("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", out, "testdata/standin.c", "-ldl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the stand-in for IPVS: %w: %s", err, text)
	}
	return out, nil
})

// standin builds what answers keepalived's requests to IPVS.
func standin(r *rig.Rig) string {
	r.Helper()
	path, err := standinOnce()
	r.Check(err)
	return path
}

// aside moves a program with all its threads to the last processor, as the servers
// are on the first.
func aside(r *rig.Rig, pid int) {
	r.Helper()
	if runtime.NumCPU() == 1 {
		return
	}
	var last unix.CPUSet
	last.Set(runtime.NumCPU() - 1)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	r.Check(err)
	for _, task := range tasks {
		var tid int
		_, err := fmt.Sscan(filepath.Base(task), &tid)
		r.Check(err)
		unix.SchedSetaffinity(tid, &last) // fails for a thread that has ended
	}
}

// removals reads when servers were taken out since a time, on the monotonic clock.
func (c *checker) removals(since time.Duration) map[netip.AddrPort]time.Duration {
	return c.changes(since, true)
}

// changes reads when servers were taken out, or came in, since a time.
func (c *checker) changes(since time.Duration, outward bool) map[netip.AddrPort]time.Duration {
	f, err := os.Open(c.log)
	if err != nil {
		return nil
	}
	defer f.Close()
	out := make(map[netip.AddrPort]time.Duration)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 {
			continue
		}
		seconds, err := time.ParseDuration(words[0] + "s")
		if err != nil || seconds < since {
			continue
		}
		server, removed := "", false
		switch {
		case c.name == "keepalived":
			server, removed = words[2], words[1] == "7" // IPVS_CMD_DEL_DEST
		case words[1] == "remove" && words[2] == "server":
			server, removed = words[3], true
		case words[1] == "add" && words[2] == "server":
			server = words[3]
		case words[1] == "set": // weight of server ADDRESS of …
			server, removed = words[slices.Index(words, "server")+1], strings.Contains(lines.Text(), " to 0")
		}
		if removed != outward {
			continue
		}
		if at, err := netip.ParseAddrPort(server); err == nil {
			if _, seen := out[at]; !seen {
				out[at] = seconds
			}
		}
	}
	return out
}

// BenchmarkChecks prints what 1,000, 5,000 and 10,000 tcp checks a second, and 5,000
// of http, cost lvsha and keepalived, and how soon a dead server is out of IPVS.
func BenchmarkChecks(b *testing.B) {
	const during = 20 * time.Second
	for b.Loop() {
		for _, c := range []struct {
			n    int
			kind string
		}{{1000, "tcp"}, {5000, "tcp"}, {10000, "tcp"}, {5000, "http"}} {
			fmt.Printf("\n%d servers, a %s check every second, over %v\n", c.n, c.kind, during)
			cost := make(map[string]float64)
			for _, name := range []string{"lvsha", "keepalived"} {
				m := measureChecks(b, name, c.n, c.kind, during)
				fmt.Printf("%-12s %7.1f checks/s (%.2f %%), CPU %.1f %% (%.1f us a check), RSS %.1f MiB; removal after a death: median %v, p99 %v, max %v of %d\n",
					name, m.rate, 100*m.rate/float64(c.n), m.cpu, 1e4*m.cpu/m.rate, m.rss, m.at(0.5), m.at(0.99), m.at(1), len(m.removal))
				cost[name] = m.cpu / m.rate
				if name != "lvsha" {
					continue
				}
				if m.rate < 0.995*float64(c.n) {
					b.Errorf("%d %s: %.1f checks/s, want 99.5 %% of those asked for", c.n, c.kind, m.rate)
				}
				if m.rss > 60 && c.kind == "tcp" {
					b.Errorf("%d %s: RSS %.1f MiB, want 60 at most", c.n, c.kind, m.rss)
				}
				if limit := 1600 * time.Millisecond; m.at(0.99) > limit {
					b.Errorf("%d %s: removal after %v at p99, want %v", c.n, c.kind, m.at(0.99), limit)
				}
			}
			fmt.Printf("CPU of a check, lvsha to keepalived: %.2f\n", cost["lvsha"]/cost["keepalived"])
			if c.kind == "tcp" && cost["lvsha"] > cost["keepalived"] {
				b.Errorf("%d %s: a check costs %.2f times what it costs keepalived", c.n, c.kind, cost["lvsha"]/cost["keepalived"])
			}
		}
	}
}

// checkCost is what a measurement found.
type checkCost struct {
	rate, cpu, rss float64 // checks a second, percent of a processor, MiB
	removal        []time.Duration
}

func (m checkCost) at(q float64) time.Duration {
	if len(m.removal) == 0 {
		return 0
	}
	return m.removal[min(int(q*float64(len(m.removal))), len(m.removal)-1)].Round(time.Millisecond)
}

// measureChecks runs one program over one farm.
func measureChecks(b testing.TB, name string, n int, kind string, during time.Duration) (m checkCost) {
	b.Helper()
	r := rig.New(b)
	defer r.Net.Close()
	h := r.LVS[0]
	f := newFarm(b, h, n, kind == "http")
	defer f.close()
	c := startChecker(r, h, name, n, kind)
	r.Eventually(fmt.Sprintf("%s checks %d servers", name, n), 90*time.Second, func() bool { return f.accepts.Load() > int64(3*n) })
	r.Settle(3 * time.Second)

	accepts, cpu, began := f.accepts.Load(), runtimeOf(r, c.pid), time.Now()
	r.Settle(during)
	took := time.Since(began).Seconds()
	m.rate = float64(f.accepts.Load()-accepts) / took
	m.cpu = 100 * (runtimeOf(r, c.pid) - cpu).Seconds() / took
	rss, _ := memoryOf(r, c.pid)
	m.rss = float64(rss) / (1 << 20)

	// A hundred deaths, spread over two seconds.
	died := make(map[netip.AddrPort]time.Duration)
	since := rig.Monotonic()
	for i := range 100 {
		server := i * n / 100
		died[netip.AddrPortFrom(farmAddress(server), farmPort)] = f.kill(server, server+1)[0]
		r.Settle(20 * time.Millisecond)
	}
	var out map[netip.AddrPort]time.Duration
	r.Eventually(fmt.Sprintf("%s takes 100 dead servers out", name), 30*time.Second, func() bool {
		out = c.removals(since)
		return len(out) >= len(died)
	})
	for server, at := range died {
		removed, ok := out[server]
		if !ok {
			b.Errorf("%s has not taken %s out", name, server)
			continue
		}
		m.removal = append(m.removal, removed-at)
	}
	slices.Sort(m.removal)
	return m
}

// storm has n servers die in the same second and come back, beside a virtual router
// that advertises every 100 ms, and returns how long the table took to be right both
// times and the longest gap between advertisements.
func storm(t testing.TB, n int, limit time.Duration) (down, up, gap time.Duration) {
	t.Helper()
	r := rig.New(t)
	defer r.Net.Close()
	h := r.LVS[0]
	f := newFarm(t, h, n, false)
	defer f.close()
	c := &checker{name: "lvsha", host: h, log: filepath.Join(t.TempDir(), "ipvs.log")}
	d := r.Lvsha(h, rig.VRRPFile(3, 100*time.Millisecond)+farmFile(n, `{ type = "tcp", interval = "1s", timeout = "500ms", rise = 1, fall = 1 }`),
		"--kernel=memory", "--kernel-log", c.log)
	r.Becomes(d, "active")
	right := func(since time.Duration, outward bool) time.Duration {
		var last time.Duration
		r.Eventually(fmt.Sprintf("%d servers in IPVS, out is %v", n, outward), limit, func() bool {
			all := c.changes(since, outward)
			for _, at := range all {
				last = max(last, at)
			}
			return len(all) == n
		})
		return last
	}
	right(0, false)
	began := time.Now()
	died := f.kill(0, n)
	down = right(died[0], true) - died[0]
	back := rig.Monotonic()
	r.Check(f.revive(0, n))
	up = right(back, false) - back
	var last time.Time
	for _, adv := range r.Sniffer.Seen() {
		if adv.At.Before(began) {
			continue
		}
		if !last.IsZero() {
			gap = max(gap, adv.At.Sub(last))
		}
		last = adv.At
	}
	if last.IsZero() {
		t.Error("no advertisement was seen")
	}
	return down, up, gap
}

// TestStorm is BenchmarkStorm with fewer servers and with slack.
func TestStorm(t *testing.T) {
	down, up, gap := storm(t, 2000, 20*time.Second)
	t.Logf("2000 servers out after %v, back after %v; longest gap between advertisements %v", down, up, gap)
	if down > 8*time.Second || up > 8*time.Second || gap > 350*time.Millisecond {
		t.Error("want 8s, 8s and no takeover")
	}
}

// BenchmarkStorm prints how soon IPVS follows 10,000 servers that die and come back in
// the same second, and what advertisements do meanwhile.
func BenchmarkStorm(b *testing.B) {
	for b.Loop() {
		down, up, gap := storm(b, 10000, 30*time.Second)
		fmt.Printf("10000 servers out of IPVS %v after they died, in it %v after they came back; longest gap between advertisements at 100ms: %v\n",
			down.Round(time.Millisecond), up.Round(time.Millisecond), gap.Round(time.Millisecond))
		if down > 2*time.Second || up > 2*time.Second {
			b.Error("want the table right within 2s")
		}
		if gap > 190*time.Millisecond {
			b.Error("an advertisement is missing")
		}
	}
}
