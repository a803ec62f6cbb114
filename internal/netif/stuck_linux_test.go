package netif_test

import (
	"net/netip"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lvsha/internal/netif"
	"lvsha/vrrp"
)

// stuck is how long things took beside a queue that nobody empties.
type stuck struct {
	// sending is the longest announcement on the interface whose queue is stuck,
	// and refused how many of them failed.
	sending time.Duration
	refused int
	// other is the longest operation on the other interface.
	other time.Duration
}

// besideStuck announces on an interface whose queue is stuck, and works on another
// one. At the latest the queue is gone after a time.
func besideStuck(l *lan, during, most time.Duration) (s stuck) {
	l.t.Helper()
	links := netif.New(nil)
	defer func() { try(l.t, links.Close()) }()
	// What does not go out within the hour is charged to the socket, which is full
	// after some 280 frames.
	l.ip("-n", l.a, "link", "add", "stuck0", "type", "veth", "peer", "name", "stuck1")
	l.ip("-n", l.a, "link", "set", "stuck1", "up")
	l.ip("-n", l.a, "link", "set", "stuck0", "up")
	tc := func(args ...string) {
		if out, err := exec.Command("tc", append([]string{"-n", l.a}, args...)...).CombinedOutput(); err != nil {
			l.t.Errorf("tc %v: %v\n%s", args, err, out)
		}
	}
	tc("qdisc", "add", "dev", "stuck0", "root", "tbf", "rate", "1kbit", "burst", "1600", "limit", "10mb")
	unstuck := time.AfterFunc(most, func() { tc("qdisc", "del", "dev", "stuck0", "root") })
	defer unstuck.Stop()

	var addresses []netip.Addr
	for _, p := range many("10.9.1.1/24", 50) {
		addresses = append(addresses, p.Addr())
	}
	var began atomic.Int64 // the call under way
	stop := make(chan struct{})
	var workers sync.WaitGroup
	// One worker for each interface, as the VRRP engine has it.
	workers.Go(func() {
		l.inside(l.a, func(*netif.Links) {
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := time.Now()
				began.Store(at.UnixNano())
				if links.Announce("stuck0", addresses) != nil {
					s.refused++
				}
				s.sending = max(s.sending, time.Since(at))
			}
		})
	})
	l.inside(l.a, func(*netif.Links) {
		// Its socket is full when a call takes longer than any that only queues.
		full := time.Now().Add(time.Second)
		l.eventually("the queue is stuck", func() bool {
			return time.Since(time.Unix(0, began.Load())) > 10*time.Millisecond || time.Now().After(full)
		})
		a := vrrp.Address{Prefix: netip.MustParsePrefix(virtual)}
		end := time.Now().Add(during)
		for time.Now().Before(end) {
			for _, f := range []func() error{
				func() error { return links.Add("eth0", a) },
				func() error { return links.Announce("eth0", []netip.Addr{a.Prefix.Addr()}) },
				func() error { _, err := links.Missing("eth0", []netip.Prefix{a.Prefix}); return err },
				func() error { return links.Remove("eth0", a.Prefix) },
			} {
				at := time.Now()
				try(l.t, f())
				s.other = max(s.other, time.Since(at))
			}
		}
	})
	close(stop)
	workers.Wait()
	return s
}

// TestNetnsStuckQueue: a queue that is stuck on one interface delays neither the
// announcements nor the addresses of another one, and a send gives up. The limits
// are for a machine that has other work.
func TestNetnsStuckQueue(t *testing.T) {
	s := besideStuck(newLAN(t), 2*time.Second, 7400*time.Millisecond)
	t.Logf("the other interface waited at most %v; announcements on the stuck one took at most %v, %d failed", s.other, s.sending, s.refused)
	if s.other > 500*time.Millisecond {
		t.Errorf("the other interface waited %v", s.other)
	}
	if s.sending > 500*time.Millisecond || s.refused == 0 {
		t.Errorf("announcements on the stuck interface took up to %v, and %d failed", s.sending, s.refused)
	}
}
