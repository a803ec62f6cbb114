package vrrp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// inside is a second virtual router, on a second segment.
func inside(p uint8) vrrp.Config {
	return vrrp.Config{Name: "inside", Interface: "eth1", VRID: 52, Version: 3, Priority: p, Interval: 100 * time.Millisecond,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("10.1.0.254/24")}}}
}

// site has both in one group.
func site() vrrp.GroupConfig {
	return vrrp.GroupConfig{Name: "site", Members: []vrrp.Key{priority(1).Key(), inside(1).Key()}}
}

// grouped configures a director with both, in a group or not.
func (b *box) grouped(p uint8, groups ...vrrp.GroupConfig) {
	b.t.Helper()
	if err := b.engine.Configure(context.Background(), []vrrp.Config{priority(p), inside(p)}, groups...); err != nil {
		b.t.Fatal(err)
	}
}

// states is the state of every router, in the order of interfaces, and its group.
func (b *box) statesNow() string {
	synctest.Wait()
	var words []string
	for _, s := range b.engine.Snapshot() {
		words = append(words, strings.TrimSpace(s.State.String()+" "+s.Group))
	}
	return strings.Join(words, ", ")
}

// TestEngineGroup has a group fail, recover, yield, and be taken apart and put
// together while it runs, and never without an address.
func TestEngineGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		for i, b := range []*box{one, two} {
			b.links.Plug("eth1", fmt.Sprintf("10.1.0.%d/24", i+1))
			b.grouped([]uint8{150, 100}[i], site())
			go func() { b.ran <- b.engine.Run(context.Background()) }()
		}
		now := func(what, first, second string) {
			t.Helper()
			// A release on a segment without the other director takes a second.
			time.Sleep(2 * time.Second)
			same(t, what, first+" | "+second, one.statesNow()+" | "+two.statesNow())
		}
		now("elected", "active site, active site", "backup site, backup site")

		one.links.SetUp("eth1", false)
		now("a member has no carrier", "fault site, fault site", "active site, active site")
		if reason := one.engine.Snapshot()[0].Reason; reason != "inside in sync group site: eth1 is down" {
			t.Errorf("reason %q", reason)
		}
		one.links.SetUp("eth1", true)
		now("and has it back", "active site, active site", "backup site, backup site")

		one.engine.Track(priority(1).Key(), vrrp.Tracked{Fault: "uplink: eth2 is down"})
		now("a member has a fault", "fault site, fault site", "active site, active site")
		one.engine.Track(priority(1).Key(), vrrp.Tracked{})
		now("and is well again", "active site, active site", "backup site, backup site")

		if err := one.engine.Yield(t.Context(), inside(1).Key(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		now("yielded", "backup site, backup site", "active site, active site")
		if err := one.engine.Unyield(t.Context(), priority(1).Key()); err != nil {
			t.Fatal(err)
		}
		now("taken back", "active site, active site", "backup site, backup site")

		one.grouped(150)
		one.links.SetUp("eth1", false)
		now("apart on one director, a member fails", "active, fault", "backup site, backup site")
		one.grouped(150, site())
		now("together again", "fault site, fault site", "active site, active site")
		one.grouped(150)
		now("and apart", "active, fault", "backup site, backup site")
		one.links.SetUp("eth1", true)
		one.grouped(150, site())
		now("well", "active site, active site", "backup site, backup site")

		one.said()
		one.stop(vrrp.Release)
		same(t, "the whole stop", strings.Join([]string{
			"active -> leaving: waiting for another director to announce", "active -> leaving: waiting for another director to announce",
			"leaving -> initialize: stopped", "leaving -> initialize: stopped",
		}, "\n"), one.said())
		if got := two.statesNow(); got != "active site, active site" {
			t.Errorf("the other is %s", got)
		}
		two.stop(vrrp.Hold)
	})
}

// TestEngineGroupRefused: a group that makes no sense changes nothing.
func TestEngineGroupRefused(t *testing.T) {
	engine := vrrp.New(vrrp.Options{Port: new(vrrptest.Segment).NewPort([6]byte{2}), Links: nil})
	web, in := priority(100).Key(), inside(100).Key()
	for name, c := range map[string]struct {
		groups []vrrp.GroupConfig
		want   string
	}{
		"one member":     {[]vrrp.GroupConfig{{Name: "g", Members: []vrrp.Key{web}}}, `sync group "g" has 1 members, want two or more`},
		"unknown member": {[]vrrp.GroupConfig{{Name: "g", Members: []vrrp.Key{web, {Interface: "eth9", Family: 4, VRID: 9}}}}, `sync group "g": eth9 IPv4 VRID 9: no such virtual router`},
		"two groups":     {[]vrrp.GroupConfig{{Name: "g", Members: []vrrp.Key{web, in}}, {Name: "h", Members: []vrrp.Key{in, web}}}, `sync groups "g" and "h" both have eth1 IPv4 VRID 52`},
	} {
		err := engine.Configure(t.Context(), []vrrp.Config{priority(100), inside(100)}, c.groups...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if got := engine.Snapshot(); len(got) != 0 {
		t.Errorf("something was configured: %v", got)
	}
	if err := engine.Yield(t.Context(), web, time.Time{}); !errors.Is(err, vrrp.ErrNoRouter) {
		t.Errorf("yield of nothing: %v", err)
	}
}

// TestEngineYieldOwner: the owner has nobody to give its addresses to (V3-BCK-11).
func TestEngineYieldOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(255))
		time.Sleep(time.Second)
		if err := one.engine.Yield(t.Context(), priority(255).Key(), time.Time{}); err == nil || !strings.Contains(err.Error(), "owns its addresses") {
			t.Errorf("yield of an owner: %v", err)
		}
		if got := one.statesNow(); got != "active" {
			t.Errorf("it is %s", got)
		}
		one.stop(vrrp.Release)
	})
}

// TestEngineJitter: in a bubble nothing is late, and every periodic advertisement
// is measured.
func TestEngineJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.run(priority(100))
		time.Sleep(10*time.Second + 400*time.Millisecond)
		synctest.Wait()
		j := one.engine.Snapshot()[0].Jitter
		if j.Count < 99 || j.Count > 101 || j.Max != 0 || j.P9999 != 0 {
			t.Errorf("%+v", j)
		}
		one.stop(vrrp.Release)
	})
}
