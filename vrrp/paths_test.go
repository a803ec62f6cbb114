package vrrp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

// full is a virtual router with one of each.
func full(p uint8) vrrp.Config {
	c := priority(p)
	c.Addresses = append(c.Addresses, vrrp.Address{Prefix: netip.MustParsePrefix("10.1.0.254/24"), Interface: "eth1"})
	c.Addresses[0].Label = "eth0:1"
	c.Excluded = []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.11/24"), Scope: vrrp.ScopeLink}}
	c.Routes = []vrrp.Route{
		{Destination: netip.MustParsePrefix("10.2.0.0/16"), Via: netip.MustParseAddr("192.0.2.1"), Source: netip.MustParseAddr("192.0.2.10")},
		{Destination: netip.MustParsePrefix("10.3.0.0/16"), Interface: "eth1", Source: netip.MustParseAddr("10.1.0.254")},
	}
	c.Rules = []vrrp.Rule{{Family: vrrp.IPv4, From: netip.MustParsePrefix("192.0.2.10/32"), Table: 100, Priority: 1000}}
	c.Virtual, c.NoAccept = "vrrp.51", true
	return c
}

const fullState = `interface vrrp.51 on eth0, 00005e000133
address 10.1.0.254/24 dev eth1, refused
address 192.0.2.10/24 dev vrrp.51 label eth0:1, refused
address 192.0.2.11/24 dev vrrp.51 scope link, refused
route 10.3.0.0/16 dev eth1 src 10.1.0.254
route 10.2.0.0/16 via 192.0.2.1 src 192.0.2.10
rule from 192.0.2.10/32 table 100 priority 1000`

// ours is the state without what the interfaces had before.
func ours(b *box) string {
	synctest.Wait()
	var lines []string
	for line := range strings.Lines(b.links.State()) {
		if !strings.Contains(line, "address 10.0.0.") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return strings.Join(lines, "\n")
}

// TestEnginePaths has everything come and go with the role, in order: what needs
// others comes after and goes before them (KA-VIP-02).
func TestEnginePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one, two := newBox(t, &lan, 1, nil), newBox(t, &lan, 2, nil)
		for _, b := range []*box{one, two} {
			b.links.Plug("eth1")
		}
		one.run(full(150))
		two.run(full(100))
		time.Sleep(time.Second)
		same(t, "active", sortedLines(fullState), sortedLines(ours(one)))
		same(t, "backup", "", ours(two))
		log := one.links.Log()
		for _, order := range [][2]string{
			{"make vrrp.51", "refuse 192.0.2.10"}, {"refuse 192.0.2.10", "add 192.0.2.10"}, {"refuse 10.1.0.254", "add 10.1.0.254"},
			{"add 192.0.2.10", "add route 10.2"}, {"add 192.0.2.11", "add route 10.2"}, {"add 10.1.0.254", "add route 10.3"}, {"add route 10.2", "announce [192.0.2.10"},
		} {
			if first, second := strings.Index(log, order[0]), strings.Index(log, order[1]); first < 0 || second < first {
				t.Errorf("%s is not before %s:\n%s", order[0], order[1], log)
			}
		}

		// Somebody takes things away, twice within a second.
		one.said()
		for range 2 {
			one.links.TakeRoutes()
			one.links.TakeRules()
			synctest.Wait()
		}
		if got := ours(one); got == fullState {
			t.Error("put back in a race")
		}
		time.Sleep(time.Second)
		same(t, "put back", sortedLines(fullState), sortedLines(ours(one)))
		if got := strings.Count(one.said(), "put back"); got != 6 {
			t.Errorf("%d notices that something was put back, want 6", got)
		}
		one.links.Unplug("vrrp.51")
		time.Sleep(2 * time.Second)
		same(t, "made again", sortedLines(fullState), sortedLines(ours(one)))

		one.links.Log()
		one.stop(vrrp.Release)
		same(t, "left", "", ours(one))
		log = one.links.Log()
		for _, order := range [][2]string{
			{"remove rule", "remove route 10.2"}, {"remove route 10.2", "remove 192.0.2.10"}, {"remove 192.0.2.10", "permit 192.0.2.10"}, {"permit 192.0.2.10", "unmake vrrp.51"},
		} {
			if first, second := strings.Index(log, order[0]), strings.Index(log, order[1]); first < 0 || second < first {
				t.Errorf("%s is not before %s:\n%s", order[0], order[1], log)
			}
		}
		same(t, "successor", sortedLines(fullState), sortedLines(ours(two)))
		two.stop(vrrp.Release)
		same(t, "left", "", ours(two))
	})
}

// TestEnginePathsReload changes everything under an Active.
func TestEnginePathsReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth1")
		one.run(full(150))
		time.Sleep(time.Second)
		step := func(what, want string, change func(*vrrp.Config)) {
			t.Helper()
			c := full(150)
			change(&c)
			one.configure(c)
			time.Sleep(100 * time.Millisecond)
			same(t, what, sortedLines(want), sortedLines(ours(one)))
			one.configure(full(150))
			time.Sleep(100 * time.Millisecond)
			same(t, what+" and back", sortedLines(fullState), sortedLines(ours(one)))
		}
		step("another label", strings.Replace(fullState, "eth0:1", "eth0:2", 1), func(c *vrrp.Config) { c.Addresses[0].Label = "eth0:2" })
		step("accept", strings.ReplaceAll(fullState, ", refused", ""), func(c *vrrp.Config) { c.NoAccept = false })
		step("owner", strings.ReplaceAll(fullState, ", refused", ""), func(c *vrrp.Config) { c.Priority = 255 })
		step("another name", strings.ReplaceAll(fullState, "vrrp.51", "vip"), func(c *vrrp.Config) { c.Virtual = "vip" })
		step("no virtual interface", strings.Join(strings.Split(strings.ReplaceAll(fullState, "vrrp.51", "eth0"), "\n")[1:], "\n"), func(c *vrrp.Config) { c.Virtual = "" })
		step("another route", strings.ReplaceAll(fullState, "via 192.0.2.1", "via 192.0.2.2"), func(c *vrrp.Config) { c.Routes[0].Via = netip.MustParseAddr("192.0.2.2") })
		step("no paths", strings.Join(strings.Split(fullState, "\n")[:4], "\n"), func(c *vrrp.Config) { c.Routes, c.Rules = nil, nil })
		one.stop(vrrp.Release)
		same(t, "left", "", ours(one))
	})
}

// TestEnginePathsFail shows in the status what cannot be had, and does not stop
// at it.
func TestEnginePathsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth1")
		c := full(150)
		c.Routes[0].Source = netip.MustParseAddr("192.0.2.99")
		one.run(c)
		time.Sleep(5 * time.Second)
		s := one.engine.Snapshot()[0]
		if s.State != vrrp.Active || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "adding route 10.2.0.0/16") {
			t.Errorf("%s with problems %q", s.State, s.Problems)
		}
		if !strings.Contains(ours(one), "rule from") || !strings.Contains(ours(one), "route 10.3") {
			t.Errorf("one route has stopped others:\n%s", ours(one))
		}
		one.configure(full(150))
		time.Sleep(time.Second)
		if s := one.engine.Snapshot()[0]; len(s.Problems) != 0 {
			t.Errorf("problems %q", s.Problems)
		}
		same(t, "well again", sortedLines(fullState), sortedLines(ours(one)))

		// The interface below goes and comes.
		one.links.Unplug("eth0")
		time.Sleep(time.Second)
		if got := ours(one); strings.Contains(got, "vrrp.51") || strings.Contains(got, "route") {
			t.Errorf("left without the interface below:\n%s", got)
		}
		one.links.Plug("eth0", "10.0.0.1/24")
		time.Sleep(time.Second)
		same(t, "back", sortedLines(fullState), sortedLines(ours(one)))

		// Not one address without the refusal.
		one.stop(vrrp.Release)
	})
}

// TestEngineResumePaths: a process that finds what another one left, and is not
// to resume it, removes it.
func TestEngineResumePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lan vrrptest.Segment
		one := newBox(t, &lan, 1, nil)
		one.links.Plug("eth1")
		c := full(150)
		v, _ := c.VirtualInterface()
		errs := []error{one.links.MakeVirtual(v), one.links.AddRule(c.Rules[0])}
		for _, a := range c.Placed() {
			errs = append(errs, one.links.Refuse(a.Interface, a.Prefix.Addr()), one.links.Add(a.Interface, a))
		}
		for _, r := range c.Routes {
			errs = append(errs, one.links.AddRoute(r))
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		same(t, "before", sortedLines(fullState), sortedLines(ours(one)))
		one.run(c)
		time.Sleep(50 * time.Millisecond)
		same(t, "backup", "", ours(one))
		one.stop(vrrp.Release)
	})
}
