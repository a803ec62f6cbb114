package netif

import (
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// alone runs f on a thread with a network namespace of its own.
func alone(t *testing.T, f func(ip func(args string))) {
	t.Helper()
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread() // and never unlock: the namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error("needs root:", err)
			return
		}
		f(func(args string) {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v\n%s", args, err, out)
			}
		})
	})
	thread.Wait()
}

// TestConfirm: what a list lacks is asked for alone, and is there if it is there.
func TestConfirm(t *testing.T) {
	alone(t, func(ip func(string)) {
		for _, args := range []string{
			"link set lo up",
			"link add eth0 type veth peer name eth1", "link set eth1 up", "link set eth0 up",
			"link add eth2 type veth peer name eth3", "link set eth3 up", "link set eth2 up",
			"addr add 10.0.0.1/24 dev eth0", "addr add 10.0.0.2/24 dev eth0", "addr add 10.0.0.3/24 dev eth0",
			"addr add 10.0.0.9/32 dev eth2", "addr add 10.0.0.9/32 dev eth0",
			"addr add 2001:db8::1/64 dev eth0 nodad", "addr add 2001:db8::2/64 dev eth0 nodad",
		} {
			ip(args)
		}
		c, err := dialKernel()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		before, err := list(c.Dump)
		if err != nil {
			t.Error(err)
			return
		}
		// The state of links of their own making changes while they come up.
		before = slices.DeleteFunc(before, func(l vrrp.Link) bool { return l.Name != "eth0" && l.Name != "eth2" })
		for i := range before {
			before[i].Addresses = slices.DeleteFunc(before[i].Addresses, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
		}
		without := func(links []vrrp.Link, addresses ...string) []vrrp.Link {
			out := slices.Clone(links)
			for i := range out {
				out[i].Addresses = slices.DeleteFunc(slices.Clone(out[i].Addresses), func(p netip.Prefix) bool {
					return slices.Contains(addresses, p.String()) || len(addresses) == 0
				})
			}
			return out
		}
		first := cmpopts.SortSlices(func(a, b netip.Prefix) bool { return a.String() < b.String() })
		same := cmp.Options{first, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
		check := func(what string, now, want []vrrp.Link) {
			t.Helper()
			got, doubt, err := confirm(c, before, now)
			slices.SortFunc(got, func(a, b vrrp.Link) int { return a.Index - b.Index })
			if diff := cmp.Diff(want, got, same); diff != "" || doubt || err != nil {
				t.Errorf("%s: doubt %t, %v (-want +got):\n%s", what, doubt, err, diff)
			}
		}
		slices.SortFunc(before, func(a, b vrrp.Link) int { return a.Index - b.Index })
		check("nothing is missing", without(before, "none"), before)
		check("one of each family", without(before, "10.0.0.2/24", "2001:db8::1/64"), before)
		check("one that another interface has too", without(before, "10.0.0.9/32"), before)
		check("all addresses", without(before), before)
		check("an interface", without(before, "none")[:1], before)
		check("all interfaces", nil, before)
		down := without(before, "none")
		down[0].Up = false
		check("an interface that is up", down, before)

		ip("addr del 10.0.0.2/24 dev eth0")
		ip("addr del 2001:db8::1/64 dev eth0")
		ip("addr del 10.0.0.9/32 dev eth0")
		gone := without(before, "10.0.0.2/24", "2001:db8::1/64")
		gone[0].Addresses = slices.DeleteFunc(gone[0].Addresses, func(p netip.Prefix) bool { return p.String() == "10.0.0.9/32" })
		check("what is gone is gone", without(gone, "none"), gone)
		check("what is gone, all addresses missing", without(gone), gone)

		// Where the machine's own addresses are not looked for first, the way to one
		// says nothing.
		ip("rule add pref 100 lookup local")
		ip("route add 10.0.0.0/24 via 10.0.0.7 dev eth0 table 50")
		ip("rule add pref 50 lookup 50")
		ip("rule del pref 0")
		check("with rules of its own", without(gone, "10.0.0.1/24", "10.0.0.3/24"), gone)
		check("with rules of its own, all addresses missing", without(gone), gone)

		ip("link set eth0 down")
		now, err := list(c.Dump)
		if err != nil {
			t.Error(err)
		}
		links, _, err := confirm(c, before, now)
		if err != nil || slices.ContainsFunc(links, func(l vrrp.Link) bool { return l.Name == "eth0" && l.Up }) {
			t.Errorf("eth0 is down: %+v, %v", links, err)
		}
		ip("link del eth0")
		links, _, err = confirm(c, before, nil)
		if err != nil || len(links) != 1 || links[0].Name != "eth2" {
			t.Errorf("eth0 is gone: %+v, %v", links, err)
		}
	})
}

// TestMissing: an address is missing when it is, in another form too.
func TestMissing(t *testing.T) {
	alone(t, func(ip func(string)) {
		links := New(nil)
		defer links.Close()
		for _, args := range []string{"link set lo up", "addr add 10.0.0.1/32 dev lo", "addr add 2001:db8::1/128 dev lo"} {
			ip(args)
		}
		var ask []netip.Prefix
		for _, text := range []string{
			"10.0.0.1/32", "10.0.0.1/24", "10.0.0.2/32", "127.0.0.1/8", "2001:db8::1/128", "2001:db8::1/64", "2001:db8::2/128",
		} {
			ask = append(ask, netip.MustParsePrefix(text))
		}
		var got []string
		missing, err := links.Missing("lo", ask)
		for _, p := range missing {
			got = append(got, p.String())
		}
		if diff := cmp.Diff([]string{"10.0.0.1/24", "10.0.0.2/32", "2001:db8::1/64", "2001:db8::2/128"}, got); diff != "" || err != nil {
			t.Errorf("missing, %v (-want +got):\n%s", err, diff)
		}
		if _, err := links.Missing("nosuch0", ask); err == nil {
			t.Error("nothing is missing on an interface that does not exist")
		}
	})
}
