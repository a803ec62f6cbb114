//go:build soak

package bench_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
)

// hang has servers take no connection: their queues are full, so that those who
// connect wait.
func (f *farm) hang(t testing.TB, servers []int) {
	t.Helper()
	err := f.host.Do(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, i := range servers {
			if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_DEL, f.fds[i], nil); err != nil {
				return err
			}
			if err := unix.Listen(f.fds[i], 0); err != nil {
				return err
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: farmPort, Addr: farmAddress(i).As4()}); err != nil && err != unix.EINPROGRESS {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSoakChecks probes 10,000 servers, of which 1,000 hang, for ten minutes, and
// wants memory, descriptors and goroutines to stay what they were.
func TestSoakChecks(t *testing.T) {
	const n, during = 10000, 10 * time.Minute
	r := rig.New(t)
	defer r.Net.Close()
	f := newFarm(t, r.LVS[0], n, false)
	defer f.close()
	var servers []int
	for i := 0; i < n; i += 10 {
		servers = append(servers, i)
	}
	f.hang(t, servers)
	d := r.Lvsha(r.LVS[0], farmFile(n, `{ type = "tcp", interval = "1s", timeout = "500ms", rise = 1, fall = 1 }`), "--kernel=memory")
	type sample struct {
		rss               float64
		files, goroutines int
	}
	look := func() (s sample) {
		rss, _ := memoryOf(r, d.PID())
		s.rss = float64(rss) / (1 << 20)
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
		r.Check(err)
		s.files = len(files)
		r.Eventually("the daemon shows its status", time.Minute, func() bool {
			status, err := d.Status()
			s.goroutines = status.Goroutines
			return err == nil
		})
		return s
	}
	r.Settle(time.Minute)
	// The largest of several looks, as each meets another moment.
	largest := func(over time.Duration) (m sample) {
		for range 10 {
			s := look()
			m = sample{max(m.rss, s.rss), max(m.files, s.files), max(m.goroutines, s.goroutines)}
			r.Settle(over / 10)
		}
		return m
	}
	first := largest(time.Minute)
	t.Logf("after a minute: %+v", first)
	accepts := f.accepts.Load()
	r.Settle(during - 3*time.Minute)
	last := largest(time.Minute)
	t.Logf("after %v: %+v, %d connections accepted", during, last, f.accepts.Load()-accepts)
	if last.rss > 1.15*first.rss || last.files > first.files+first.files/5 || last.goroutines > first.goroutines+10 {
		t.Errorf("it grows: %+v after a minute, %+v after %v", first, last, during)
	}
}
