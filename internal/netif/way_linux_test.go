package netif_test

import (
	"errors"
	"io/fs"
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
		try(t, links.SetSysctl("net/ipv4/conf/eth0/accept_local", "1"))
		setting("eth0", 1)
		setting("lo", 0)
		try(t, links.SetSysctl("net/ipv4/conf/eth0/accept_local", "0"))
		setting("eth0", 0)
		if err := links.SetSysctl("net/ipv4/conf/eth9/accept_local", "1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("setting accept_local of no interface: %v", err)
		}
		if got, err := links.Sysctl("net/ipv4/conf/eth0/accept_local"); err != nil || got != "0" {
			t.Errorf("accept_local of eth0 is %q, %v", got, err)
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
