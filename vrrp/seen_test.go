package vrrp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// crowd is an engine with so many active virtual routers of so many addresses, and
// its interface, which has as many of others.
func crowd(tb testing.TB, routers, addresses, others int) (*Engine, []Link) {
	tb.Helper()
	link := Link{Name: "eth0", Index: 2, Up: true, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}
	a := netip.MustParseAddr("10.66.0.1")
	for range others {
		link.Addresses = append(link.Addresses, netip.PrefixFrom(a, 32))
		a = a.Next()
	}
	var configs []Config
	a = netip.MustParseAddr("10.100.0.1")
	for i := range routers {
		c := Config{Name: fmt.Sprint("r", i+1), Interface: "eth0", VRID: uint8(i + 1), Version: 3, Priority: 255, Interval: time.Second}
		for range addresses {
			p := netip.PrefixFrom(a, 32)
			c.Addresses = append(c.Addresses, Address{Prefix: p})
			link.Addresses = append(link.Addresses, p)
			a = a.Next()
		}
		configs = append(configs, c)
	}
	e := New(Options{Port: silentPort{}})
	e.spawn = func(*worker) {}
	if err := e.Configure(context.Background(), configs); err != nil {
		tb.Fatal(err)
	}
	return e, []Link{link}
}

// silentPort opens and sends nothing.
type silentPort struct{ Port }

func (silentPort) Open(string, int, Family) error                             { return nil }
func (silentPort) Send(string, [6]byte, netip.Addr, netip.Addr, []byte) error { return nil }

// BenchmarkSawLinks is what the loop does for one change of anybody's addresses,
// with 250 virtual routers of 20 addresses.
func BenchmarkSawLinks(b *testing.B) {
	e, links := crowd(b, 250, 20, 1000)
	e.sawLinks(see(links))
	for _, m := range e.members {
		if m.router.State() != Active {
			b.Fatalf("%s is %s", m.router.cfg.Name, m.router.State())
		}
	}
	for b.Loop() {
		b.StopTimer()
		now := see(links)
		b.StartTimer()
		e.sawLinks(now)
	}
}

// TestSawLinksOnce: what is asked of the interfaces is made once for an update, not
// for each router, which took the loop 200 ms and more. The limit is some twenty
// times what it takes.
func TestSawLinksOnce(t *testing.T) {
	e, links := crowd(t, 250, 20, 1000)
	e.sawLinks(see(links))
	best := time.Hour
	for range 10 {
		now := see(links)
		at := time.Now()
		e.sawLinks(now)
		best = min(best, time.Since(at))
	}
	t.Logf("%v", best)
	if best > limitPerEvent {
		t.Errorf("one change of anybody's addresses takes the loop %v", best)
	}
}

// limitPerEvent is for a machine that has other work.
const limitPerEvent = 30 * time.Millisecond

// TestWatchedLast: the loop looks at the last state of the interfaces alone, however
// often they changed before it came to that.
func TestWatchedLast(t *testing.T) {
	e, links := crowd(t, 1, 1, 0)
	e.phase = running
	e.opt.Port = wokenPort{}
	for range 1000 {
		e.watched(nil)
	}
	e.watched(links)
	if n := len(e.queue); n != 1 {
		t.Errorf("%d calls into the loop", n)
	}
	e.calls()
	if _, ok := e.links.link("eth0"); !ok || e.fresh != nil {
		t.Error("the last state was not taken in")
	}
	e.watched(links)
	if n := len(e.queue); n != 1 {
		t.Errorf("%d calls into the loop afterwards", n)
	}
}

// wokenPort can be woken too.
type wokenPort struct{ silentPort }

func (wokenPort) Wake() {}
