package netif_test

import (
	"context"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/netif"
	"lvsha/vrrp"
)

const (
	virtualMAC  = "00:00:5e:00:01:33"
	virtualMAC6 = "00:00:5e:00:02:33"
)

// parameters are what a namespace's interface has for ARP.
func (l *lan) parameters(ns, iface string) string {
	l.t.Helper()
	return strings.Join(strings.Fields(l.ip("netns", "exec", ns, "sysctl", "-n",
		"net/ipv4/conf/"+iface+"/arp_ignore", "net/ipv4/conf/"+iface+"/arp_announce")), " ")
}

// neighbour is what c knows of an address after asking for it anew.
func (l *lan) neighbour(addr string) string {
	l.t.Helper()
	exec.Command("ip", "-n", l.c, "neigh", "del", addr, "dev", "br0").Run()
	exec.Command("ip", "netns", "exec", l.c, "ping", "-c", "1", "-W", "1", addr).Run()
	return l.ip("-n", l.c, "neigh", "show", addr)
}

// pings says whether c gets an answer.
func (l *lan) pings(addr string) bool {
	return exec.Command("ip", "netns", "exec", l.c, "ping", "-c", "1", "-W", "1", addr).Run() == nil
}

// TestNetnsVirtualMAC is V3-ACT-01, V3-ACT-02, V3-ACT-03, NA-07, V3-BCK-01, V3-BCK-03,
// V3-TX-05 and V3-V6-07 against the
// neighbour cache of a host: the virtual MAC answers for the virtual addresses and
// never the physical one, and nobody does when the interface is gone.
func TestNetnsVirtualMAC(t *testing.T) {
	l := newLAN(t)
	l.ip("-n", l.c, "addr", "add", "2001:db8::3/64", "dev", "br0", "nodad")
	before := l.ip("-n", l.a, "-o", "link", "show", "eth0")
	v4 := vrrp.Virtual{Name: "vrrp.51", Base: "eth0", MAC: vrrp.VirtualMAC(vrrp.IPv4, 51)}
	v6 := vrrp.Virtual{Name: "vrrp6.51", Base: "eth0", MAC: vrrp.VirtualMAC(vrrp.IPv6, 51)}
	addr4 := vrrp.Address{Prefix: netip.MustParsePrefix(virtual)}
	addr6 := vrrp.Address{Prefix: netip.MustParsePrefix("2001:db8::100/64")}
	l.ip("netns", "exec", l.a, "sysctl", "-qw", "net/ipv4/conf/all/rp_filter=1")
	l.inside(l.a, func(links *netif.Links) {
		for range 2 {
			try(t, links.MakeVirtual(v4))
			try(t, links.MakeVirtual(v6))
			try(t, links.Add("vrrp.51", addr4))
			try(t, links.Add("vrrp6.51", addr6))
		}
		if got := l.neighbour("10.9.0.100"); !strings.Contains(got, virtualMAC) {
			t.Errorf("the host has %q", got)
		}
		if got := l.neighbour("2001:db8::100"); !strings.Contains(got, virtualMAC6) || !strings.Contains(got, "router") {
			t.Errorf("the host has %q", got)
		}
		if !l.pings("10.9.0.100") || !l.pings("2001:db8::100") {
			t.Error("the addresses do not answer")
		}
		// The director talks from the virtual address: the host must not learn the
		// physical one from that.
		l.ip("-n", l.a, "neigh", "flush", "dev", "eth0")
		if out, err := exec.Command("ip", "netns", "exec", l.a, "ping", "-c", "1", "-W", "1", "-I", "10.9.0.100", "10.9.0.3").CombinedOutput(); err != nil {
			t.Errorf("ping from the virtual address: %v\n%s", err, out)
		}
		if got := l.ip("-n", l.c, "neigh", "show", "10.9.0.100"); !strings.Contains(got, virtualMAC) {
			t.Errorf("the host has learned %q", got)
		}
		// The address of its own stays that of the physical interface.
		if got := l.neighbour("10.9.0.1"); strings.Contains(got, virtualMAC) || !strings.Contains(got, "lladdr") {
			t.Errorf("the host has %q", got)
		}
		// V3-ACT-03: what comes to the virtual MAC for others goes on to them.
		l.ip("netns", "exec", l.a, "sysctl", "-qw", "net/ipv4/ip_forward=1", "net/ipv4/conf/all/send_redirects=0")
		l.ip("-n", l.b, "addr", "add", "10.66.0.1/32", "dev", "lo")
		l.ip("-n", l.a, "route", "add", "10.66.0.1", "via", "10.9.0.2")
		l.ip("-n", l.c, "route", "add", "10.66.0.1", "via", "10.9.0.100")
		if !l.pings("10.66.0.1") {
			t.Error("nothing is forwarded")
		}
		// V3-V6-07, V3-TX-05: no address is made from the virtual MAC.
		if out := l.ip("-n", l.a, "-o", "addr", "show", "dev", "vrrp.51"); strings.Contains(out, "fe80") {
			t.Errorf("the kernel gave the interface an address:\n%s", out)
		}
		if got := l.parameters(l.a, "eth0"); got != "1 2" {
			t.Errorf("eth0 has arp_ignore and arp_announce %s", got)
		}
		try(t, links.Announce("vrrp.51", []netip.Addr{addr4.Prefix.Addr()}))

		// One that goes leaves the other alone.
		try(t, links.RemoveVirtual(v6))
		if got := l.parameters(l.a, "eth0"); got != "1 2" {
			t.Errorf("eth0 has arp_ignore and arp_announce %s with one interface left", got)
		}
		for range 2 {
			try(t, links.RemoveVirtual(v4))
		}
	})
	if got := l.neighbour("10.9.0.100"); strings.Contains(got, "lladdr") {
		t.Errorf("the host still has %q", got)
	}
	// V3-BCK-03: what is sent to the virtual MAC is for nobody.
	l.ip("-n", l.c, "neigh", "replace", "10.9.0.1", "lladdr", virtualMAC, "nud", "permanent", "dev", "br0")
	if l.pings("10.9.0.1") {
		t.Error("a frame to the virtual MAC was taken")
	}
	if got := l.parameters(l.a, "eth0"); got != "0 0" {
		t.Errorf("eth0 has arp_ignore and arp_announce %s at the end", got)
	}
	if diff := cmp.Diff(before, l.ip("-n", l.a, "-o", "link", "show", "eth0")); diff != "" {
		t.Errorf("eth0 (-before +after):\n%s", diff)
	}
}

// TestNetnsVirtualLeft: a process that starts finds what another one left, and
// what it had found before that.
func TestNetnsVirtualLeft(t *testing.T) {
	l := newLAN(t)
	l.ip("netns", "exec", l.a, "sysctl", "-qw", "net/ipv4/conf/eth0/arp_ignore=2")
	v := vrrp.Virtual{Name: "vrrp.51", Base: "eth0", MAC: vrrp.VirtualMAC(vrrp.IPv4, 51)}
	other := vrrp.Virtual{Name: "vrrp.52", Base: "eth0", MAC: vrrp.VirtualMAC(vrrp.IPv4, 52)}
	l.inside(l.a, func(links *netif.Links) {
		try(t, links.MakeVirtual(v))
		try(t, links.Add(v.Name, vrrp.Address{Prefix: netip.MustParsePrefix(virtual)}))
	})
	index := strings.Fields(l.ip("-n", l.a, "-o", "link", "show", "vrrp.51"))[0]
	if got := l.parameters(l.a, "eth0"); got != "2 2" {
		t.Errorf("eth0 has arp_ignore and arp_announce %s", got)
	}
	l.inside(l.a, func(links *netif.Links) {
		try(t, links.MakeVirtual(v))
		if got := strings.Fields(l.ip("-n", l.a, "-o", "link", "show", "vrrp.51"))[0]; got != index || !l.has(l.a, virtual) {
			t.Error("the interface was made anew")
		}
		try(t, links.MakeVirtual(other))
	})
	// Cleanup has only names; another's interface of that name is not ours.
	l.inside(l.a, func(links *netif.Links) {
		l.ip("-n", l.a, "link", "add", "link", "eth0", "name", "mine", "type", "macvlan", "mode", "bridge")
		mine := vrrp.Virtual{Name: "mine", Base: "eth0", MAC: v.MAC}
		if err := links.MakeVirtual(mine); err == nil || !strings.Contains(err.Error(), "did not make") {
			t.Errorf("made over another interface: %v", err)
		}
		try(t, links.RemoveVirtual(mine))
		l.ip("-n", l.a, "link", "show", "mine")
		try(t, links.RemoveVirtual(vrrp.Virtual{Name: v.Name, Base: "eth0", MAC: other.MAC}))
		l.ip("-n", l.a, "link", "show", v.Name)
		try(t, links.RemoveVirtual(v))
		try(t, links.RemoveVirtual(other))
		if err := links.MakeVirtual(vrrp.Virtual{Name: "vrrp.9", Base: "nosuch0", MAC: v.MAC}); err == nil {
			t.Error("made on nothing")
		}
	})
	if got := l.parameters(l.a, "eth0"); got != "2 0" {
		t.Errorf("eth0 has arp_ignore and arp_announce %s at the end", got)
	}
}

// TestNetnsRefuse is V3-ACT-04, V3-ACT-05 and V3-OWN-07: no ping is answered,
// but ARP and neighbour solicitations are.
func TestNetnsRefuse(t *testing.T) {
	l := newLAN(t)
	l.ip("-n", l.c, "addr", "add", "2001:db8::3/64", "dev", "br0", "nodad")
	l.ip("-n", l.a, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	addresses := []string{virtual, "2001:db8::100/64", "fe80::5e:33/64"}
	target := func(prefix string) string {
		a := netip.MustParsePrefix(prefix).Addr().String()
		if strings.HasPrefix(a, "fe80") {
			a += "%br0"
		}
		return a
	}
	l.inside(l.a, func(links *netif.Links) {
		for range 2 {
			for _, text := range addresses {
				p := netip.MustParsePrefix(text)
				try(t, links.Refuse("eth0", p.Addr()))
				try(t, links.Add("eth0", vrrp.Address{Prefix: p}))
			}
		}
		for _, text := range addresses {
			bare := netip.MustParsePrefix(text).Addr().String()
			exec.Command("ip", "-n", l.c, "neigh", "del", bare, "dev", "br0").Run()
			if l.pings(target(text)) {
				t.Errorf("%s answers", text)
			}
			if got := l.ip("-n", l.c, "neigh", "show", bare); !strings.Contains(got, "lladdr") {
				t.Errorf("%s is not resolved: %q", text, got)
			}
		}
		if !l.pings("10.9.0.1") || !l.pings("2001:db8::1") {
			t.Error("the director's own addresses do not answer")
		}
		// One is permitted, then all.
		try(t, links.Permit("eth0", netip.MustParsePrefix(addresses[1]).Addr()))
		if l.pings(target(addresses[0])) || !l.pings(target(addresses[1])) {
			t.Error("not just the one that was permitted answers")
		}
	})
	l.inside(l.a, func(links *netif.Links) {
		for range 2 {
			for _, text := range addresses {
				try(t, links.Permit("eth0", netip.MustParsePrefix(text).Addr()))
			}
		}
	})
	for _, text := range addresses {
		if !l.pings(target(text)) {
			t.Errorf("%s does not answer", text)
		}
	}
	l.noTable(l.a)
}

// noTable fails the test if the namespace has a table of ours.
func (l *lan) noTable(ns string) {
	l.t.Helper()
	if got := l.tables(ns); strings.Contains(got, "lvsha") {
		l.t.Errorf("tables of nftables: %s", got)
	}
}

// TestNetnsPaths adds routes and rules, finds what is missing and removes them;
// those of others stay.
func TestNetnsPaths(t *testing.T) {
	l := newLAN(t)
	l.ip("-n", l.a, "addr", "add", virtual, "dev", "eth0")
	l.ip("-n", l.a, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	l.ip("-n", l.a, "route", "add", "10.7.0.0/16", "via", "10.9.0.3")
	l.eventually("the kernel has its routes", func() bool {
		return strings.Contains(l.ip("-n", l.a, "-6", "route", "show", "table", "local"), "local 2001:db8::1 ")
	})
	routesBefore := l.ip("-n", l.a, "route", "show", "table", "all")
	rulesBefore := l.ip("-n", l.a, "rule", "show") + l.ip("-n", l.a, "-6", "rule", "show")
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	routes := []vrrp.Route{
		{Destination: prefix("10.2.0.0/16"), Via: addr("10.9.0.3"), Interface: "eth0", Source: addr("10.9.0.100"), Table: 100, Metric: 5, MTU: 1400},
		{Destination: prefix("0.0.0.0/0"), Via: addr("10.9.0.3")},
		{Destination: prefix("10.4.0.0/16"), Interface: "eth0", Scope: vrrp.ScopeLink},
		{Destination: prefix("10.5.0.0/16"), Via: addr("172.16.0.1"), Interface: "eth0", OnLink: true, Table: 70000},
		{Type: "blackhole", Destination: prefix("10.3.0.0/16")},
		{Type: "unreachable", Destination: prefix("10.6.0.0/16"), Metric: 7},
		{Destination: prefix("2001:db8:2::/48"), Via: addr("2001:db8::3"), MTU: 1300},
		{Destination: prefix("::/0"), Via: addr("fe80::3"), Interface: "eth0", Metric: 9},
		{Type: "prohibit", Destination: prefix("2001:db8:3::/48"), Table: 100},
	}
	rules := []vrrp.Rule{
		{Family: vrrp.IPv4, From: prefix("10.9.0.100/32"), Table: 100, Priority: 1000},
		{Family: vrrp.IPv4, To: prefix("10.2.0.0/16"), In: "eth0", Out: "eth0", Mark: 1, Mask: 0xff, Table: 70000, Priority: 1001},
		{Family: vrrp.IPv6, From: prefix("2001:db8::100/128"), Table: 100, Priority: 1000},
	}
	l.inside(l.a, func(links *netif.Links) {
		for range 2 {
			for _, r := range routes {
				try(t, links.AddRoute(r))
			}
			for _, r := range rules {
				try(t, links.AddRule(r))
			}
		}
		gone, goneRules, err := links.MissingPaths(routes, rules)
		if err != nil || len(gone)+len(goneRules) != 0 {
			t.Errorf("missing %v %v, %v\n%s", gone, goneRules, err, l.ip("-n", l.a, "route", "show", "table", "all")+l.ip("-n", l.a, "rule", "show"))
		}
		got := l.ip("-n", l.a, "route", "show", "table", "100")
		if want := "10.2.0.0/16 via 10.9.0.3 dev eth0 proto 112 src 10.9.0.100 metric 5 mtu 1400"; strings.TrimSpace(got) != want {
			t.Errorf("table 100 has %q, want %q", got, want)
		}
		if got, want := l.ip("-n", l.a, "rule", "show"), "from all to 10.2.0.0/16 fwmark 0x1/0xff iif eth0 oif eth0 lookup 70000 proto 112"; !strings.Contains(got, want) {
			t.Errorf("rules:\n%swant %q", got, want)
		}

		// In the way of ours is another's.
		other := vrrp.Route{Destination: prefix("10.7.0.0/16"), Via: addr("10.9.0.2")}
		if err := links.AddRoute(other); err == nil || !strings.Contains(err.Error(), "did not make") {
			t.Errorf("added over another's: %v", err)
		}
		try(t, links.RemoveRoute(vrrp.Route{Destination: prefix("10.7.0.0/16"), Via: addr("10.9.0.3")}))

		// The gateway changes: add before remove.
		changed := routes[0]
		changed.Source, changed.MTU = netip.Addr{}, 0
		try(t, links.AddRoute(changed))
		try(t, links.RemoveRoute(routes[0]))
		if gone, _, err := links.MissingPaths([]vrrp.Route{changed, routes[0]}, nil); err != nil || len(gone) != 1 || gone[0] != routes[0] {
			t.Errorf("missing %v, %v", gone, err)
		}
		routes[0] = changed

		l.ip("-n", l.a, "route", "del", "10.3.0.0/16")
		l.ip("-n", l.a, "rule", "del", "priority", "1000")
		gone, goneRules, err = links.MissingPaths(routes, rules)
		if diff := cmp.Diff([]string{"blackhole 10.3.0.0/16", "from 10.9.0.100/32 table 100 priority 1000"},
			[]string{(vrrp.InstallPaths{Routes: gone}).Routes[0].String(), goneRules[0].String()}); diff != "" || err != nil {
			t.Errorf("missing, %v (-want +got):\n%s", err, diff)
		}
		nowhere := vrrp.Route{Destination: prefix("10.8.0.0/16"), Interface: "nosuch0"}
		if err := links.AddRoute(nowhere); err == nil {
			t.Error("added a route through nothing")
		}
		try(t, links.RemoveRoute(nowhere))
		for range 2 {
			for _, r := range rules {
				try(t, links.RemoveRule(r))
			}
			for _, r := range routes {
				try(t, links.RemoveRoute(r))
			}
		}
	})
	// The kernel's own link-local addresses come when they like.
	own := func(routes string) string {
		return regexp.MustCompile(`(?m)^.*\bfe80::.*\n`).ReplaceAllString(routes, "")
	}
	if diff := cmp.Diff(own(routesBefore), own(l.ip("-n", l.a, "route", "show", "table", "all"))); diff != "" {
		t.Errorf("routes (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(rulesBefore, l.ip("-n", l.a, "rule", "show")+l.ip("-n", l.a, "-6", "rule", "show")); diff != "" {
		t.Errorf("rules (-before +after):\n%s", diff)
	}
}

// TestNetnsWatchPaths: Watch looks when a route or rule of ours is removed, and
// not for what others do with theirs.
func TestNetnsWatchPaths(t *testing.T) {
	l := newLAN(t)
	route := vrrp.Route{Destination: netip.MustParsePrefix("10.3.0.0/16"), Type: "blackhole"}
	rule := vrrp.Rule{Family: vrrp.IPv6, Table: 100, Priority: 1000}
	l.inside(l.a, func(links *netif.Links) {
		try(t, links.AddRoute(route))
		try(t, links.AddRule(rule))
	})
	seen := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	watching := make(chan error, 1)
	go func() {
		defer close(ended)
		watching <- inNamespace(l.a, func(links *netif.Links) {
			try(t, links.Watch(ctx, func([]vrrp.Link) { seen <- struct{}{} }))
		})
	}()
	defer func() { cancel(); <-ended; try(t, <-watching) }()
	<-seen
	l.eventually("the interfaces are quiet", func() bool {
		select {
		case <-seen:
			return false
		default:
			return true
		}
	})
	for _, c := range [][]string{{"route", "del", "10.3.0.0/16"}, {"-6", "rule", "del", "priority", "1000"}} {
		// What others do comes first: were it seen, there would be a look for nearly
		// every one of the 40 changes. A few are due to the interfaces themselves,
		// whose addresses settle.
		for range 20 {
			l.ip("-n", l.a, "route", "add", "blackhole", "10.66.0.0/16")
			l.ip("-n", l.a, "route", "del", "10.66.0.0/16")
		}
		if n := len(seen); n > 5 {
			t.Errorf("%d looks because of others", n)
		}
		for len(seen) > 0 {
			<-seen
		}
		l.ip(append([]string{"-n", l.a}, c...)...)
		l.eventually("a look because of ours", func() bool { return len(seen) > 0 })
		for len(seen) > 0 {
			<-seen
		}
	}
}

// TestNetnsLabel: an address that is there in another form is replaced.
func TestNetnsLabel(t *testing.T) {
	l := newLAN(t)
	l.inside(l.a, func(links *netif.Links) {
		show := func() string { return l.ip("-n", l.a, "-o", "addr", "show", "to", "192.0.2.10") }
		a := vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.10/24")}
		for _, c := range []struct {
			label string
			scope uint8
			want  string
		}{
			{"", vrrp.ScopeGlobal, "scope global eth0\\"},
			{"eth0:1", vrrp.ScopeLink, "scope link eth0:1\\"},
			{"eth0:2", vrrp.ScopeHost, "scope host eth0:2\\"},
			{"eth0:2", 200, "scope site eth0:2\\"},
			{"", vrrp.ScopeGlobal, "scope global eth0\\"},
		} {
			a.Label, a.Scope = c.label, c.scope
			for range 2 {
				try(t, links.Add("eth0", a))
			}
			if got := show(); !strings.Contains(got, c.want) || strings.Count(got, "inet") != 1 {
				t.Errorf("%s: %q, want %q", a, got, c.want)
			}
		}
		six := vrrp.Address{Prefix: netip.MustParsePrefix("2001:db8::10/64")}
		try(t, links.Add("eth0", six))
		six.Prefix = netip.MustParsePrefix("2001:db8::10/48")
		try(t, links.Add("eth0", six))
		if got := l.ip("-n", l.a, "-o", "-6", "addr", "show", "to", "2001:db8::10"); !strings.Contains(got, "/48") || strings.Contains(got, "/64") {
			t.Errorf("another length: %q", got)
		}
	})
}

// TestNetnsUnusable: an address of which the kernel has found a duplicate, or is looking for
// one, does not count and is replaced; one that would run out stays.
func TestNetnsUnusable(t *testing.T) {
	l := newLAN(t)
	l.ip("-n", l.b, "addr", "add", "2001:db8::77/64", "dev", "eth0", "nodad")
	l.ip("-n", l.a, "addr", "add", "2001:db8::77/64", "dev", "eth0")
	show := func(a string) string { return l.ip("-n", l.a, "addr", "show", "to", a) }
	l.eventually("a duplicate is found", func() bool { return strings.Contains(show("2001:db8::77"), "dadfailed") })
	l.ip("netns", "exec", l.a, "sh", "-c", "echo 200 >/proc/sys/net/ipv6/conf/eth0/dad_transmits")
	l.ip("-n", l.a, "addr", "add", "2001:db8::78/64", "dev", "eth0")
	l.ip("-n", l.a, "addr", "add", "2001:db8::79/64", "dev", "eth0", "valid_lft", "100", "preferred_lft", "50", "nodad")
	l.ip("-n", l.a, "addr", "add", "192.0.2.79/24", "dev", "eth0", "valid_lft", "100", "preferred_lft", "50")
	l.inside(l.a, func(links *netif.Links) {
		var all []netip.Prefix
		for _, p := range []string{"2001:db8::77/64", "2001:db8::78/64", "2001:db8::79/64", "192.0.2.79/24"} {
			all = append(all, netip.MustParsePrefix(p))
		}
		missing, err := links.Missing("eth0", all)
		if err != nil || !slices.Equal(missing, all[:2]) {
			t.Errorf("missing are %v, %v, want %v", missing, err, all[:2])
		}
		for _, p := range all {
			try(t, links.Add("eth0", vrrp.Address{Prefix: p}))
			if got := show(p.Addr().String()); strings.Contains(got, "dadfailed") || strings.Contains(got, "tentative") || !strings.Contains(got, "valid_lft forever") || strings.Count(got, "inet") != 1 {
				t.Errorf("%s is\n%s", p, got)
			}
		}
		if missing, err := links.Missing("eth0", all); err != nil || len(missing) > 0 {
			t.Errorf("missing are %v, %v", missing, err)
		}
	})
}
