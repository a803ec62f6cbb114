package vrrp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// secrets for tests, by id.
func authKey(id uint8) vrrp.AuthKey {
	return vrrp.AuthKey{ID: id, Secret: strings.Repeat(string('a'+rune(id)), 32)}
}

// signing is the usual virtual router with keys, of which the first signs.
func signing(p uint8, mode vrrp.AuthMode, ids ...uint8) vrrp.Config {
	c := priority(p)
	c.Auth = &vrrp.Auth{Mode: mode, Send: ids[0]}
	for _, id := range ids {
		c.Auth.Keys = append(c.Auth.Keys, authKey(id))
	}
	return c
}

// withClock has a director read another time of day than the others.
func (b *box) withClock(offset time.Duration) {
	start := time.Now()
	b.engine = vrrp.New(vrrp.Options{
		Port: b.port, Links: b.links,
		Boottime:  func() time.Duration { return time.Since(start) },
		Wallclock: func() time.Time { return time.Now().Add(offset) },
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
	})
}

// refused is the sum of everything that was dropped.
func refused(c vrrp.Counters) uint64 {
	return c.TTLErrors + c.LengthErrors + c.VersionErrors + c.TypeErrors + c.AddressListErrors + c.ChecksumErrors + c.OwnPackets +
		c.ModeErrors + c.UnknownPeers + c.AuthErrors + c.PasswordErrors + c.IntervalErrors + c.FirstAddressErrors +
		c.AuthMissing + c.AuthMalformed + c.AuthUnknownKey + c.AuthInvalid + c.AuthStale + c.AuthReplay
}

// TestEngineRotation changes keys over two running directors, in the middle of
// traffic and with both orders of reload, and moves the addresses at each step: no
// advertisement is refused and nobody is active by mistake.
func TestEngineRotation(t *testing.T) {
	for _, family := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
		for _, unicast := range []bool{false, true} {
			t.Run(fmt.Sprintf("IPv%d unicast %v", family, unicast), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { rotate(t, family, unicast) })
			})
		}
	}
}

func rotate(t *testing.T, family vrrp.Family, unicast bool) {
	var lan vrrptest.Segment
	one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
	one.links.Plug("eth0", "10.0.0.1/24", "fe80::1/64")
	two.links.Plug("eth0", "10.0.0.2/24", "fe80::2/64")
	own := map[vrrp.Family]string{vrrp.IPv4: "10.0.0.", vrrp.IPv6: "fe80::"}[family]
	make := func(p uint8, peer string, mode vrrp.AuthMode, ids ...uint8) vrrp.Config {
		c := signing(p, mode, max(ids[0], 1))
		if ids[0] == 0 {
			c.Auth = nil
		} else {
			c.Auth = signing(p, mode, ids...).Auth
		}
		if family == vrrp.IPv6 {
			c.Addresses = priority6(p).Addresses
		}
		if unicast {
			c.Unicast = []netip.Addr{netip.MustParseAddr(own + peer)}
		}
		return c
	}
	type step struct {
		mode vrrp.AuthMode
		ids  []uint8
	}
	steps := []step{
		{vrrp.AuthReceiveOnly, []uint8{1}},
		{vrrp.AuthPermissive, []uint8{1}},
		{vrrp.AuthEnforce, []uint8{1}},
		{vrrp.AuthEnforce, []uint8{1, 2}},
		{vrrp.AuthEnforce, []uint8{2, 1}},
		{vrrp.AuthEnforce, []uint8{2}},
		{vrrp.AuthPermissive, []uint8{2}},
		{vrrp.AuthReceiveOnly, []uint8{2}},
		{vrrp.AuthEnforce, []uint8{0}},
	}
	// What the caller does with its own configuration later means nothing.
	scribble := func(b *box, c vrrp.Config) {
		b.configure(c)
		if c.Auth != nil {
			c.Auth.Keys[0].Secret, c.Auth.Mode = strings.Repeat("x", 32), 9
		}
	}
	one.run(make(150, "2", 0, 0))
	two.run(make(100, "1", 0, 0))
	time.Sleep(time.Second)
	one.said()
	two.said()
	for n, s := range steps {
		high, low := uint8(150), uint8(100)
		if n%2 == 1 {
			scribble(two, make(low, "1", s.mode, s.ids...))
			time.Sleep(time.Second)
			scribble(one, make(high, "2", s.mode, s.ids...))
		} else {
			scribble(one, make(high, "2", s.mode, s.ids...))
			time.Sleep(time.Second)
			scribble(two, make(low, "1", s.mode, s.ids...))
		}
		time.Sleep(time.Second)
		same(t, fmt.Sprintf("one in step %d", n), "", one.said())
		same(t, fmt.Sprintf("two in step %d", n), "", two.said())
	}
	a, b := one.engine.Snapshot()[0], two.engine.Snapshot()[0]
	if n, m := refused(a.Counters), refused(b.Counters); n != 0 || m != 0 {
		t.Errorf("refused %d and %d: %+v", n, m, b.Counters)
	}
	if got, least := b.Counters.AdvertisementsReceived, uint64(170); got < least {
		t.Errorf("two received %d advertisements, want %d", got, least)
	}
	// And the other way round: two signs, and one believes it.
	one.configure(make(50, "2", vrrp.AuthEnforce, 2))
	two.configure(make(100, "1", vrrp.AuthEnforce, 2))
	time.Sleep(2 * time.Second)
	if a, b := one.engine.Snapshot()[0], two.engine.Snapshot()[0]; a.State != vrrp.Backup || b.State != vrrp.Active {
		t.Errorf("one is %s (%s), two is %s (%s)", a.State, a.Reason, b.State, b.Reason)
	}
	two.stop(vrrp.Release)
	one.stop(vrrp.Release)
}

// TestEngineAuthModes: KA-HMAC-07 and 08, what each mode does with each kind of
// peer: true is one active, false is two.
func TestEngineAuthModes(t *testing.T) {
	none := func(p uint8) vrrp.Config { return priority(p) }
	with := func(mode vrrp.AuthMode, ids ...uint8) func(uint8) vrrp.Config {
		return func(p uint8) vrrp.Config { return signing(p, mode, ids...) }
	}
	password := func(word string) func(uint8) vrrp.Config {
		return func(p uint8) vrrp.Config {
			c := priority(p)
			c.Version, c.Interval = 2, time.Second
			if word != "" {
				c.Auth = &vrrp.Auth{Password: word}
			}
			return c
		}
	}
	keyed2 := func(p uint8) vrrp.Config {
		c := password("")(p)
		c.Auth = signing(p, vrrp.AuthEnforce, 1).Auth
		return c
	}
	for _, tt := range []struct {
		name         string
		active, back func(uint8) vrrp.Config
		// alarm is what the backup says of the active; empty if it obeys.
		alarm string
		count func(vrrp.Counters) uint64
	}{
		{"KA-HMAC-07 enforce to enforce", with(vrrp.AuthEnforce, 1), with(vrrp.AuthEnforce, 1), "", nil},
		{"KA-HMAC-07 permissive to enforce", with(vrrp.AuthPermissive, 1), with(vrrp.AuthEnforce, 1), "", nil},
		{"KA-HMAC-07 receive-only to permissive", with(vrrp.AuthReceiveOnly, 1), with(vrrp.AuthPermissive, 1), "", nil},
		{"KA-HMAC-07 enforce to receive-only", with(vrrp.AuthEnforce, 1), with(vrrp.AuthReceiveOnly, 1), "", nil},
		{"KA-HMAC-07 receive-only to enforce", with(vrrp.AuthReceiveOnly, 1), with(vrrp.AuthEnforce, 1), "not signed", func(c vrrp.Counters) uint64 { return c.AuthMissing }},
		{"KA-HMAC-07 nothing to permissive", none, with(vrrp.AuthPermissive, 1), "", nil},
		{"KA-HMAC-07 wrong key to permissive", with(vrrp.AuthEnforce, 2), with(vrrp.AuthPermissive, 1), "key is not configured here", func(c vrrp.Counters) uint64 { return c.AuthUnknownKey }},
		{"KA-HMAC-07 wrong secret to receive-only", func(p uint8) vrrp.Config {
			c := signing(p, vrrp.AuthEnforce, 1)
			c.Auth.Keys[0].Secret = strings.Repeat("x", 64)
			return c
		}, with(vrrp.AuthReceiveOnly, 1), "signature is wrong", func(c vrrp.Counters) uint64 { return c.AuthInvalid }},
		{"KA-HMAC-08 enforce to nothing", with(vrrp.AuthEnforce, 1), none, "authentication is not of the configured type", func(c vrrp.Counters) uint64 { return c.AuthErrors }},
		{"V2-AUTH-01 same password", password("s3cret"), password("s3cret"), "", nil},
		{"V2-AUTH-01 eight octets", password("12345678"), password("12345678"), "", nil},
		{"V2-AUTH-01 wrong password", password("s3cret"), password("s3crets"), "password is not the configured one", func(c vrrp.Counters) uint64 { return c.PasswordErrors }},
		{"V2-AUTH-03 none to password", password(""), password("s3cret"), "authentication is not of the configured type", func(c vrrp.Counters) uint64 { return c.AuthErrors }},
		{"V2-AUTH-03 password to none", password("s3cret"), password(""), "authentication is not of the configured type", func(c vrrp.Counters) uint64 { return c.AuthErrors }},
		{"version 2 with keys", keyed2, keyed2, "", nil},
		{"version 2 with keys, to none", keyed2, password(""), "authentication is not of the configured type", func(c vrrp.Counters) uint64 { return c.AuthErrors }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lan vrrptest.Segment
				one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
				one.run(tt.active(150))
				two.run(tt.back(100))
				time.Sleep(10 * time.Second)
				got, told := two.engine.Snapshot()[0], two.said()
				if want := tt.alarm == ""; (got.State == vrrp.Backup) != want {
					t.Errorf("two is %s: %s", got.State, got.Reason)
				}
				if tt.alarm == "" && refused(got.Counters) != 0 {
					t.Errorf("refused some: %+v", got.Counters)
				}
				if tt.alarm != "" && (!strings.Contains(told, tt.alarm) || strings.Count(told, "packet-dropped") != 1) {
					t.Errorf("said %q, want one %q", told, tt.alarm)
				}
				if tt.count != nil && (tt.count(got.Counters) == 0 || tt.count(got.Counters) != refused(got.Counters) || got.Counters.AdvertisementsReceived != 0) {
					t.Errorf("counters %+v", got.Counters)
				}
				for _, secret := range []string{"s3cret", strings.Repeat("b", 9), "xxxxxxxxx"} {
					if all, _ := json.Marshal(two.engine.Snapshot()); strings.Contains(told+string(all), secret) {
						t.Errorf("%q is shown", secret)
					}
				}
				one.stop(vrrp.Release)
				two.stop(vrrp.Release)
			})
		})
	}
}

// TestEngineClocks: KA-HMAC-09 and SIM-CLOCK-02, the alarm at half the window and
// two actives beyond it, which are one again when the clocks agree.
func TestEngineClocks(t *testing.T) {
	for _, tt := range []struct {
		offset time.Duration // of the backup's clock
		want   vrrp.State
		says   string // empty for nothing
	}{
		{0, vrrp.Backup, ""},
		{2 * time.Second, vrrp.Backup, ""},
		{-2 * time.Second, vrrp.Backup, ""},
		{4 * time.Second, vrrp.Backup, "notice clock-offset: the clock of lvs1 (10.0.0.1) is 4s behind ours; beyond 5s"},
		{-4 * time.Second, vrrp.Backup, "notice clock-offset: the clock of lvs1 (10.0.0.1) is 4s ahead of ours; beyond 5s"},
		{7 * time.Second, vrrp.Active, "authentication failed: time is outside the window (7s behind ours, window 5s)"},
		{-7 * time.Second, vrrp.Active, "authentication failed: time is outside the window (7s ahead of ours, window 5s)"},
	} {
		t.Run(tt.offset.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lan vrrptest.Segment
				one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
				two.withClock(tt.offset)
				one.run(signing(150, vrrp.AuthEnforce, 1))
				back := signing(100, vrrp.AuthEnforce, 1)
				back.Peers = []vrrp.Peer{{Name: "lvs1", Address: netip.MustParseAddr("10.0.0.1"), Priority: 150}}
				two.run(back)
				time.Sleep(30 * time.Second)
				if got := two.engine.Snapshot()[0]; got.State != tt.want {
					t.Errorf("two is %s: %s", got.State, got.Reason)
				}
				told := two.said()
				if tt.says == "" && strings.Contains(told, "notice") || strings.Count(told, tt.says) != 1 && tt.says != "" {
					t.Errorf("said %q, want once %q", told, tt.says)
				}
				if tt.want == vrrp.Active {
					// A reload to a wider window heals it.
					back.Auth.Window = 20 * time.Second
					two.configure(back)
					time.Sleep(time.Second)
					if got := two.engine.Snapshot()[0]; got.State != vrrp.Backup {
						t.Errorf("two is still %s: %s", got.State, got.Reason)
					}
				}
				one.stop(vrrp.Release)
				two.stop(vrrp.Release)
			})
		})
	}
}

// TestEngineReplays: V3-RX-19, a recorded advertisement changes nothing, not even
// after its sender has gone, and after a restart ours are still newer.
func TestEngineReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		tap := lan.NewPort([6]byte{2, 9})
		if err := tap.Open("eth0", 1, vrrp.IPv4); err != nil {
			t.Fatal(err)
		}
		one.run(signing(150, vrrp.AuthEnforce, 1))
		two.run(signing(100, vrrp.AuthEnforce, 1))
		time.Sleep(time.Second)
		one.stop(vrrp.Hold)
		recorded, err := tap.Receive(nil, time.Now())
		if err != nil || len(recorded) < 5 {
			t.Fatal(len(recorded), err)
		}
		two.said()
		for range 5 {
			time.Sleep(50 * time.Millisecond)
			lan.Inject(recorded[len(recorded)-1], one.port)
		}
		time.Sleep(200 * time.Millisecond)
		if s := two.engine.Snapshot()[0]; s.State != vrrp.Active || s.Counters.AuthReplay != 5 {
			t.Errorf("two is %s: %s, with %+v", s.State, s.Reason, s.Counters)
		}
		again := newBox(t, &lan, 1, &vrrp.Resume{Active: true, Age: time.Second})
		again.run(signing(150, vrrp.AuthEnforce, 1))
		time.Sleep(time.Second)
		if s := two.engine.Snapshot()[0]; s.State != vrrp.Backup || s.Counters.AuthReplay != 5 {
			t.Errorf("after a restart of one, two is %s: %s, with %+v", s.State, s.Reason, s.Counters)
		}
		again.stop(vrrp.Release)
		two.stop(vrrp.Release)
	})
}

// latePort hands packets on as old as a process finds them that slept.
type latePort struct {
	*vrrptest.Port
	by time.Duration
}

func (p latePort) Receive(buf []vrrp.Packet, until time.Time) ([]vrrp.Packet, error) {
	buf, err := p.Port.Receive(buf, until)
	for i := range buf {
		buf[i].At = buf[i].At.Add(-p.by)
	}
	return buf, err
}

// TestEngineSleeper: what was queued while the process slept was in time when it
// arrived (SIM-PAUSE-02), and is no replay.
func TestEngineSleeper(t *testing.T) {
	for _, late := range []time.Duration{10 * time.Second, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var lan vrrptest.Segment
			two, tap := newBox(t, &lan, 2, nil), lan.NewPort([6]byte{2, 9})
			if err := tap.Open("eth0", 1, vrrp.IPv4); err != nil {
				t.Fatal(err)
			}
			two.run(signing(150, vrrp.AuthEnforce, 1))
			time.Sleep(time.Second)
			recorded, err := tap.Receive(nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			two.stop(vrrp.Hold)

			one := newBox(t, &lan, 1, nil)
			start := time.Now()
			one.engine = vrrp.New(vrrp.Options{Port: latePort{one.port, late}, Links: one.links, Boottime: func() time.Duration { return time.Since(start) }})
			one.run(signing(100, vrrp.AuthEnforce, 1))
			synctest.Wait()
			time.Sleep(10 * time.Second)
			sent := 0
			for _, p := range recorded {
				if !p.Announcement {
					lan.Inject(p, two.port)
					sent++
				}
			}
			synctest.Wait()
			c := one.engine.Snapshot()[0].Counters
			if accepted := int(c.AdvertisementsReceived); late == 10*time.Second && accepted != sent || late != 10*time.Second && int(c.AuthStale) != sent {
				t.Errorf("%s late: %d were sent, counters %+v", late, sent, c)
			}
			one.stop(vrrp.Hold)
		})
	}
}

// TestEngineMinTTL: V3-RX-17, how far away a unicast peer may be; the group's
// stays 255.
func TestEngineMinTTL(t *testing.T) {
	for _, tt := range []struct {
		min, ttl uint8
		want     bool
	}{
		{0, 255, true}, {0, 254, false}, {254, 254, true}, {254, 253, false}, {254, 255, true}, {1, 1, true}, {255, 254, false},
	} {
		t.Run(fmt.Sprintf("V3-RX-17 at least %d, TTL %d", tt.min, tt.ttl), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lan vrrptest.Segment
				one := newBox(t, &lan, 1, nil)
				c := priority(100)
				c.Unicast, c.MinTTL = []netip.Addr{netip.MustParseAddr("10.9.0.2")}, tt.min
				one.run(c)
				synctest.Wait()
				adv := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 200, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}
				inject := func(src, dst string) {
					p := vrrp.Packet{Interface: "eth0", Source: netip.MustParseAddr(src), Destination: netip.MustParseAddr(dst), TTL: tt.ttl}
					var err error
					if p.Payload, err = adv.AppendTo(nil, p.Source, p.Destination, vrrp.ChecksumAuto); err != nil {
						t.Fatal(err)
					}
					lan.Inject(p, nil)
					synctest.Wait()
				}
				inject("10.9.0.2", "10.0.0.1")
				got := one.engine.Snapshot()[0].Counters
				if (got.AdvertisementsReceived == 1) != tt.want || (got.TTLErrors == 1) == tt.want {
					t.Errorf("counters %+v", got)
				}
				inject("10.9.0.3", "10.0.0.1") // V3-RX-17, no peer
				inject("10.9.0.2", "224.0.0.18")
				got = one.engine.Snapshot()[0].Counters
				if tt.want && (got.UnknownPeers != 1) {
					t.Errorf("an unknown peer was not refused: %+v", got)
				}
				if tt.ttl != 255 && got.ModeErrors != 0 || tt.ttl == 255 && got.ModeErrors != 1 { // V3-RX-18
					t.Errorf("multicast: %+v", got)
				}
				if got.AdvertisementsReceived > 1 {
					t.Errorf("accepted %d", got.AdvertisementsReceived)
				}
				one.stop(vrrp.Hold)
			})
		})
	}
}

// TestEnginePeerChecksum: V3-CSUM-04 and 08, each peer is sent its own form over
// its own address, and believed in that form only.
func TestEnginePeerChecksum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		tap := lan.NewPort([6]byte{2, 9})
		if err := tap.Open("eth0", 1, vrrp.IPv4); err != nil {
			t.Fatal(err)
		}
		plain, pseudo := netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9")
		c := priority(100)
		c.Unicast = []netip.Addr{plain, pseudo}
		c.Checksum, c.PeerChecksum = vrrp.ChecksumPseudo, map[netip.Addr]vrrp.Checksum{plain: vrrp.ChecksumRFC9568}
		one.run(c)
		time.Sleep(time.Second)
		packets, err := tap.Receive(nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		heard := make(map[netip.Addr]int)
		for _, p := range packets {
			if p.Announcement {
				continue
			}
			want := vrrp.FormPseudo
			if p.Destination == plain {
				want = vrrp.FormPlain
			}
			var adv vrrp.Advertisement
			if form, reason := adv.Decode(&p, 3, vrrp.ChecksumAuto); form != want || reason != vrrp.Accepted {
				t.Errorf("to %s: form %d, %s", p.Destination, form, reason)
			}
			heard[p.Destination]++
		}
		if heard[plain] < 5 || heard[plain] != heard[pseudo] {
			t.Errorf("heard %v", heard)
		}
		adv := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 50, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}
		for _, from := range []netip.Addr{plain, pseudo} {
			for _, form := range []vrrp.Checksum{vrrp.ChecksumRFC9568, vrrp.ChecksumPseudo} {
				b, err := adv.AppendTo(nil, from, netip.MustParseAddr("10.0.0.1"), form)
				if err != nil {
					t.Fatal(err)
				}
				before := one.engine.Snapshot()[0].Counters
				lan.Inject(vrrp.Packet{Interface: "eth0", Source: from, Destination: netip.MustParseAddr("10.0.0.1"), TTL: 255, Payload: b}, tap)
				synctest.Wait()
				after := one.engine.Snapshot()[0].Counters
				fits := (from == plain) == (form == vrrp.ChecksumRFC9568)
				if got := after.AdvertisementsReceived > before.AdvertisementsReceived; got != fits || (after.ChecksumErrors > before.ChecksumErrors) == fits {
					t.Errorf("from %s in form %d: accepted %v", from, form, got)
				}
			}
		}
		one.stop(vrrp.Hold)
	})
}

// TestAuthValidate has what a configuration may not say (KA-HMAC-06 and 10).
func TestAuthValidate(t *testing.T) {
	for want, change := range map[string]func(*vrrp.Config){
		"authentication has neither a password nor keys": func(c *vrrp.Config) { c.Auth = &vrrp.Auth{} },
		"authentication has both a password and keys":    func(c *vrrp.Config) { c.Version, c.Interval, c.Auth.Password = 2, time.Second, "x" },
		"a password is for version 2 only":               func(c *vrrp.Config) { c.Auth = &vrrp.Auth{Password: "x"} },
		"password of 9 octets is longer than 8": func(c *vrrp.Config) {
			c.Version, c.Interval, c.Auth = 2, time.Second, &vrrp.Auth{Password: "123456789"}
		},
		"password ends in a zero octet, which is how it is padded":    func(c *vrrp.Config) { c.Version, c.Interval, c.Auth = 2, time.Second, &vrrp.Auth{Password: "1\x00"} },
		"key id 0 is outside 1 to 255":                                func(c *vrrp.Config) { c.Auth.Keys[0].ID, c.Auth.Send = 0, 0 },
		"key id 1 is there twice":                                     func(c *vrrp.Config) { c.Auth.Keys = append(c.Auth.Keys, authKey(1)) },
		"key 1 of 31 octets is outside 32 to 64":                      func(c *vrrp.Config) { c.Auth.Keys[0].Secret = strings.Repeat("x", 31) },
		"key 1 of 65 octets is outside 32 to 64":                      func(c *vrrp.Config) { c.Auth.Keys[0].Secret = strings.Repeat("x", 65) },
		"key 2, which is to sign, is not there":                       func(c *vrrp.Config) { c.Auth.Send = 2 },
		"authentication mode 3 is unknown":                            func(c *vrrp.Config) { c.Auth.Mode = 3 },
		"window 500ms is not a whole number of seconds from 1s to 5m": func(c *vrrp.Config) { c.Auth.Window = 500 * time.Millisecond },
		"unicast peer 224.0.0.18 is not the address of one machine":   func(c *vrrp.Config) { c.Unicast = []netip.Addr{netip.MustParseAddr("224.0.0.18")} },
		"unicast peer 10.0.0.2 is there twice": func(c *vrrp.Config) {
			c.Unicast = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.2")}
		},
		"unicast peer 10.0.0.2 is the address to send from": func(c *vrrp.Config) {
			c.Unicast = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
			c.Source = c.Unicast[0]
		},
		"minimum TTL 254 without unicast peers": func(c *vrrp.Config) { c.MinTTL = 254 },
		"checksum for 10.0.0.2, which is no unicast peer": func(c *vrrp.Config) {
			c.PeerChecksum = map[netip.Addr]vrrp.Checksum{netip.MustParseAddr("10.0.0.2"): vrrp.ChecksumAuto}
		},
	} {
		c := signing(100, vrrp.AuthEnforce, 1)
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if got := fmt.Sprint(c.Validate()); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestSecretsAreNotShown: V2-AUTH-04, in no way of printing a configuration.
func TestSecretsAreNotShown(t *testing.T) {
	c := signing(100, vrrp.AuthEnforce, 1, 2)
	c.Auth.Password = "s3cret"
	two := signing(100, vrrp.AuthEnforce, 1, 2)
	for _, c := range []vrrp.Config{c, two} {
		inJSON, err := json.Marshal(struct {
			Auth *vrrp.Auth
			Keys []vrrp.AuthKey
		}{c.Auth, c.Auth.Keys})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			fmt.Sprint(c.Auth), fmt.Sprintf("%v %+v %#v %s", *c.Auth, *c.Auth, *c.Auth, *c.Auth), fmt.Sprintf("%+v %#v", c, c),
			fmt.Sprintf("%v %+v %#v %s", c.Auth.Keys, c.Auth.Keys, c.Auth.Keys, c.Auth.Keys), string(inJSON),
			vrrp.Reconfigure{Config: c}.String(),
		} {
			if strings.Contains(text, "s3cret") || strings.Contains(text, "bbbb") || strings.Contains(text, "cccc") {
				t.Errorf("shown: %s", text)
			}
		}
	}
	if got := two.Auth.String(); got != "enforce, key 1, key 2, sends with 1" {
		t.Errorf("got %q", got)
	}
}
