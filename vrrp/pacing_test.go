package vrrp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// TestPacer: who may send when, with a gap of 10 ms.
func TestPacer(t *testing.T) {
	type ask struct {
		// at is in milliseconds, and so is again.
		at            int
		iface         string
		rank, packets int
		again         int // 0 is now
	}
	for name, asks := range map[string][]ask{
		"one after the other":       {{0, "a", 0, 1, 0}, {0, "a", 0, 1, 10}, {9, "a", 0, 1, 10}, {10, "a", 0, 1, 0}, {10, "a", 0, 1, 20}},
		"a pair counts twice":       {{0, "a", 0, 2, 0}, {10, "b", 0, 1, 20}, {20, "b", 0, 1, 0}},
		"a pause is not saved":      {{0, "a", 0, 1, 0}, {100, "a", 0, 1, 0}, {101, "a", 0, 1, 110}},
		"the more urgent first":     {{0, "a", 2, 1, 0}, {1, "a", 2, 1, 10}, {2, "b", 0, 1, 10}, {10, "a", 2, 1, 20}, {11, "b", 0, 1, 0}, {20, "a", 2, 1, 21}, {21, "a", 2, 1, 0}},
		"among equals who waits":    {{0, "a", 1, 1, 0}, {1, "b", 1, 1, 10}, {2, "a", 1, 1, 10}, {10, "a", 1, 1, 20}, {10, "b", 1, 1, 0}},
		"a missed turn is anyone's": {{0, "a", 1, 1, 0}, {1, "b", 0, 1, 10}, {10, "a", 1, 1, 20}, {20, "a", 1, 1, 0}},
		"more urgent meanwhile":     {{0, "a", 1, 1, 0}, {1, "b", 1, 1, 10}, {2, "a", 2, 1, 10}, {3, "a", 0, 1, 10}, {10, "b", 1, 1, 20}, {10, "a", 0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p := vrrp.NewPacer(10 * time.Millisecond)
			for _, a := range asks {
				ok, again := p.Turn(start.Add(time.Duration(a.at)*time.Millisecond), a.iface, a.rank, a.packets)
				got := "now"
				if !ok {
					got = again.Sub(start).String()
				}
				want := "now"
				if a.again != 0 {
					want = (time.Duration(a.again) * time.Millisecond).String()
				}
				if got != want {
					t.Errorf("at %d ms %s with rank %d: %s, want %s", a.at, a.iface, a.rank, got, want)
				}
			}
		})
	}
}

// TestPacerLeave: an interface that has sent everything holds nobody up.
func TestPacerLeave(t *testing.T) {
	start := time.Now()
	p := vrrp.NewPacer(10 * time.Millisecond)
	p.Turn(start, "a", 0, 1)
	p.Turn(start, "b", 0, 1)
	p.Leave("b")
	if ok, again := p.Turn(start.Add(10*time.Millisecond), "a", 1, 1); !ok {
		t.Errorf("has to wait until %s", again.Sub(start))
	}
}

// heard is an announcement with its time.
type heard struct {
	at    time.Duration
	iface string
	addrs []netip.Addr
}

func (h heard) String() string { return fmt.Sprintf("%s %s %v", h.at, h.iface, h.addrs) }

// tapped are Links that note announcements.
type tapped struct {
	*vrrptest.Links
	start time.Time

	mu    sync.Mutex // guards heard
	heard []heard
}

func (l *tapped) Announce(iface string, addrs []netip.Addr) error {
	l.mu.Lock()
	l.heard = append(l.heard, heard{time.Since(l.start), iface, slices.Clone(addrs)})
	l.mu.Unlock()
	return l.Links.Announce(iface, addrs)
}

// all is what was announced since it was last asked.
func (l *tapped) all() []heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.heard
	l.heard = nil
	return out
}

// pacedBox is a director whose announcements on eth0 and eth1 are 10 ms apart.
func pacedBox(t *testing.T, lan *vrrptest.Segment) (*box, *tapped) {
	t.Helper()
	b := newBox(t, lan, 1, nil)
	b.links.Plug("eth1", "10.1.0.1/24")
	b.links.Plug("eth2", "10.2.0.1/24")
	links := &tapped{Links: b.links, start: time.Now()}
	b.engine = vrrp.New(vrrp.Options{Port: b.port, Links: links, Boottime: func() time.Duration { return 0 }})
	if err := b.engine.Pace(context.Background(), []vrrp.Pacing{{Name: "front", Interfaces: []string{"eth0", "eth1"}, Gap: 10 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	return b, links
}

// many is a virtual router with addresses of its own, NETWORK.1 and so on, that
// becomes active at once.
func many(name, iface string, vrid uint8, network string, n int) vrrp.Config {
	c := vrrp.Config{Name: name, Interface: iface, VRID: vrid, Version: 3, Priority: 255, Interval: 100 * time.Millisecond,
		Announce: vrrp.Announcing{Count: 3, Again: -1, Refresh: -1}}
	for i := range n {
		c.Addresses = append(c.Addresses, vrrp.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("%s.%d/24", network, i+1))})
	}
	return c
}

// apart holds that the announcements on the paced interfaces have a gap behind
// each of their packets, two for IPv4.
func apart(t *testing.T, list []heard, gap time.Duration) {
	t.Helper()
	var last heard
	for _, h := range list {
		if h.iface == "eth2" {
			continue
		}
		if len(h.addrs) != 1 {
			t.Errorf("more than one address at once: %s", h)
		}
		if last.addrs != nil && h.at-last.at < 2*gap {
			t.Errorf("%s comes %s after %s", h, h.at-last.at, last)
		}
		last = h
	}
}

// TestEnginePaces: the announcements of all virtual routers on the interfaces are
// spaced, each address is announced once before any is again, addresses are there
// at once, and other interfaces are not concerned.
func TestEnginePaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		v := many("v", "eth0", 52, "192.0.3", 2)
		v.Virtual = "vrrp.52"
		elsewhere := many("e", "eth0", 53, "192.0.4", 1)
		elsewhere.Addresses[0].Interface = "eth1"
		b.run(many("a", "eth0", 51, "192.0.2", 4), v, elsewhere, many("b", "eth2", 54, "192.0.5", 4))
		time.Sleep(time.Millisecond)
		for _, a := range []string{"eth0 192.0.2.4/24", "vrrp.52 192.0.3.2/24", "eth1 192.0.4.1/24", "eth2 192.0.5.4/24"} {
			iface, prefix, _ := strings.Cut(a, " ")
			if !links.Has(iface, prefix) {
				t.Errorf("%s is not there yet", a)
			}
		}
		// The single rounds after 20 and 100 ms are part of what waits.
		time.Sleep(900 * time.Millisecond)
		list := links.all()
		apart(t, list, 10*time.Millisecond)
		var paced, free int
		seen := make(map[netip.Addr]int)
		for _, h := range list {
			if h.iface == "eth2" {
				if h.at == 0 {
					free++
				}
				continue
			}
			paced++
			seen[h.addrs[0]]++
			for a, n := range seen {
				if n > 1 && len(seen) < 7 {
					t.Errorf("%s was announced again before all were once", a)
				}
			}
		}
		if len(seen) != 7 || paced < 7*3 || paced > 7*5 || free != 3 {
			t.Errorf("%d paced announcements of %d addresses, and %d rounds elsewhere at once; want 21 to 35 of 7, and 3:\n%v", paced, len(seen), free, list)
		}
		// Nothing is wasted.
		if last := list[len(list)-1].at; last != time.Duration(paced-1)*20*time.Millisecond {
			t.Errorf("%d announcements took until %s", paced, last)
		}
		b.stop(vrrp.Hold)
	})
}

// TestEnginePacesFirst: what becomes active does not wait for the repeats of the
// others, on its own interface or another one.
func TestEnginePacesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		old := many("old", "eth0", 51, "192.0.2", 10)
		old.Announce.Count = 60
		b.run(old)
		time.Sleep(1010 * time.Millisecond)
		links.all()
		start := time.Since(links.start)
		b.configure(old, many("near", "eth0", 52, "192.0.3", 2), many("far", "eth1", 53, "192.0.4", 2))
		time.Sleep(100 * time.Millisecond)
		first := make(map[netip.Addr]bool)
		for _, h := range links.all()[:4] {
			first[h.addrs[0]] = true
		}
		for _, a := range []string{"192.0.3.1", "192.0.3.2", "192.0.4.1", "192.0.4.2"} {
			if !first[netip.MustParseAddr(a)] {
				t.Errorf("%s is not among the first four since %s: %v", a, start, first)
			}
		}
		b.stop(vrrp.Hold)
	})
}

// TestEnginePacesSilence: ARP-11 and SIM-CACHE-03, what waits for its turn when
// Active is left is not sent any more.
func TestEnginePacesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		cfg := many("web", "eth0", 51, "192.0.2", 20)
		cfg.Priority = 100
		b.run(cfg)
		time.Sleep(500 * time.Millisecond)
		if n := len(links.all()); n == 0 || n >= 20 {
			t.Fatalf("%d announcements when the better one comes, want some that wait", n)
		}
		two := newBox(t, &lan, 2, nil)
		better := cfg
		better.Priority = 200
		two.run(better)
		for b.engine.Snapshot()[0].State == vrrp.Active {
			time.Sleep(time.Millisecond)
		}
		links.all()
		time.Sleep(time.Minute)
		if list := links.all(); len(list) > 0 {
			t.Errorf("announced after Active was left: %v", list)
		}
		two.stop(vrrp.Hold)
		b.stop(vrrp.Hold)
	})
}

// TestEnginePacesMore: announcements that are asked for faster than they can be
// sent do not pile up, and everybody has a turn.
func TestEnginePacesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		one, two := many("one", "eth0", 51, "192.0.2", 10), many("two", "eth1", 52, "192.0.3", 10)
		for _, c := range []*vrrp.Config{&one, &two} {
			c.Announce = vrrp.Announcing{Count: 1, Again: -1, Refresh: 50 * time.Millisecond}
		}
		b.run(one, two)
		time.Sleep(time.Minute)
		list := links.all()
		apart(t, list, 10*time.Millisecond)
		seen := make(map[netip.Addr]int)
		for _, h := range list {
			seen[h.addrs[0]]++
		}
		// 3,000 turns for 20 addresses.
		for a, n := range seen {
			if n < 120 || n > 180 {
				t.Errorf("%s was announced %d times of %d", a, n, len(list))
			}
		}
		// What was asked for last is sent, and then there is silence.
		one.Announce.Refresh, two.Announce.Refresh = -1, -1
		b.configure(one, two)
		time.Sleep(2 * time.Second)
		links.all()
		time.Sleep(time.Minute)
		if n := len(links.all()); n > 0 {
			t.Errorf("%d announcements had piled up", n)
		}
		b.stop(vrrp.Hold)
	})
}

// TestEnginePacesErrors: an announcement that fails is made up for at the pace.
func TestEnginePacesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		b.run(many("web", "eth0", 51, "192.0.2", 10))
		time.Sleep(25 * time.Millisecond)
		b.links.Fail(errors.New("network is down"))
		time.Sleep(time.Second)
		links.all()
		b.links.Fail(nil)
		time.Sleep(10 * time.Second)
		list := links.all()
		apart(t, list, 10*time.Millisecond)
		seen := make(map[netip.Addr]int)
		for _, h := range list {
			seen[h.addrs[0]]++
		}
		if len(seen) != 10 {
			t.Errorf("made up for %d of 10: %v", len(seen), list)
		}
		if s := b.engine.Snapshot()[0]; len(s.Problems) > 0 {
			t.Errorf("still a problem: %v", s.Problems)
		}
		b.stop(vrrp.Hold)
	})
}

// TestEnginePaceChanges: a section that goes lets go what waits for it, and a bad
// list changes nothing.
func TestEnginePaceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		b, links := pacedBox(t, &lan)
		b.run(many("web", "eth0", 51, "192.0.2", 20))
		time.Sleep(100 * time.Millisecond)
		for _, bad := range [][]vrrp.Pacing{
			{{Name: "front", Interfaces: []string{"eth0"}}},
			{{Name: "one", Interfaces: []string{"eth0"}, Gap: time.Second}, {Name: "two", Interfaces: []string{"eth0"}, Gap: time.Second}},
		} {
			if err := b.engine.Pace(context.Background(), bad); err == nil {
				t.Errorf("%v was taken", bad)
			}
		}
		time.Sleep(10 * time.Millisecond)
		if n := len(links.all()); n != 6 {
			t.Errorf("%d announcements in 110 ms, want one each 20", n)
		}
		if err := b.engine.Pace(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(links.all()); n != 3 {
			t.Errorf("%d announcements at once, want what is left of the first round and two rounds", n)
		}
		b.stop(vrrp.Hold)
	})
}
