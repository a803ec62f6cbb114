package netif_test

import (
	"net/netip"
	"testing"

	"lvsha/internal/netif"
)

// TestNetnsWay: how packets leave, and what of it is this machine's.
func TestNetnsWay(t *testing.T) {
	l := newLAN(t)
	l.ip("-n", l.a, "addr", "add", "10.9.0.100/32", "dev", "eth0")
	l.ip("-n", l.a, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	l.ip("-n", l.a, "route", "add", "10.8.0.0/16", "via", "10.9.0.3")
	l.ip("-n", l.a, "route", "add", "blackhole", "10.7.0.0/16")
	l.inside(l.a, func(links *netif.Links) {
		type way struct {
			ifname string
			source netip.Addr
			local  bool
		}
		for _, c := range []struct {
			to   string
			want way
		}{
			{"10.9.0.2", way{"eth0", netip.MustParseAddr("10.9.0.1"), false}},
			{"10.8.1.1", way{"eth0", netip.MustParseAddr("10.9.0.1"), false}},
			{"10.9.0.100", way{"lo", netip.MustParseAddr("10.9.0.100"), true}},
			{"2001:db8::2", way{"eth0", netip.MustParseAddr("2001:db8::1"), false}},
		} {
			ifname, source, local, err := links.WayTo(netip.MustParseAddr(c.to))
			if got := (way{ifname, source, local}); err != nil || got != c.want {
				t.Errorf("way to %s: %+v, %v", c.to, got, err)
			}
		}
		for _, to := range []string{"10.7.1.1", "192.0.2.1", "2001:db8:1::1"} {
			if ifname, _, _, err := links.WayTo(netip.MustParseAddr(to)); err == nil {
				t.Errorf("way to %s by %s", to, ifname)
			}
		}

		setting := func(ifname string, want int) {
			t.Helper()
			if got, err := links.Setting(ifname, "accept_local"); err != nil || got != want {
				t.Errorf("accept_local of %s is %d, %v; want %d", ifname, got, err, want)
			}
		}
		setting("eth0", 0)
		try(t, links.AcceptLocal("eth0", true))
		setting("eth0", 1)
		setting("lo", 0)
		try(t, links.AcceptLocal("eth0", false))
		setting("eth0", 0)
		try(t, links.AcceptLocal("eth9", false))
		if err := links.AcceptLocal("eth9", true); err == nil {
			t.Error("accept_local of no interface was set")
		}
	})
	// What holds for all holds for each.
	l.ip("netns", "exec", l.a, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/accept_local")
	l.inside(l.a, func(links *netif.Links) {
		if got, err := links.Setting("eth0", "accept_local"); err != nil || got != 1 {
			t.Errorf("accept_local of eth0 is %d, %v", got, err)
		}
	})
}
