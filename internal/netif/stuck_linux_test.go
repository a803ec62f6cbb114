package netif_test

import (
	"net/netip"
	"os/exec"
	"strings"
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

// stick makes an interface in namespace a whose queue is stuck until it is told
// otherwise. What does not go out is charged to the socket that sent it, which is full
// after some 280 frames.
func (l *lan) stick(name string) (unstick func()) {
	l.t.Helper()
	tc := func(args ...string) {
		if out, err := exec.Command("tc", append([]string{"-n", l.a}, args...)...).CombinedOutput(); err != nil {
			l.t.Errorf("tc %v: %v\n%s", args, err, out)
		}
	}
	l.ip("-n", l.a, "link", "add", name, "type", "veth", "peer", "name", name+"-peer")
	l.ip("-n", l.a, "link", "set", name+"-peer", "up")
	l.ip("-n", l.a, "link", "set", name, "up")
	tc("qdisc", "add", "dev", name, "root", "tbf", "rate", "1kbit", "burst", "1600", "limit", "10mb")
	return func() { tc("qdisc", "del", "dev", name, "root") }
}

// besideStuck announces on an interface whose queue is stuck, and works on another
// one. At the latest the queue is gone after a time.
func besideStuck(l *lan, during, most time.Duration) (s stuck) {
	l.t.Helper()
	links := netif.New(nil)
	defer func() { try(l.t, links.Close()) }()
	unstick := l.stick("stuck0")
	unstuck := time.AfterFunc(most, unstick)
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

// TestNetnsStuckRouter: a virtual router whose interface's queue is stuck does not keep
// another one from its address, nor the director from stopping.
func TestNetnsStuckRouter(t *testing.T) {
	l := newLAN(t)
	l.stick("stuck0")
	l.ip("-n", l.a, "addr", "add", "10.8.0.1/24", "dev", "stuck0")
	stuck := webConfig(150)
	stuck.Name, stuck.Interface, stuck.VRID, stuck.Addresses = "stuck", "stuck0", 52, nil
	for _, p := range many("10.8.1.1/32", 60) {
		stuck.Addresses = append(stuck.Addresses, vrrp.Address{Prefix: p})
	}
	d := l.start(l.a, nodeConfig{Configs: []vrrp.Config{stuck, webConfig(150)}})
	d.becomes(vrrp.Active)
	d.becomes(vrrp.Active)
	at := time.Now()
	l.eventually("a has the address", func() bool { return l.has(l.a, virtual) })
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("the address was there after %v", took)
	}
	d.next("complain about the stuck interface", func(l line) bool {
		return l.Notice != nil && strings.Contains(l.Notice.Text, "its queue is full")
	})
	l.eventually("hosts know the address", func() bool { return l.pings("10.9.0.100") })
	d.tell("release")
	d.next("stop", func(l line) bool { return l.Done == "release" })
	if l.has(l.a, virtual) || strings.Contains(l.ip("-n", l.a, "addr"), "10.8.1.") {
		t.Error("addresses are there after the release")
	}
}
