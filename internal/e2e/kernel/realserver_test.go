//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// state is what `lvsha realserver` may change of a host: addresses, interfaces, ports of
// GUE and the parameters of its interfaces.
func state(r *rig.Rig, h *lab.Host) string {
	r.Helper()
	var b strings.Builder
	for _, args := range []string{"-o addr", "-o link", "fou show", "-6 fou show"} {
		out, err := h.Run("ip", strings.Fields(args)...)
		r.Check(err)
		b.WriteString(out)
	}
	out, err := h.Run("sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/arp_* /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/promote_secondaries")
	r.Check(err)
	return regexp.MustCompile(`valid_lft.*| tentative`).ReplaceAllString(b.String()+out, "")
}

// TestKernelRealServer: from the directors' own file a fresh machine becomes a server of
// every kind that is not NAT, and is afterwards what it was before.
//
//	client .9, lvs1 .1 ── 10.0.0.0/24, 2001:db8::/64 ── real .22
func TestKernelRealServer(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	real, err := r.Net.Host("real")
	r.Check(err)
	_, err = r.Segment.Attach(real, "eth0", "10.0.0.22/24")
	r.Check(err)
	r.Run(real, "ip", "addr add 2001:db8::22/64 dev eth0 nodad")
	r.Run(real, "ip", "addr add 10.0.0.24/24 dev eth0")
	r.Check(real.Sysctl("net/ipv4/conf/all/rp_filter", "1")) // as many distributions have it
	before := state(r, real)

	type kind struct{ vip, forward, tunnel, server string }
	kinds := []kind{
		{"10.0.0.100", "dr", "", "10.0.0.22"}, {"2001:db8::100", "dr", "", "2001:db8::22"},
		{"10.0.0.101", "tun", `{ type = "ipip" }`, "10.0.0.22"}, {"2001:db8::101", "tun", `{ type = "ipip" }`, "2001:db8::22"},
		{"10.0.0.102", "tun", `{ type = "ipip" }`, "2001:db8::22"}, {"2001:db8::102", "tun", `{ type = "ipip" }`, "10.0.0.22"},
		{"10.0.0.103", "tun", `{ type = "gre" }`, "10.0.0.22"}, {"2001:db8::103", "tun", `{ type = "gre" }`, "2001:db8::22"},
		{"10.0.0.104", "tun", `{ type = "gue", port = 6080 }`, "10.0.0.22"}, {"2001:db8::104", "tun", `{ type = "gue", port = 6080 }`, "2001:db8::22"},
		{"10.0.0.105", "tun", `{ type = "gre", checksum = "plain" }`, "10.0.0.24"},
	}
	file := "[director.lvs1]\naddress = [\"10.0.0.1\", \"2001:db8::1\"]\n"
	var four, six []string
	services := ""
	for i, k := range kinds {
		vip := netip.MustParseAddr(k.vip)
		if vip.Is4() {
			four = append(four, k.vip+"/24")
		} else {
			six = append(six, k.vip+"/64")
		}
		services += fmt.Sprintf("[service.s%d]\nlisten = \"%s/tcp\"\nforward = %q\n", i, netip.AddrPortFrom(vip, 7000), k.forward)
		if k.tunnel != "" {
			services += "tunnel = " + k.tunnel + "\n"
		}
		services += fmt.Sprintf("[[service.s%d.server]]\naddress = %q\n", i, k.server)
	}
	for name, list := range map[string][]string{"four": four, "six": six} {
		file += fmt.Sprintf("[vrrp.%s]\ninterface = \"eth0\"\nvrid = 51\nadvertise = \"100ms\"\naddresses = [%q]\n", name, strings.Join(list, `", "`))
	}
	file = strings.ReplaceAll(file, `\"`, `"`) + services

	status := func(want int) string {
		t.Helper()
		out, err := real.Run(r.Binary, "realserver", "status", "-c", rig.ConfigPath)
		if (err != nil) != (want != 0) {
			t.Errorf("status: %v, want exit code %d\n%s", err, want, out)
		}
		return out
	}
	r.Check(real.WriteFile(rig.ConfigPath, []byte(file), 0o644))
	if out := status(1); strings.Count(out, "is not on lo") != 6 || strings.Count(out, "there is no tunnel of kind") != 6 {
		t.Errorf("status of a fresh machine:\n%s", out)
	}
	out, err := real.Run(r.Binary, "realserver", "up", "-c", rig.ConfigPath)
	r.Check(err)
	t.Log(out)
	status(0)
	if out, err := real.Run(r.Binary, "realserver", "up", "-c", rig.ConfigPath); err != nil || strings.TrimSpace(out) != "everything is there already" {
		t.Errorf("up again: %v\n%s", err, out)
	}
	for _, name := range []string{"all/arp_ignore=1", "eth0/arp_ignore=1", "all/arp_announce=2", "eth0/arp_announce=2", "lvsha-ipip/rp_filter=2", "eth0/rp_filter=0"} {
		name, want, _ := strings.Cut(name, "=")
		if got := sysctl(r, real, "net/ipv4/conf/"+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, k := range kinds {
		r.Tell(real, "tcp", netip.AddrPortFrom(netip.MustParseAddr(k.vip), 7000))
	}
	d := r.Lvsha(r.LVS[0], file)
	r.Eventually("active", 30*time.Second, func() bool { return d.Router("four").State == "active" && d.Router("six").State == "active" })
	for _, k := range kinds {
		at := netip.AddrPortFrom(netip.MustParseAddr(k.vip), 7000)
		from := map[bool]string{true: "10.0.0.9", false: "2001:db8::9"}[at.Addr().Is4()]
		if got, want := r.Ask(r.Client, "tcp", at, 0), fmt.Sprintf("real %s>%s", from, at); got != want {
			t.Errorf("%+v: %s, want %s", k, got, want)
		}
	}

	// What the file does not have any more goes, and what somebody takes away comes back.
	r.Check(real.WriteFile(rig.ConfigPath, []byte(strings.ReplaceAll(file, `{ type = "gue", port = 6080 }`, `{ type = "gue", port = 6081 }`)), 0o644))
	r.Run(real, "ip", "addr del 10.0.0.100/32 dev lo")
	r.Run(real, "ip", "link set lvsha-gre down")
	r.Check(real.Sysctl("net/ipv4/conf/all/arp_ignore", "0"))
	if out := status(1); strings.Count(out, "!") != 5 {
		t.Errorf("status, five of which are not so:\n%s", out)
	}
	out, err = real.Run(r.Binary, "realserver", "up", "-c", rig.ConfigPath)
	r.Check(err)
	t.Log(out)
	status(0)

	out, err = real.Run(r.Binary, "realserver", "down")
	r.Check(err)
	t.Log(out)
	if after := state(r, real); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if out, err := real.Run(r.Binary, "realserver", "down"); err != nil || strings.TrimSpace(out) != "nothing was changed by lvsha" {
		t.Errorf("down again: %v\n%s", err, out)
	}
}

// TestKernelRealServerVIP: without a file, and beside what the operator has done.
func TestKernelRealServerVIP(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	real := r.Client
	r.Run(real, "ip", "addr add 10.0.0.100/32 dev lo")
	r.Check(real.Sysctl("net/ipv4/conf/all/arp_announce", "2"))
	before := state(r, real)
	out, err := real.Run(r.Binary, "realserver", "up", "--vip", "10.0.0.100", "--vip", "10.0.0.101,2001:db8::101", "--as", "10.0.0.9", "--forward", "tun", "--tunnel", "gue:6080")
	r.Check(err)
	if strings.Contains(out, "10.0.0.100") || strings.Contains(out, "all.arp_announce") {
		t.Errorf("what is there was made again:\n%s", out)
	}
	if out, err := real.Run(r.Binary, "realserver", "status", "--vip", "10.0.0.102"); err == nil || !strings.Contains(out, "10.0.0.102 is not on lo") {
		t.Errorf("status: %v\n%s", err, out)
	}
	_, err = real.Run(r.Binary, "realserver", "down")
	r.Check(err)
	if after := state(r, real); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	// The address on the interface itself is the directors' to have.
	r.Run(real, "ip", "addr add 10.0.0.103/32 dev eth0")
	if out, err := real.Run(r.Binary, "realserver", "status", "--vip", "10.0.0.103", "--as", "10.0.0.9"); err == nil || !strings.Contains(out, "10.0.0.103 is on eth0") {
		t.Errorf("status: %v\n%s", err, out)
	}
	for _, args := range []string{"sideways", "up --forward nat --vip 10.0.0.100", "up --vip nowhere", "up --tunnel gue --vip 10.0.0.100"} {
		if _, err := real.Run(r.Binary, append([]string{"realserver"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), "exit status 2") {
			t.Errorf("%s: %v", args, err)
		}
	}
}
