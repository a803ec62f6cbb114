package failover_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	"lvsha/vrrp"
)

// virtualMAC is that of VRID 51 (RFC 9568 section 7.3).
const virtualMAC = "00:00:5e:00:01:33"

// everything is a file in which a virtual router has one of each.
func everything(more string) string {
	return strings.Replace(rig.VRRPFile(3, rig.Fast), `addresses = ["10.0.0.100/24"]`, `addresses = ["10.0.0.100/24 label eth0:1"]
excluded  = ["10.0.0.101/24", "2001:db8::101/64"]
routes    = ["10.77.0.0/16 via 10.0.0.9 src 10.0.0.100", "blackhole 10.78.0.0/16 table 77"]
rules     = ["from 10.0.0.100 table 77 priority 1000"]
`+more, 1)
}

// kernel is what a host's kernel has of what virtual routers put there, as text.
func kernel(r *rig.Rig, h *lab.Host) string {
	r.Helper()
	var b strings.Builder
	for _, args := range []string{
		"ip -br link", "ip -o -4 addr", "ip -o -6 addr show scope global", "ip route show table all proto 112", "ip rule",
		"sysctl net/ipv4/conf/eth0/arp_ignore net/ipv4/conf/eth0/arp_announce net/ipv4/conf/eth0/rp_filter",
	} {
		fields := strings.Fields(args)
		out, err := h.Run(fields[0], fields[1:]...)
		r.Check(err)
		b.WriteString(out)
	}
	r.Check(h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		for _, t := range tables {
			fmt.Fprintln(&b, "table", t.Name)
		}
		return err
	}))
	return b.String()
}

// unchanged waits until a host's kernel is what it was.
func unchanged(r *rig.Rig, what string, h *lab.Host, before string) {
	r.Helper()
	var now string
	if _, err := lab.Eventually(what, 30*time.Second, func() bool { now = kernel(r, h); return now == before }); err != nil {
		r.Errorf("%v (-before +after):\n%s", err, cmp.Diff(before, now))
	}
}

// TestVirtualMAC: a pair with virtual_mac, routes, rules, an excluded address and
// a label. Hosts keep one MAC address through every change (SIM-CACHE-02, V3-ACT-01,
// V3-INI-03, V3-INI-04, ARP-02), advertisements come from it (V3-TX-02), a backup
// has nothing of it (V3-BCK-01, V3-BCK-03), and nothing is left at the end.
func TestVirtualMAC(t *testing.T) {
	r := rig.New(t)
	text := everything("virtual_mac = true")
	before := [2]string{kernel(r, r.LVS[0]), kernel(r, r.LVS[1])}
	monitor, err := r.Client.Start(nil, "ip", "-o", "monitor", "neigh")
	r.Check(err)
	active := r.Lvsha(r.LVS[0], text)
	r.Becomes(active, "active")
	r.Eventually("everything is there", 10*time.Second, func() bool {
		has := kernel(r, r.LVS[0])
		for _, want := range []string{
			"vrrp.51@eth0", virtualMAC, "10.0.0.100/24", "scope global eth0:1", "10.0.0.101/24", "2001:db8::101/64",
			"10.77.0.0/16 via 10.0.0.9", "blackhole 10.78.0.0/16 table 77", "from 10.0.0.100 lookup 77 proto 112", "arp_ignore = 1",
		} {
			if !strings.Contains(has, want) {
				t.Logf("no %q yet in\n%s", want, has)
				return false
			}
		}
		return true
	})
	backup := r.Lvsha(r.LVS[1], text)
	r.Becomes(backup, "backup")
	unchanged(r, "the backup has nothing", r.LVS[1], before[1])

	excluded, err := lab.StartPing(r.Client, netip.MustParseAddr("10.0.0.101"), 10*time.Millisecond)
	r.Check(err)
	lost := r.LostWhile(func() {
		// The next process goes on.
		r.Check(active.Kill())
		active = r.Again(r.LVS[0])
		r.Becomes(active, "active")
	})
	if lost > 0 {
		t.Errorf("%d probes lost by a kill and a restart", lost)
	}
	lost = r.LostWhile(func() {
		// Make before break, there and back.
		if _, err := active.End(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		r.Becomes(backup, "active")
		unchanged(r, "nothing is left by a stop", r.LVS[0], before[0])
		active = r.Again(r.LVS[0])
		r.Becomes(active, "active")
		r.Becomes(backup, "backup")
	})
	// As in TestVirtualMAC6.
	if lost > 5 {
		t.Errorf("%d probes lost by a stop and a preemption", lost)
	}
	unchanged(r, "nothing is left by the loser", r.LVS[1], before[1])

	// Somebody takes things away: they are put back.
	for _, args := range []string{"ip route del 10.77.0.0/16", "ip rule del priority 1000", "ip link del vrrp.51"} {
		was := kernel(r, r.LVS[0])
		fields := strings.Fields(args)
		_, err := r.LVS[0].Run(fields[0], fields[1:]...)
		r.Check(err)
		r.Eventually("back after "+args, 30*time.Second, func() bool { return sorted(kernel(r, r.LVS[0])) == sorted(was) })
	}

	// The interface below goes down: nothing is left on it.
	_, err = r.LVS[0].Run("ip", "link", "set", "eth0", "down")
	r.Check(err)
	r.Becomes(backup, "active")
	r.Eventually("the virtual interface is gone", 10*time.Second, func() bool {
		has := kernel(r, r.LVS[0])
		return !strings.Contains(has, "vrrp.51") && !strings.Contains(has, "proto 112") && strings.Contains(has, "arp_ignore = 0")
	})
	_, err = r.LVS[0].Run("ip", "link", "set", "eth0", "up")
	r.Check(err)
	r.Becomes(active, "active")
	r.Becomes(backup, "backup")

	// A crash, and nobody comes after it.
	r.Check(active.Kill())
	r.Becomes(backup, "active")
	if out, err := r.LVS[0].Run(r.Binary, "cleanup", "--all"); err != nil {
		t.Errorf("cleanup: %q, %v", out, err)
	}
	unchanged(r, "nothing is left by cleanup", r.LVS[0], before[0])
	r.Settle(300 * time.Millisecond)

	if _, err := excluded.Stop(); err != nil {
		t.Error(err)
	}
	r.Check(monitor.Kill())
	macs := regexp.MustCompile(`10\.0\.0\.10[01] .*lladdr (\S+)`).FindAllStringSubmatch(monitor.Output(), -1)
	for _, m := range macs {
		if m[1] != virtualMAC {
			t.Errorf("the client learned %q", m[0])
		}
	}
	if len(macs) < 2 {
		t.Errorf("the client learned nothing:\n%s", monitor.Output())
	}
	var sent [2]int
	for _, a := range r.Sniffer.Seen() {
		if a.MAC != vrrp.VirtualMAC(vrrp.IPv4, 51) {
			t.Fatalf("%+v has another MAC address", a)
		}
		for i, source := range r.Source {
			if a.Source == source {
				sent[i]++
			}
		}
	}
	if sent[0] < 5 || sent[1] < 5 {
		t.Errorf("the directors sent %v advertisements", sent)
	}
	r.OneActive()
}

// sorted is text whose lines may come in another order.
func sorted(s string) string {
	lines := strings.Split(regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(s, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestAcceptOff is V3-ACT-04, V3-ACT-05 and V3-OWN-07 with the program: hosts
// resolve the address and get no answer from it. A reload permits and refuses
// again; a crash leaves the refusal to the next process, and cleanup ends it.
func TestAcceptOff(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	before := kernel(r, r.LVS[0])
	pings := func(want bool) {
		t.Helper()
		if _, err := r.Client.Run("ping", "-c", "1", "-W", "1", "10.0.0.100"); (err == nil) != want {
			t.Errorf("an answer: %t, want %t", err == nil, want)
		}
		if out, err := r.Client.Run("ip", "neigh", "show", "10.0.0.100"); err != nil || !strings.Contains(out, virtualMAC) {
			t.Errorf("the client has %q, %v", out, err)
		}
	}
	text := everything("virtual_mac = \"gw\"\naccept = false")
	d := r.Lvsha(r.LVS[0], text)
	r.Becomes(d, "active")
	r.Eventually("the address is there", 10*time.Second, func() bool { return strings.Contains(kernel(r, r.LVS[0]), "10.0.0.100/24") })
	pings(false)
	reload(r, r.LVS[0], everything("virtual_mac = \"gw\""))
	r.Eventually("the refusal is gone", 10*time.Second, func() bool { return !strings.Contains(kernel(r, r.LVS[0]), "table lvsha") })
	pings(true)
	reload(r, r.LVS[0], text)
	r.Eventually("the refusal is back", 10*time.Second, func() bool { return strings.Contains(kernel(r, r.LVS[0]), "table lvsha") })
	pings(false)
	r.Check(d.Kill())
	pings(false)
	// The next process has another file, and another interface.
	d = r.Lvsha(r.LVS[0], everything("virtual_mac = \"other\""))
	r.Becomes(d, "active")
	r.Eventually("only the new interface", 10*time.Second, func() bool {
		has := kernel(r, r.LVS[0])
		return strings.Contains(has, "other@eth0") && !strings.Contains(has, "gw@eth0") && strings.Contains(has, "10.0.0.100/24")
	})
	pings(true)
	// Without a virtual interface the addresses move to the one below.
	reload(r, r.LVS[0], everything("accept = false"))
	r.Eventually("the address on eth0", 10*time.Second, func() bool {
		has := kernel(r, r.LVS[0])
		return r.Has(r.LVS[0], rig.VIP) && !strings.Contains(has, "@eth0") && strings.Contains(has, "arp_ignore = 0")
	})
	r.Check(d.Kill())
	if out, err := r.LVS[0].Run(r.Binary, "cleanup", "--all"); err != nil {
		t.Errorf("cleanup: %q, %v", out, err)
	}
	unchanged(r, "nothing is left by cleanup", r.LVS[0], before)
}

// TestLabel: an address whose label changes is never gone for good, and routes
// that change are replaced.
func TestLabel(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	before := kernel(r, r.LVS[0])
	// One of a network of its own, so that its scope can differ from others'.
	base := strings.Replace(everything(""), "10.0.0.100/24", "10.0.0.100/32", 1)
	d := r.Lvsha(r.LVS[0], base)
	r.Becomes(d, "active")
	for i, change := range []string{"label eth0:2", "scope link label eth0:2", ""} {
		text := strings.NewReplacer("label eth0:1", change, "via 10.0.0.9", fmt.Sprintf("via 10.0.0.%d", 20+i), `"10.0.0.101/24"`, `"10.0.0.101/32"`).Replace(base)
		reload(r, r.LVS[0], text)
		label, scope := "eth0:2", "global"
		if i == 1 {
			scope = "link"
		}
		if i == 2 {
			label = "eth0"
		}
		r.Eventually("the address with "+change, 10*time.Second, func() bool {
			has := kernel(r, r.LVS[0])
			return regexp.MustCompile(`10\.0\.0\.100/32 scope `+scope+`( secondary)? `+label+`\\`).MatchString(has) &&
				strings.Contains(has, fmt.Sprintf("10.77.0.0/16 via 10.0.0.%d ", 20+i)) && strings.Count(has, "10.77.0.0/16") == 1
		})
	}
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	unchanged(r, "nothing is left by a stop", r.LVS[0], before)
}

// TestVirtualMAC6 is the same over IPv6: the solicited-node group is joined with
// each address (V3-V6-02), neighbour advertisements say the virtual MAC
// (V3-V6-03), and advertisements come from the link-local address of the interface
// below (V3-TX-05).
func TestVirtualMAC6(t *testing.T) {
	r := rig.NewIPv6(t)
	mac := "00:00:5e:00:02:33"
	text := strings.Replace(r.InFamily(rig.VRRPFile(3, rig.Fast)), "addresses =", "virtual_mac = true\naddresses =", 1)
	before := [2]string{kernel(r, r.LVS[0]), kernel(r, r.LVS[1])}
	monitor, err := r.Client.Start(nil, "ip", "-o", "-6", "monitor", "neigh")
	r.Check(err)
	active := r.Lvsha(r.LVS[0], text)
	r.Becomes(active, "active")
	backup := r.Lvsha(r.LVS[1], text)
	r.Becomes(backup, "backup")
	out, err := r.LVS[0].Run("ip", "maddr", "show", "dev", "vrrp6.51")
	if r.Check(err); !strings.Contains(out, "ff02::1:ff00:100") || !strings.Contains(out, "ff02::1:ff5e:33") {
		t.Errorf("groups:\n%s", out)
	}
	lost := r.LostWhile(func() {
		if _, err := active.End(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		r.Becomes(backup, "active")
		active = r.Again(r.LVS[0])
		r.Becomes(active, "active")
		r.Becomes(backup, "backup")
	})
	// The advertisement goes first, and a switch sends what is for its sender after
	// it: what comes before the interface and its addresses are there is lost.
	if lost > 10 {
		t.Errorf("%d probes lost by a stop and a preemption", lost)
	}
	unchanged(r, "nothing is left by the loser", r.LVS[1], before[1])
	if _, err := active.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	unchanged(r, "nothing is left by a stop", r.LVS[0], before[0])
	r.Check(monitor.Kill())
	macs := regexp.MustCompile(`2001:db8::100 .*lladdr (\S+)`).FindAllStringSubmatch(monitor.Output(), -1)
	for _, m := range macs {
		if m[1] != mac {
			t.Errorf("the client learned %q", m[0])
		}
	}
	if len(macs) == 0 {
		t.Errorf("the client learned nothing:\n%s", monitor.Output())
	}
	for _, a := range r.Sniffer.Seen() {
		if a.MAC != vrrp.VirtualMAC(vrrp.IPv6, 51) || a.Source != r.Source[0] && a.Source != r.Source[1] {
			t.Fatalf("%+v has another sender, directors are %v", a, r.Source)
		}
	}
	r.OneActive()
}
