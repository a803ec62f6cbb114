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

	"github.com/google/go-cmp/cmp"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

const vip = "192.0.2.10/24"

// box is a director inside a bubble.
type box struct {
	t      *testing.T
	port   *vrrptest.Port
	links  *vrrptest.Links
	engine *vrrp.Engine
	ran    chan error

	mu     sync.Mutex
	states []string
	beats  int
}

// newBox makes a director with an eth0; run starts it.
func newBox(t *testing.T, segment *vrrptest.Segment, id byte, resume *vrrp.Resume) *box {
	b := &box{t: t, port: segment.NewPort([6]byte{2, 0, 0, 0, 0, id}), ran: make(chan error, 1)}
	b.links = vrrptest.NewLinks(b.port)
	b.links.Plug("eth0", "10.0.0."+string('0'+rune(id))+"/24")
	start := time.Now()
	b.engine = vrrp.New(vrrp.Options{
		Port: b.port, Links: b.links,
		Boottime:  func() time.Duration { return time.Since(start) },
		Heartbeat: func(vrrp.Key, time.Duration) { b.mu.Lock(); defer b.mu.Unlock(); b.beats++ },
		OnTransition: func(t vrrp.Transition) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = append(b.states, t.String())
		},
		OnEvent: func(n vrrp.Notice) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = append(b.states, n.String())
		},
		Resume: func(vrrp.Key) (vrrp.Resume, bool) {
			if resume == nil {
				return vrrp.Resume{}, false
			}
			return *resume, true
		},
	})
	return b
}

func (b *box) run(configs ...vrrp.Config) {
	b.configure(configs...)
	go func() { b.ran <- b.engine.Run(context.Background()) }()
}

func (b *box) configure(configs ...vrrp.Config) {
	b.t.Helper()
	if err := b.engine.Configure(context.Background(), configs); err != nil {
		b.t.Fatal(err)
	}
}

// stop ends the director and returns how long it took.
func (b *box) stop(mode vrrp.StopMode) time.Duration {
	b.t.Helper()
	start := time.Now()
	if err := b.engine.Stop(context.Background(), mode); err != nil {
		b.t.Error(err)
	}
	if err := <-b.ran; err != nil {
		b.t.Error(err)
	}
	return time.Since(start)
}

// said is what happened since it was last asked.
func (b *box) said() string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := strings.Join(b.states, "\n")
	b.states = nil
	return out
}

// priority is the usual virtual router with a priority.
func priority(p uint8) vrrp.Config {
	return vrrp.Config{Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: p, Interval: 100 * time.Millisecond,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix(vip)}}}
}

func same(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestEngineActsBeforeItTells: the addresses do not wait for those who are told
// of the takeover.
func TestEngineActsBeforeItTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		port := lan.NewPort([6]byte{2, 0, 0, 0, 0, 1})
		links := vrrptest.NewLinks(port)
		links.Plug("eth0", "10.0.0.1/24")
		start := time.Now()
		engine := vrrp.New(vrrp.Options{
			Port: port, Links: links, Boottime: func() time.Duration { return time.Since(start) },
			OnTransition: func(tr vrrp.Transition) {
				if tr.To == vrrp.Active {
					time.Sleep(time.Minute)
				}
			},
		})
		if err := engine.Configure(context.Background(), []vrrp.Config{priority(100)}); err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- engine.Run(context.Background()) }()
		time.Sleep(400 * time.Millisecond)
		if !links.Has("eth0", vip) {
			t.Error("the address waits for a listener")
		}
		if err := engine.Stop(context.Background(), vrrp.Release); err != nil {
			t.Error(err)
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

func TestEngineHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		one.run(priority(150))
		two.run(priority(100))
		time.Sleep(time.Second)
		same(t, "one", "initialize -> backup: listening, no advertisement heard yet\nbackup -> active: no advertisement for 341ms", one.said())
		same(t, "two", "initialize -> backup: listening, no advertisement heard yet", two.said())
		if s := two.engine.Snapshot()[0]; s.Reason != "10.0.0.1 advertises 150" {
			t.Errorf("two is backup because %q", s.Reason)
		}
		if one.beats != 7 {
			t.Errorf("%d heartbeats, want 7", one.beats)
		}
		one.links.Log()

		// The address stays until the other has announced it.
		took := one.stop(vrrp.Release)
		if took < 60*time.Millisecond || took > 62*time.Millisecond {
			t.Errorf("release took %s, want the skew of the other", took)
		}
		same(t, "one", "active -> leaving: waiting for another director to announce\nleaving -> initialize: stopped", one.said())
		same(t, "one's kernel", "remove 192.0.2.10/24 dev eth0", one.links.Log())
		same(t, "two", "backup -> active: 10.0.0.1 released the addresses", two.said())
		if !two.links.Has("eth0", vip) {
			t.Error("two is without the address")
		}

		// Hold touches nothing.
		two.links.Log()
		two.stop(vrrp.Hold)
		same(t, "two's kernel", "", two.links.Log())
		if err := two.engine.Configure(context.Background(), nil); !errors.Is(err, vrrp.ErrStopped) {
			t.Errorf("configured after the end: %v", err)
		}
		if got := two.engine.Snapshot()[0].State; got != vrrp.Active {
			t.Errorf("the last snapshot says %s", got)
		}
	})
}

func TestEngineResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, &vrrp.Resume{Active: true, Age: 200 * time.Millisecond})
		one.run(priority(100))
		same(t, "one", "initialize -> active: resumed, last advertised 200ms ago", one.said())
		one.stop(vrrp.Release)
	})
}

// TestEngineMoves keeps an address installed while it moves to another virtual
// router, or is renamed with it, and takes a removed one away.
func TestEngineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(10 * time.Second)
		one.said()
		one.links.Log()
		renamed := priority(100)
		renamed.Name = "www"
		one.configure(renamed)
		same(t, "renamed", "", one.said())
		moved := priority(100)
		moved.VRID = 52
		one.configure(moved)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		if got := one.links.Log(); strings.Contains(got, "add") || strings.Contains(got, "remove") {
			t.Errorf("the address was touched:\n%s", got)
		}
		one.said()
		one.configure()
		time.Sleep(3 * time.Second)
		if one.links.Has("eth0", vip) || len(one.engine.Snapshot()) != 0 {
			t.Error("a router that is not configured is still there")
		}
		one.stop(vrrp.Release)
	})
}

func TestEngineLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Unplug("eth0")
		one.run(priority(100))
		same(t, "no interface", "initialize -> fault: interface eth0 does not exist (waiting for it)", one.said())
		one.links.Plug("eth0")
		same(t, "no address", "", one.said())
		if got := one.engine.Snapshot()[0].Reason; got != "eth0 has no IPv4 address of its own" {
			t.Errorf("fault because %q", got)
		}
		one.port.FailOpen(errors.New("opening VRRP socket on eth0: operation not permitted (needs CAP_NET_RAW)"))
		one.links.Plug("eth0", "10.0.0.1/24")
		synctest.Wait()
		if got := one.engine.Snapshot()[0].Reason; !strings.Contains(got, "needs CAP_NET_RAW") {
			t.Errorf("fault because %q", got)
		}
		one.port.FailOpen(nil)
		time.Sleep(time.Second)
		same(t, "all is well", "fault -> backup: listening, no advertisement heard yet\nbackup -> active: no advertisement for 361ms", one.said())
		one.links.Take("eth0", vip)
		same(t, "taken", "notice address-restored: 192.0.2.10/24 dev eth0 was removed by somebody, put back", one.said())
		one.links.Plug("eth0", "10.0.0.1/24")
		same(t, "replaced", "active -> fault: eth0 was replaced\nfault -> backup: listening, no advertisement heard yet", one.said())
		time.Sleep(time.Second)
		one.links.SetUp("eth0", false)
		same(t, "down", "backup -> active: no advertisement for 361ms\nactive -> fault: eth0 is down", one.said())
		if one.links.Has("eth0", vip) {
			t.Error("the address is still there")
		}
		one.stop(vrrp.Release)
	})
}

func TestEngineRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(300 * time.Millisecond)
		one.said()
		one.links.Fail(errors.New("operation not permitted (needs CAP_NET_ADMIN)"))
		time.Sleep(500 * time.Millisecond)
		same(t, "failing", "backup -> active: no advertisement for 361ms\nnotice operation: adding 192.0.2.10/24 to eth0: operation not permitted (needs CAP_NET_ADMIN)", one.said())
		if got := one.engine.Snapshot()[0].Problems; len(got) != 1 {
			t.Errorf("problems: %q", got)
		}
		one.links.Fail(nil)
		time.Sleep(500 * time.Millisecond)
		same(t, "works again", "notice operation: address 192.0.2.10/24 dev eth0 works again", one.said())
		if !one.links.Has("eth0", vip) || !strings.Contains(one.links.Log(), "announce") {
			t.Error("the address was not installed and announced")
		}

		// Not for ever: an Active without any address gives up.
		one.links.Take("eth0", vip)
		one.links.Fail(errors.New("out of memory"))
		one.configure(priority(110)) // anything that makes it look
		time.Sleep(5 * time.Second)
		if got := one.said(); !strings.Contains(got, "active -> fault: ") {
			t.Errorf("it said %q", got)
		}
		// What cannot be removed is not forgotten by a stop.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := one.engine.Stop(ctx, vrrp.Release); err == nil {
			t.Error("stop claims that the address is gone")
		}
		if err := <-one.ran; err != nil {
			t.Error(err)
		}
	})
}

// TestEngineDrops counts packets by reason, and lets none change the state.
func TestEngineDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(time.Second)
		one.said()
		good := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 255, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}
		src := netip.MustParseAddr("10.0.0.9")
		inject := func(adv vrrp.Advertisement, src netip.Addr, change func(*vrrp.Packet)) {
			b, err := adv.AppendTo(nil, src, vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto)
			if err != nil {
				t.Fatal(err)
			}
			p := vrrp.Packet{Interface: "eth0", Source: src, Destination: vrrp.GroupAddress(vrrp.IPv4), TTL: 255, Payload: b}
			change(&p)
			lan.Inject(p, nil)
			synctest.Wait()
		}
		inject(good, src, func(p *vrrp.Packet) { p.TTL = 254 })
		inject(good, src, func(p *vrrp.Packet) { p.Payload = p.Payload[:9] })
		inject(good, src, func(p *vrrp.Packet) { p.Payload[6] ^= 1 })
		inject(good, netip.MustParseAddr("10.0.0.1"), func(*vrrp.Packet) {})
		foreign := good
		foreign.VRID = 99
		inject(foreign, src, func(*vrrp.Packet) {})
		inject(good, src, func(p *vrrp.Packet) { p.Payload = nil })
		inject(good, src, func(p *vrrp.Packet) { // as unicast, with the sum to match
			p.Destination = netip.MustParseAddr("10.0.0.1")
			p.Payload, _ = good.AppendTo(nil, src, p.Destination, vrrp.ChecksumAuto)
		})
		zero := good
		inject(zero, src, func(p *vrrp.Packet) { // V3-RX-10
			p.Payload, _ = good.AppendTo(nil, src, p.Destination, vrrp.ChecksumRFC9568)
			sum := updated(uint16(p.Payload[6])<<8|uint16(p.Payload[7]), 10, 0)
			p.Payload[5], p.Payload[6], p.Payload[7] = 0, byte(sum>>8), byte(sum)
		})
		var told strings.Builder
		for _, reason := range []string{
			"10.0.0.9 on eth0 for VRID 51: ttl is not 255",
			"10.0.0.9 on eth0 for VRID 51: length does not fit the address count",
			"10.0.0.9 on eth0 for VRID 51: checksum is wrong",
			"10.0.0.1 on eth0 for VRID 51: own packet came back",
			"10.0.0.9 on eth0 for VRID 0: length does not fit the address count",
			"10.0.0.9 on eth0 for VRID 51: multicast to a unicast virtual router or the reverse",
			"10.0.0.9 on eth0 for VRID 51: advertisement interval is not acceptable",
		} {
			fmt.Fprintf(&told, "notice packet-dropped: dropped a packet from %s\n", reason)
		}
		same(t, "notices and no transition", strings.TrimSpace(told.String()), one.said())
		got := one.engine.Snapshot()[0].Counters
		want := vrrp.Counters{TTLErrors: 1, LengthErrors: 1, ChecksumErrors: 1, OwnPackets: 1, VRIDErrors: 1, ModeErrors: 1, IntervalErrors: 1,
			AdvertisementsSent: got.AdvertisementsSent, BecameActive: 1, Announcements: got.Announcements}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineUnicast has two directors talk to each other alone (V3-RX-17, 18).
func TestEngineUnicast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		a, b := priority(150), priority(100)
		a.Unicast, b.Unicast = []netip.Addr{netip.MustParseAddr("10.0.0.2")}, []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		one.run(a)
		two.run(b)
		time.Sleep(time.Second)
		if got := two.engine.Snapshot()[0]; got.State != vrrp.Backup || got.Counters.AdvertisementsReceived == 0 {
			t.Errorf("two is %s: %s", got.State, got.Reason)
		}
		two.stop(vrrp.Release)
		one.stop(vrrp.Release)
	})
}

func TestEngineRefuses(t *testing.T) {
	e := vrrp.New(vrrp.Options{})
	twice := []vrrp.Config{priority(1), priority(2)}
	if err := e.Configure(context.Background(), twice); err == nil || !strings.Contains(err.Error(), "eth0 IPv4 VRID 51") {
		t.Errorf("two of one key: %v", err)
	}
	if err := e.Configure(context.Background(), []vrrp.Config{{Name: "x"}}); err == nil {
		t.Error("an empty router was accepted")
	}
}

// priority6 is the virtual router of the other family under the same VRID.
func priority6(p uint8) vrrp.Config {
	c := priority(p)
	c.Name = "six"
	c.Addresses = []vrrp.Address{{Prefix: netip.MustParsePrefix("fe80::5e:33/128")}, {Prefix: netip.MustParsePrefix("2001:db8::10/64")}}
	return c
}

// TestEngineV3_PKT_14 has an IPv4 and an IPv6 router under one VRID, each with
// another director active; the one that stops makes before it breaks.
func TestEngineV3_PKT_14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		one.links.Plug("eth0", "10.0.0.1/24", "2001:db8::1/64", "fe80::1/64")
		two.links.Plug("eth0", "10.0.0.2/24", "2001:db8::2/64", "fe80::2/64")
		one.run(priority(150), priority6(100))
		two.run(priority(100), priority6(150))
		time.Sleep(time.Second)
		four, six := one.engine.Snapshot()[0], one.engine.Snapshot()[1]
		if four.State != vrrp.Active || four.Source.String() != "10.0.0.1" || six.State != vrrp.Backup || six.Reason != "fe80::2 advertises 150" {
			t.Errorf("one: %+v, %+v", four, six)
		}
		if four.Counters.AdvertisementsReceived != 0 || six.Counters.AdvertisementsSent != 0 {
			t.Errorf("the families share counters: %+v, %+v", four.Counters, six.Counters)
		}
		one.said()
		two.said()
		two.links.Log()
		if took := two.stop(vrrp.Release); took > 100*time.Millisecond {
			t.Errorf("the stop took %s", took)
		}
		same(t, "one", "backup -> active: fe80::2 released the addresses", one.said())
		same(t, "two", "active -> leaving: waiting for another director to announce\nbackup -> initialize: stopped\nleaving -> initialize: stopped", sortedLines(two.said()))
		same(t, "two's kernel", "remove fe80::5e:33/128 dev eth0\nremove 2001:db8::10/64 dev eth0", two.links.Log())
		one.stop(vrrp.Hold)
	})
}

func sortedLines(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestEngineSourceIPv6: where an IPv6 router sends from (V3-TX, RFC 9568 section
// 5.1.2.1), and what it waits for.
func TestEngineSourceIPv6(t *testing.T) {
	unicast := func(source string, peers ...string) vrrp.Config {
		c := priority6(150)
		for _, p := range peers {
			c.Unicast = append(c.Unicast, netip.MustParseAddr(p))
		}
		if source != "" {
			c.Source = netip.MustParseAddr(source)
		}
		return c
	}
	missing := "eth0 has no usable IPv6 link-local address of its own"
	for _, tt := range []struct {
		name string
		cfg  vrrp.Config
		have []string
		want string // the source, or the problem
	}{
		{"first link-local", priority6(150), []string{"10.0.0.1/24", "2001:db8::1/64", "fe80::1/64", "fe80::2/64"}, "fe80::1"},
		{"not the virtual one", priority6(150), []string{"fe80::5e:33/128", "fe80::2/64"}, "fe80::2"},
		{"only the virtual one", priority6(150), []string{"fe80::5e:33/128"}, missing},
		{"the owner's", priority6(255), []string{"fe80::5e:33/128"}, "fe80::5e:33"},
		{"none", priority6(150), []string{"10.0.0.1/24", "2001:db8::1/64"}, missing},
		{"unicast, preferred", unicast("2001:db8::2", "2001:db8::9"), []string{"fe80::1/64", "2001:db8::1/64", "2001:db8::2/64"}, "2001:db8::2"},
		{"unicast, the file's is missing", unicast("2001:db8::2", "2001:db8::9"), []string{"fe80::1/64", "2001:db8::1/64"}, "no interface has 2001:db8::2, from which the unicast peers expect advertisements (waiting for it)"},
		{"unicast, the file's is elsewhere", unicast("2001:db8::2", "2001:db8::9"), []string{"fe80::1/64", "2001:db8::1/64", "eth1 2001:db8::2/64"}, "2001:db8::2"},
		{"unicast, by the peer", unicast("", "2001:db8::9"), []string{"fe80::1/64", "2001:db8::1/64"}, "2001:db8::1"},
		{"unicast, link-local", unicast("", "fe80::9"), []string{"2001:db8::1/64", "fe80::1/64"}, "fe80::1"},
		{"unicast, none", unicast("", "2001:db8::9"), []string{"fe80::1/64"}, "eth0 has no usable IPv6 address of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lan vrrptest.Segment
				b := newBox(t, &lan, 1, nil)
				on := make(map[string][]string)
				for _, h := range tt.have {
					iface, a, elsewhere := strings.Cut(h, " ")
					if !elsewhere {
						iface, a = "eth0", h
					}
					on[iface] = append(on[iface], a)
				}
				for iface, have := range on {
					b.links.Plug(iface, have...)
				}
				b.run(tt.cfg)
				synctest.Wait()
				s := b.engine.Snapshot()[0]
				got := s.Source.String()
				if s.State == vrrp.Fault {
					got = s.Reason
				}
				same(t, "source", tt.want, got)
				b.stop(vrrp.Hold)
			})
		})
	}
}
