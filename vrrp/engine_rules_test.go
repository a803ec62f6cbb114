package vrrp_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// heardBy empties a tap: the advertisements on the segment since the last time.
func heardBy(t *testing.T, tap *vrrptest.Port) []vrrp.Packet {
	t.Helper()
	synctest.Wait()
	var out []vrrp.Packet
	for {
		packets, err := tap.Receive(nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets {
			if !p.Announcement {
				out = append(out, p)
			}
		}
		if len(packets) < vrrp.MaxBatch {
			return out
		}
	}
}

// newTap hears one family on a segment.
func newTap(t *testing.T, lan *vrrptest.Segment, family vrrp.Family) *vrrptest.Port {
	t.Helper()
	tap := lan.NewPort([6]byte{2, 9})
	if err := tap.Open("eth0", 1, family); err != nil {
		t.Fatal(err)
	}
	return tap
}

// TestEngineTransmits: V3-TX-01, V3-TX-03, V3-TX-04 and V3-PKT-09, who sends what,
// and V3-BCK-04, who has the address.
func TestEngineTransmits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		tap := newTap(t, &lan, vrrp.IPv4)
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		one.links.Plug("eth0", "10.0.0.1/24", "10.0.0.11/24")
		two.run(priority(100))
		time.Sleep(300 * time.Millisecond)
		if n := len(heardBy(t, tap)); n != 0 {
			t.Errorf("a backup sent %d advertisements", n)
		}
		one.run(priority(150))
		time.Sleep(2 * time.Second)
		heardBy(t, tap)
		changed := priority(200)
		changed.Interval = 200 * time.Millisecond
		changed.Addresses = append([]vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.200/24")}}, changed.Addresses...)
		one.configure(changed)
		time.Sleep(time.Second)
		packets := heardBy(t, tap)
		if len(packets) < 5 {
			t.Errorf("heard %d advertisements", len(packets))
		}
		for _, p := range packets {
			var adv vrrp.Advertisement
			if _, reason := adv.Decode(&p, 3, vrrp.ChecksumAuto); reason != vrrp.Accepted {
				t.Fatal(reason)
			}
			want := []netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("192.0.2.10")}
			if p.Source.String() != "10.0.0.1" || p.Destination != vrrp.GroupAddress(vrrp.IPv4) || adv.Priority != 200 ||
				adv.Interval != 200*time.Millisecond || !slices.Equal(adv.Addresses, want) {
				t.Errorf("%s to %s: %+v", p.Source, p.Destination, adv)
			}
		}
		// What a Backup does not have, its kernel does not accept.
		if two.links.Has("eth0", vip) || !one.links.Has("eth0", vip) {
			t.Error("the backup has the address, or the active has not")
		}
		one.stop(vrrp.Release)
		two.stop(vrrp.Release)
		heardBy(t, tap)
		time.Sleep(10 * time.Second)
		if n := len(heardBy(t, tap)); n != 0 {
			t.Errorf("%d advertisements after both have stopped", n)
		}
	})
}

// TestEngineSilent: V3-TX-06, without a source nothing is sent.
func TestEngineSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		tap := newTap(t, &lan, vrrp.IPv4)
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth0")
		one.run(priority(255))
		time.Sleep(time.Minute)
		if n := len(heardBy(t, tap)); n != 0 || one.engine.Snapshot()[0].State != vrrp.Fault {
			t.Errorf("%d advertisements in %s", n, one.engine.Snapshot()[0].State)
		}
		one.stop(vrrp.Release)
	})
}

// mute is a port on which nothing can be sent.
type mute struct{ *vrrptest.Port }

func (mute) Send(string, [6]byte, netip.Addr, netip.Addr, []byte) error {
	return errors.New("no buffer space available")
}

// TestEngineCannotSend: V3-TX-08, a router that cannot send does everything else
// in time, and says so once.
func TestEngineCannotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		start := time.Now()
		var notices []string
		one.engine = vrrp.New(vrrp.Options{Port: mute{one.port}, Links: one.links, Boottime: func() time.Duration { return time.Since(start) },
			OnEvent: func(n vrrp.Notice) { one.mu.Lock(); defer one.mu.Unlock(); notices = append(notices, n.Text) }})
		one.run(priority(100))
		time.Sleep(365 * time.Millisecond)
		s := one.engine.Snapshot()[0]
		if s.State != vrrp.Active || !one.links.Has("eth0", vip) || s.Counters.SendErrors != 1 {
			t.Errorf("after the down interval: %s, counters %+v", s.State, s.Counters)
		}
		time.Sleep(10 * time.Second)
		s = one.engine.Snapshot()[0]
		if s.State != vrrp.Active || s.Counters.SendErrors != 101 || s.Counters.AdvertisementsSent != 0 {
			t.Errorf("10 s later: %s, counters %+v", s.State, s.Counters)
		}
		one.mu.Lock()
		if want := "sending an advertisement on eth0: no buffer space available"; len(notices) != 1 || notices[0] != want {
			t.Errorf("told %q", notices)
		}
		one.mu.Unlock()
		one.stop(vrrp.Release)
	})
}

// TestEngineReceives: V3-RX-08, 09, 10, 15, 20, 21 and 22, and V3-CSUM-06, the tests
// that need a router, each with one counter and without any other effect.
func TestEngineReceives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth0", "10.0.0.1/24", "fe80::1/64")
		one.links.Plug("eth1", "10.1.0.1/24")
		other := priority(100)
		other.Name, other.Interface, other.VRID = "other", "eth1", 52
		other.Addresses = []vrrp.Address{{Prefix: netip.MustParsePrefix("10.1.0.10/24")}}
		one.run(priority(100), priority6(100), other)
		time.Sleep(time.Second)
		one.said()
		status := func(name string) vrrp.Status {
			snapshot := one.engine.Snapshot()
			return snapshot[slices.IndexFunc(snapshot, func(s vrrp.Status) bool { return s.Name == name })]
		}
		inject := func(iface, src string, vrid uint8, change func([]byte), addresses ...string) {
			p := vrrp.Packet{Interface: iface, Source: netip.MustParseAddr(src), TTL: 255}
			p.Destination = vrrp.GroupAddress(vrrp.IPv6)
			if p.Source.Is4() {
				p.Destination = vrrp.GroupAddress(vrrp.IPv4)
			}
			adv := vrrp.Advertisement{Version: 3, VRID: vrid, Priority: 250, Interval: 100 * time.Millisecond}
			for _, a := range addresses {
				adv.Addresses = append(adv.Addresses, netip.MustParseAddr(a))
			}
			var err error
			if p.Payload, err = adv.AppendTo(nil, p.Source, p.Destination, vrrp.ChecksumAuto); err != nil {
				t.Fatal(err)
			}
			if change != nil {
				change(p.Payload)
			}
			lan.Inject(p, nil)
			synctest.Wait()
		}
		noInterval := func(b []byte) { // 10 less in the interval, 10 more in the sum
			sum := updated(uint16(b[6])<<8|uint16(b[7]), 10, 0)
			b[5], b[6], b[7] = 0, byte(sum>>8), byte(sum)
		}
		for _, tt := range []struct {
			name        string
			iface, src  string
			vrid        uint8
			change      func([]byte)
			addresses   []string
			router      string
			count       func(vrrp.Counters) uint64
			complaining bool
		}{
			{"V3-RX-08 unknown VRID", "eth0", "10.0.0.9", 99, nil, []string{"192.0.2.10"}, "web", func(c vrrp.Counters) uint64 { return c.VRIDErrors }, false},
			{"V3-RX-22 VRID of another interface", "eth1", "10.1.0.9", 51, nil, []string{"192.0.2.10"}, "other", func(c vrrp.Counters) uint64 { return c.VRIDErrors }, false},
			{"V3-RX-09", "eth0", "fe80::9", 51, nil, []string{"2001:db8::10", "fe80::5e:33"}, "six", func(c vrrp.Counters) uint64 { return c.FirstAddressErrors }, true},
			{"V3-RX-10", "eth0", "10.0.0.9", 51, noInterval, []string{"192.0.2.10"}, "web", func(c vrrp.Counters) uint64 { return c.IntervalErrors }, true},
			{"V3-RX-10 IPv6", "eth0", "fe80::9", 51, noInterval, []string{"fe80::5e:33", "2001:db8::10"}, "six", func(c vrrp.Counters) uint64 { return c.IntervalErrors }, true},
			{"V3-RX-15", "eth0", "10.0.0.1", 51, nil, []string{"192.0.2.10"}, "web", func(c vrrp.Counters) uint64 { return c.OwnPackets }, true},
			{"V3-CSUM-06", "eth0", "10.0.0.9", 51, func(b []byte) { b[7] ^= 1 }, []string{"192.0.2.10"}, "web", func(c vrrp.Counters) uint64 { return c.ChecksumErrors }, true},
		} {
			before := status(tt.router)
			for range 3 {
				inject(tt.iface, tt.src, tt.vrid, tt.change, tt.addresses...)
			}
			after := status(tt.router)
			if got := tt.count(after.Counters) - tt.count(before.Counters); got != 3 {
				t.Errorf("%s: counted %d times", tt.name, got)
			}
			counted := slices.ContainsFunc(after.Peers, func(p vrrp.PeerStatus) bool { return !p.LastSeen.IsZero() || p.Refused == "" })
			if after.State != vrrp.Active || after.Counters.AdvertisementsReceived != 0 || counted {
				t.Errorf("%s had an effect: %+v", tt.name, after)
			}
			// V3-RX-20.
			if told := one.said(); strings.Count(told, "packet-dropped") != map[bool]int{true: 1}[tt.complaining] {
				t.Errorf("%s: told %q", tt.name, told)
			}
		}
		// Another sender is told of on its own, and the first again after a minute.
		inject("eth0", "10.0.0.8", 51, func(b []byte) { b[7] ^= 1 }, "192.0.2.10")
		inject("eth0", "10.0.0.9", 51, func(b []byte) { b[7] ^= 1 }, "192.0.2.10")
		if told := one.said(); strings.Count(told, "packet-dropped") != 1 || !strings.Contains(told, "10.0.0.8") {
			t.Errorf("told %q", told)
		}
		time.Sleep(time.Minute)
		inject("eth0", "10.0.0.9", 51, func(b []byte) { b[7] ^= 1 }, "192.0.2.10")
		if told := one.said(); strings.Count(told, "packet-dropped") != 1 || !strings.Contains(told, "10.0.0.9") {
			t.Errorf("a minute later it told %q", told)
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineOwner: V3-RX-08, V3-OWN-02 and V3-BCK-11, an owner listens to others, is
// Active whatever Preempt_Mode says, and two of them are told of.
func TestEngineOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		one.run(priority(254))
		time.Sleep(time.Second)
		owner := priority(255)
		owner.NoPreempt = true
		two.run(owner)
		time.Sleep(time.Second)
		if a, b := one.engine.Snapshot()[0], two.engine.Snapshot()[0]; a.State != vrrp.Backup || b.State != vrrp.Active {
			t.Errorf("the owner is %s, the other is %s", b.State, a.State)
		}
		two.said()
		// The other believes that it is the owner too; its address is lower.
		one.configure(priority(255))
		time.Sleep(time.Second)
		a, b := one.engine.Snapshot()[0], two.engine.Snapshot()[0]
		if a.State != vrrp.Backup || b.State != vrrp.Active || b.Counters.AdvertisementsReceived == 0 {
			t.Errorf("of two owners the lower is %s, the higher is %s and heard %d", a.State, b.State, b.Counters.AdvertisementsReceived)
		}
		if told := two.said(); !strings.Contains(told, "10.0.0.1 is active too, with priority 255 against our 255") {
			t.Errorf("told %q", told)
		}
		one.stop(vrrp.Release)
		two.stop(vrrp.Release)
	})
}

// TestEngineOwnerKeeps: what an owner advertises is the machine's own, which is not removed
// when the carrier is lost, at a reload, or at the end; what it does not advertise is.
func TestEngineOwnerKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const own, second, excluded = "10.0.0.1/24", "10.0.0.11/24", "10.1.0.1/24"
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth0", own, second)
		owner := priority(255)
		owner.Addresses = []vrrp.Address{{Prefix: netip.MustParsePrefix(own)}, {Prefix: netip.MustParsePrefix(second)}}
		owner.Excluded = []vrrp.Address{{Prefix: netip.MustParsePrefix(excluded)}}
		one.run(owner)
		is := func(when string, state vrrp.State, serves bool) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if s := one.engine.Snapshot(); len(s) > 0 && s[0].State != state {
				t.Errorf("%s it is %s: %s", when, s[0].State, s[0].Reason)
			}
			if !one.links.Has("eth0", own) || !one.links.Has("eth0", second) || one.links.Has("eth0", excluded) != serves {
				t.Errorf("%s: its own %v and %v, the other one %v", when, one.links.Has("eth0", own), one.links.Has("eth0", second), one.links.Has("eth0", excluded))
			}
		}
		is("at first", vrrp.Active, true)
		one.links.SetUp("eth0", false)
		is("without carrier", vrrp.Fault, false)
		one.links.SetUp("eth0", true)
		is("with a carrier again", vrrp.Active, true)
		less := owner
		less.Addresses = owner.Addresses[:1]
		one.configure(less)
		is("after a reload", vrrp.Active, true)
		one.configure()
		is("when the router has left the file", 0, false)
		if one.engine.Removing() {
			t.Error("something is still to be removed")
		}
		one.configure(owner)
		is("when it is back", vrrp.Active, true)
		one.stop(vrrp.Release)
		is("after the end", 0, false)
	})
}

// TestEngineAbsence: the own address may be missing for a moment. After that the others are
// told at once, from that very address, and the addresses stay until somebody has them.
func TestEngineAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		a, b := priority(150), priority(100)
		a.Interval, b.Interval = time.Second, time.Second
		one.run(a)
		two.run(b)
		time.Sleep(10 * time.Second)
		one.said()
		for _, absence := range []time.Duration{20 * time.Millisecond, 90 * time.Millisecond} {
			one.links.Take("eth0", "10.0.0.1/24")
			time.Sleep(absence)
			one.links.Give("eth0", "10.0.0.1/24")
			time.Sleep(5 * time.Second)
			if told := one.said(); told != "" {
				t.Errorf("away for %v: %s", absence, told)
			}
		}
		began := time.Now()
		one.links.Take("eth0", "10.0.0.1/24")
		var took time.Duration
		for time.Since(began) < 2*time.Second {
			if !one.links.Has("eth0", vip) && !two.links.Has("eth0", vip) {
				t.Fatalf("nobody serves after %v: %s", time.Since(began), one.said())
			}
			if took == 0 && two.engine.Snapshot()[0].State == vrrp.Active {
				took = time.Since(began)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		// 100 ms, and the Skew_Time of priority 100.
		if took == 0 || took > 720*time.Millisecond {
			t.Errorf("the other one is active after %v", took)
		}
		s := one.engine.Snapshot()[0]
		if s.State != vrrp.Fault || s.Reason != "eth0 has no IPv4 address of its own" || one.links.Has("eth0", vip) {
			t.Errorf("without an address it is %s: %s", s.State, s.Reason)
		}
		one.links.Give("eth0", "10.0.0.1/24")
		time.Sleep(5 * time.Second)
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Active {
			t.Errorf("with its address it is %s: %s", s.State, s.Reason)
		}
		one.stop(vrrp.Release)
		two.stop(vrrp.Release)
	})
}

// TestEngineHardwareAddress: hosts learn at once that an interface has another hardware
// address, as after the failover of a bond.
func TestEngineHardwareAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(255))
		time.Sleep(7 * time.Second) // all rounds are over, and the refresh is not due
		one.links.Log()
		one.links.SetMAC("eth0", [6]byte{2, 0, 0, 0, 0, 9})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if log := one.links.Log(); !strings.Contains(log, "announce") {
			t.Errorf("after another hardware address it did %q", log)
		}
		one.stop(vrrp.Hold)
	})
}

// TestEngineHardwareAddressWhileDown: most interfaces take another hardware address only
// while they are down, and one that carries no advertisements may be that while its
// addresses are served.
func TestEngineHardwareAddressWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth1", "10.1.0.1/24")
		cfg := priority(255)
		cfg.Excluded = []vrrp.Address{{Prefix: netip.MustParsePrefix("10.1.0.254/24"), Interface: "eth1"}}
		one.run(cfg)
		time.Sleep(7 * time.Second) // all rounds are over, and the refresh is not due
		one.links.SetUp("eth1", false)
		one.links.SetMAC("eth1", [6]byte{2, 0, 0, 0, 0, 9})
		time.Sleep(time.Second)
		one.links.Log()
		one.links.SetUp("eth1", true)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if log := one.links.Log(); !strings.Contains(log, "announce [10.1.0.254] dev eth1") {
			t.Errorf("when it is up with another hardware address it did %q", log)
		}
		one.stop(vrrp.Hold)
	})
}

// TestEngineRemovingAtTheEnd: what an Engine could not remove before it ended with a Hold
// is still there, and must not be forgotten.
func TestEngineRemovingAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(255), inside(100))
		one.links.Plug("eth1", "10.1.0.1/24")
		time.Sleep(5 * time.Second)
		if one.engine.Removing() {
			t.Error("something is to be removed")
		}
		one.links.Fail(errors.New("not now"))
		one.configure(priority(255))
		time.Sleep(5 * time.Second)
		if !one.engine.Removing() {
			t.Error("what cannot be removed is forgotten")
		}
		one.stop(vrrp.Hold)
		if !one.links.Has("eth1", "10.1.0.254/24") || !one.engine.Removing() {
			t.Error("what could not be removed is forgotten after the end")
		}
	})
}

// TestYieldAnnounced: that somebody announces the addresses does not end a yield as if
// nobody had taken them, though the advertisement ahead of it was lost.
func TestYieldAnnounced(t *testing.T) {
	start := time.Unix(1000, 0)
	cfg := priority(150)
	cfg.Interval = time.Second
	r := vrrp.NewRouter(cfg)
	r.Step(start, vrrp.LinkChange{Source: netip.MustParseAddr("10.0.0.1")})
	r.Step(start, vrrp.Startup{})
	now := r.Deadline()
	r.Step(now, vrrp.Tick{})
	r.Step(now, vrrp.Yield{})
	now = now.Add(10 * time.Millisecond)
	r.Step(now, vrrp.Announced{Address: cfg.Addresses[0].Prefix.Addr()})
	if r.State() != vrrp.Leaving {
		t.Fatalf("with the announcement alone it is %s: %s", r.State(), r.Reason())
	}
	now = now.Add(10 * time.Millisecond)
	r.Step(now, &vrrp.Received{Advertisement: vrrp.Advertisement{Version: 3, VRID: 51, Priority: 100, Interval: time.Second}, Source: netip.MustParseAddr("10.0.0.2"), At: now})
	r.Step(r.Deadline(), vrrp.Tick{})
	if r.State() != vrrp.Backup {
		t.Errorf("when the other one has spoken it is %s: %s", r.State(), r.Reason())
	}
}

// TestLeavingMany: a router with many addresses serves until the next Active has told hosts
// of all of them, however long that takes to install them, and what it hears of each costs
// the same.
func TestLeavingMany(t *testing.T) {
	const many = 5000
	start := time.Unix(1000, 0)
	cfg := priority(150)
	cfg.Interval = time.Second
	for i := range many {
		cfg.Excluded = append(cfg.Excluded, vrrp.Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)})
	}
	r := vrrp.NewRouter(cfg)
	r.Step(start, vrrp.LinkChange{Source: netip.MustParseAddr("10.0.0.1")})
	r.Step(start, vrrp.Startup{})
	now := r.Deadline()
	r.Step(now, vrrp.Tick{})
	if r.State() != vrrp.Active {
		t.Fatalf("it is %s", r.State())
	}
	r.Step(now, vrrp.Shutdown{})
	r.Step(now, &vrrp.Received{Advertisement: vrrp.Advertisement{Version: 3, VRID: 51, Priority: 100, Interval: time.Second}, Source: netip.MustParseAddr("10.0.0.2"), At: now})
	began := time.Now()
	for i, a := range r.Held() {
		// The next one installs for three seconds before it announces.
		at := now.Add(3*time.Second + time.Duration(i)*time.Microsecond)
		if due := r.Deadline(); due.Before(at) {
			r.Step(due, vrrp.Tick{})
		}
		if r.State() != vrrp.Leaving || !r.Serving() {
			t.Fatalf("after %d announcements it is %s: %s", i, r.State(), r.Reason())
		}
		r.Step(at, vrrp.Announced{Address: a.Prefix.Addr()})
	}
	if r.State() != vrrp.Initialize {
		t.Errorf("when all are announced it is %s", r.State())
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("%d announcements took %v", many, took)
	}
}

// TestEnginePreemptAfterShortened: a shorter delay before a takeover counts from the
// advertisement that the longer one has begun with.
func TestEnginePreemptAfterShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		two.run(priority(100))
		time.Sleep(2 * time.Second)
		patient := priority(150)
		patient.PreemptAfter = time.Hour
		one.run(patient)
		time.Sleep(10 * time.Second)
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Backup {
			t.Fatalf("it is %s: %s", s.State, s.Reason)
		}
		patient.PreemptAfter = 5 * time.Second
		one.configure(patient)
		time.Sleep(time.Second)
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Active {
			t.Errorf("with a delay that is over it is %s: %s", s.State, s.Reason)
		}
		one.stop(vrrp.Release)
		two.stop(vrrp.Release)
	})
}

// TestEngineTracksEarly: what a router depends on is known to it although it was told before
// the engine ran.
func TestEngineTracksEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.configure(priority(150))
		one.engine.Track(priority(150).Key(), vrrp.Tracked{Fault: "the uplink is down"})
		one.run(priority(150))
		time.Sleep(5 * time.Second)
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Fault || s.Reason != "the uplink is down" {
			t.Errorf("it is %s: %s", s.State, s.Reason)
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineStranger: other routers that happen to have our VRID do not take our addresses,
// and are shown; not so those that are in the file, have one of our addresses, or would
// share a MAC address with us.
func TestEngineStranger(t *testing.T) {
	other := priority(200)
	other.Addresses = []vrrp.Address{{Prefix: netip.MustParsePrefix("198.51.100.7/24")}}
	for name, tt := range map[string]struct {
		change func(own, other *vrrp.Config)
		obeyed bool
		alarm  string
	}{
		"a stranger": {func(*vrrp.Config, *vrrp.Config) {}, false, "10.0.0.2 uses our VRID 51 for [198.51.100.7], none of which is ours: other routers on this segment have this VRID, and it is not obeyed; give one of them another vrid"},
		"version 2": {func(own, other *vrrp.Config) {
			own.Version, own.Interval = 2, time.Second
			other.Version, other.Interval = 2, time.Second
		}, false, "it is not obeyed"},
		"of the file": {func(own, _ *vrrp.Config) {
			own.Peers = []vrrp.Peer{{Name: "lvs2", Address: netip.MustParseAddr("10.0.0.2"), Priority: 200}}
		}, true, ""},
		"one of ours":        {func(own, other *vrrp.Config) { other.Addresses = append(other.Addresses, own.Addresses...) }, true, ""},
		"with a MAC address": {func(own, other *vrrp.Config) { own.Virtual, other.Virtual = "vip51", "vip51" }, true, "both have one MAC address, so that only one of the two can be active"},
		"from a unicast peer": {func(own, other *vrrp.Config) {
			own.Unicast, other.Unicast = []netip.Addr{netip.MustParseAddr("10.0.0.2")}, []netip.Addr{netip.MustParseAddr("10.0.0.1")}
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lan vrrptest.Segment
				one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
				a, b := priority(100), other
				tt.change(&a, &b)
				one.run(a)
				two.run(b)
				time.Sleep(20 * time.Second)
				s := one.engine.Snapshot()[0]
				if (s.State == vrrp.Backup) != tt.obeyed {
					t.Errorf("it is %s: %s", s.State, s.Reason)
				}
				told := ""
				for _, a := range s.Alarms {
					told += a.Text
				}
				if !strings.Contains(told, tt.alarm) || (told == "") != (tt.alarm == "") {
					t.Errorf("alarms %q, want %q", told, tt.alarm)
				}
				one.stop(vrrp.Hold)
				two.stop(vrrp.Hold)
			})
		})
	}
}

// TestEngineRefused: whose advertisements are dropped is shown with the reason.
func TestEngineRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		a, b := priority(150), priority(100)
		a.Version, a.Interval, b.Version, b.Interval = 2, time.Second, 2, 2*time.Second
		a.Peers = []vrrp.Peer{{Name: "lvs2", Address: netip.MustParseAddr("10.0.0.2"), Priority: 100}}
		one.run(a)
		two.run(b)
		time.Sleep(20 * time.Second)
		peers := one.engine.Snapshot()[0].Peers
		if len(peers) != 1 || !peers[0].LastSeen.IsZero() || peers[0].Refused != "advertisement interval is not acceptable (every 2s, and every 1s here: in version 2 all need the same)" {
			t.Errorf("peers %+v", peers)
		}
		b.Interval = time.Second
		two.configure(b)
		time.Sleep(500 * time.Millisecond)
		one.stop(vrrp.Hold)
		two.stop(vrrp.Hold)
	})
}

// TestEngineAnnounces: V3-INI-03, ARP-11 and SIM-CACHE-03, nothing is announced before the address
// is there, nor after Active was left.
func TestEngineAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Fail(errors.New("not yet"))
		one.run(priority(255))
		time.Sleep(time.Second)
		if log := one.links.Log(); strings.Contains(log, "announce") {
			t.Errorf("announced without the address:\n%s", log)
		}
		one.links.Fail(nil)
		time.Sleep(time.Second)
		log := one.links.Log()
		if add, announce := strings.Index(log, "add "+vip), strings.Index(log, "announce"); add < 0 || announce < add {
			t.Errorf("announced before the address was there:\n%s", log)
		}
		// In the middle of the announcements a better one comes.
		two := newBox(t, &lan, 2, nil)
		two.run(priority(255))
		time.Sleep(200 * time.Millisecond)
		if s := one.engine.Snapshot()[0]; s.State != vrrp.Backup {
			t.Errorf("one is %s", s.State)
		}
		one.links.Log()
		time.Sleep(time.Minute)
		if log := one.links.Log(); log != "" {
			t.Errorf("a backup did:\n%s", log)
		}
		one.stop(vrrp.Release)
		two.stop(vrrp.Release)
	})
}

// TestRouterLearns: V3-TMR-01 and 02, and V3-OWN-06, the timers go by the interval of
// the Active, which is forgotten by a new start, and a higher priority waits less.
func TestRouterLearns(t *testing.T) {
	waits := func(p uint8) time.Duration {
		r := vrrp.NewRouter(with(func(c *vrrp.Config) { c.Priority = p }))
		r.Step(epoch, usable)
		r.Step(epoch, vrrp.Startup{})
		r.Step(epoch, received(0, higher, 254, 4*time.Second))
		return r.Deadline().Sub(epoch)
	}
	if got, want := waits(100), 12*time.Second+156*4*time.Second/256; got != want {
		t.Errorf("waits %s, want %s", got, want)
	}
	if low, high := waits(100), waits(101); high >= low {
		t.Errorf("priority 101 waits %s, 100 waits %s", high, low)
	}
	r := vrrp.NewRouter(base())
	r.Step(epoch, usable)
	r.Step(epoch, vrrp.Startup{})
	r.Step(epoch, received(0, higher, 254, 4*time.Second))
	r.Step(epoch, vrrp.Shutdown{})
	r.Step(epoch, vrrp.Startup{})
	if got := r.Deadline().Sub(epoch); got != elected {
		t.Errorf("waits %s after a new start, want %s", got, elected)
	}
}

// TestRouterLate: V3-TMR-09, an Active that sends later than an interval says so.
func TestRouterLate(t *testing.T) {
	r := vrrp.NewRouter(with(func(c *vrrp.Config) { c.Interval = 10 * time.Millisecond }))
	r.Step(epoch, usable)
	r.Step(epoch, vrrp.Startup{})
	at := r.Deadline()
	r.Step(at, vrrp.Tick{})
	notices := 0
	for range 5 {
		at = r.Deadline().Add(500 * time.Millisecond)
		for _, a := range r.Step(at, vrrp.Tick{}) {
			if n, ok := a.(vrrp.Notice); ok && n.Kind == vrrp.NoticeStall {
				notices++
			}
		}
	}
	if notices == 0 || r.Status().Counters.Stalls != 5 {
		t.Errorf("%d notices, %d stalls", notices, r.Status().Counters.Stalls)
	}
}
