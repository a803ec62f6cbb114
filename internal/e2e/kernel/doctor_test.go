//go:build ipvskernel

package kernel_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/internal/doctor"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// clinic is a pair of directors with a server of each method, all of them well:
//
//	client .9, lvs1 .1, lvs2 .2 ── 10.0.0.0/24, 2001:db8::/64   ── dr .21, tun .22
//	           lvs1 .1, lvs2 .2 ── 10.1.0.0/24, 2001:db8:1::/64 ── nat .23
type clinic struct {
	*rig.Grid
	daemons [2]*lab.Daemon
}

const clinicFile = `
manage_sysctls = true
[director.lvs1]
address  = ["10.0.0.1", "2001:db8::1"]
priority = 150
[director.lvs2]
address  = ["10.0.0.2", "2001:db8::2"]
[vrrp.four]
interface = "eth0"
vrid      = 51
advertise = "500ms"
addresses = ["10.0.0.100/24", "10.0.0.101/24", "10.0.0.102/24", "10.1.0.254/24 dev eth1"]
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "500ms"
addresses = ["2001:db8::100/64", "2001:db8::101/64", "2001:db8::102/64", "2001:db8:1::254/64 dev eth1"]
[service.dr]
listen  = ["10.0.0.100:80/tcp", "10.0.0.100:443/tcp"]
forward = "dr"
[[service.dr.server]]
address = "10.0.0.21"
[service.dr6]
listen  = "[2001:db8::100]:80/tcp"
forward = "dr"
[[service.dr6.server]]
address = "2001:db8::21"
[service.nat]
listen  = "10.0.0.101:80/tcp"
forward = "nat"
[[service.nat.server]]
address = "10.1.0.23:8080"
[service.nat6]
listen  = "[2001:db8::101]:80/tcp"
forward = "nat"
[[service.nat6.server]]
address = "[2001:db8:1::23]:8080"
[service.tun]
listen  = "10.0.0.102:80/tcp"
forward = "tun"
[[service.tun.server]]
address = "10.0.0.22"
[service.gue]
listen  = "10.0.0.102:81/tcp"
forward = "tun"
tunnel  = { type = "gue", port = 6080 }
[[service.gue.server]]
address = "10.0.0.22"
[service.gre]
listen  = "10.0.0.102:82/tcp"
forward = "tun"
tunnel  = { type = "gre", checksum = "plain" }
[[service.gre.server]]
address = "10.0.0.22"
[service.tun6]
listen  = "[2001:db8::102]:80/tcp"
forward = "tun"
[[service.tun6.server]]
address = "2001:db8::22"
`

func newClinic(t *testing.T) *clinic {
	t.Helper()
	r := &clinic{Grid: rig.NewGrid(t)}
	// The servers' halves are lvsha's, not those of the grid.
	for _, h := range []*lab.Host{r.DR, r.TUN} {
		for _, address := range []string{"10.0.0.100/32", "10.0.0.102/32", "2001:db8::100/128", "2001:db8::102/128"} {
			h.Run("ip", "addr", "del", address, "dev", "lo") // of some the host has none
		}
		for _, name := range []string{"ipip", "sit", "ip6"} {
			h.Run("ip", "link", "del", name)
		}
		r.Check(h.WriteFile(rig.ConfigPath, []byte(clinicFile), 0o644))
		_, err := h.Run(r.Binary, "realserver", "up", "-c", rig.ConfigPath)
		r.Check(err)
	}
	for i, h := range r.LVS {
		r.daemons[i] = r.Lvsha(h, clinicFile)
	}
	r.Roles(r.daemons[0], r.daemons[1])
	return r
}

// examine runs the doctor on a host.
func (r *clinic) examine(h *lab.Host, args ...string) doctor.Report {
	r.Helper()
	out, err := h.Run(r.Binary, append([]string{"doctor", "--json"}, args...)...)
	var report doctor.Report
	if e := json.Unmarshal([]byte(out), &report); e != nil {
		r.Fatalf("doctor on %s: %v, %v\n%s", h.Name, err, e, out)
	}
	if (err != nil) != (len(report.Findings) > 0) {
		r.Errorf("doctor on %s finds %d faults, and ends with %v", h.Name, len(report.Findings), err)
	}
	return report
}

// finds fails the test unless the doctor on a host finds what is wanted, each "kind object",
// and nothing else, with the words of evidence.
func (r *clinic) finds(what string, h *lab.Host, evidence string, want ...string) {
	r.Helper()
	report := r.examine(h)
	var got []string
	report.Findings = slices.DeleteFunc(report.Findings, func(f doctor.Finding) bool {
		// The machine of the tests is a slow one.
		return f.Kind == doctor.Status && (strings.Contains(f.Text, "did not run for") || strings.Contains(f.Text, "late"))
	})
	for _, f := range report.Findings {
		got = append(got, fmt.Sprintf("%s %s", f.Kind, f.Object))
		if !strings.Contains(f.String(), evidence) {
			r.Errorf("%s, on %s: no %q in:\n%s", what, h.Name, evidence, f)
		}
		if f.Remedy == "" {
			r.Errorf("%s, on %s: no remedy: %s", what, h.Name, f)
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.Errorf("%s, on %s: found %q, want %q\n%v\nskipped %q", what, h.Name, got, want, report.Findings, report.Skipped)
		return
	}
	for _, f := range report.Findings {
		r.Logf("%s, on %s: %s", what, h.Name, f)
	}
}

// do runs commands on a host: "ip …; sysctl NAME VALUE".
func (r *clinic) do(h *lab.Host, commands string) {
	r.Helper()
	for command := range strings.SplitSeq(commands, "; ") {
		words := strings.Fields(command)
		if words[0] == "sysctl" {
			r.Check(h.Sysctl(words[1], words[2]))
			continue
		}
		_, err := h.Run(words[0], words[1:]...)
		r.Check(err)
	}
}

// macOf is the hardware address of a host's eth0.
func (r *clinic) macOf(h *lab.Host) string {
	r.Helper()
	text, err := h.ReadFile("/proc/thread-self/root/sys/class/net/eth0/address")
	r.Check(err)
	return strings.TrimSpace(string(text))
}

// TestKernelDoctor: nothing is found where nothing is wrong, and of each fault exactly
// that.
func TestKernelDoctor(t *testing.T) {
	t.Parallel()
	r := newClinic(t)
	active, backup := r.LVS[0], r.LVS[1]
	for _, h := range r.LVS {
		r.finds("healthy", h, "")
		if report := r.examine(h); len(report.Skipped) > 0 || len(report.Looked) < 15 {
			t.Errorf("healthy, on %s: skipped %q\nlooked at %q", h.Name, report.Skipped, report.Looked)
		}
	}
	for n, f := range []struct {
		name       string
		host       *lab.Host
		break_     string
		fix        string
		evidence   string
		active, by []string // found on the active director, and on the backup
	}{
		{
			"a server answers ARP", r.DR, "sysctl net/ipv4/conf/all/arp_ignore 0; sysctl net/ipv4/conf/eth0/arp_ignore 0", "sysctl net/ipv4/conf/all/arp_ignore 1; sysctl net/ipv4/conf/eth0/arp_ignore 1",
			"MAC address " + r.macOf(r.DR), []string{"arp 10.0.0.100"}, []string{"arp 10.0.0.100"},
		},
		{
			"a server answers neighbour solicitations", r.DR, "ip addr add 2001:db8::100/128 dev eth0 nodad", "ip addr del 2001:db8::100/128 dev eth0",
			"MAC address " + r.macOf(r.DR), []string{"arp 2001:db8::100"}, []string{"arp 2001:db8::100"},
		},
		{
			"a machine of nobody's has the address", r.Client, "ip addr add 10.0.0.101/32 dev eth0", "ip addr del 10.0.0.101/32 dev eth0",
			"MAC address " + r.macOf(r.Client), []string{"arp 10.0.0.101"}, []string{"arp 10.0.0.101"},
		},
		{
			"no address on lo", r.DR, "ip addr del 10.0.0.100/32 dev lo", "ip addr add 10.0.0.100/32 dev lo",
			r.macOf(r.DR), []string{"vip 10.0.0.21"}, []string{"vip 10.0.0.21"},
		},
		{
			"no IPv6 address on lo", r.DR, "ip addr del 2001:db8::100/128 dev lo", "ip addr add 2001:db8::100/128 dev lo nodad preferred_lft 0",
			r.macOf(r.DR), []string{"vip 2001:db8::21"}, []string{"vip 2001:db8::21"},
		},
		{
			"a gateway past the director", r.NAT, "ip route replace default via 10.1.0.99", "ip route replace default via 10.1.0.254",
			"ip route replace default via 10.1.0.254 on 10.1.0.23", []string{"gateway 10.1.0.23"}, nil,
		},
		{
			"no end of the GRE tunnel", r.TUN, "ip link set lvsha-gre down", "ip link set lvsha-gre up",
			"gre checksum plain", []string{"vip 10.0.0.22"}, []string{"vip 10.0.0.22"},
		},
		{
			"no port of GUE", r.TUN, "ip fou del port 6080", "ip fou add port 6080 gue",
			"gue port 6080", []string{"vip 10.0.0.22"}, []string{"vip 10.0.0.22"},
		},
		{
			"no gateway of IPv6", r.NAT, "ip -6 route del default", "ip -6 route add default via 2001:db8:1::254",
			"ip -6 route replace default via 2001:db8:1::254 on 2001:db8:1::23", []string{"gateway 2001:db8:1::23"}, nil,
		},
		{
			"too little room on the path", r.TUN, "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500",
			"a ping of 1400 bytes that may not be fragmented is answered, larger ones are not; the tunnel (ipip) adds 20 bytes", []string{"mtu 10.0.0.22", "mtu 2001:db8::22"}, []string{"mtu 10.0.0.22", "mtu 2001:db8::22"},
		},
	} {
		r.do(f.host, f.break_)
		evidence := f.evidence
		if strings.HasPrefix(f.name, "too little") {
			evidence = "1400 bytes that may not be fragmented"
		}
		r.finds(f.name, active, evidence, f.active...)
		if n < 5 { // the others are no different there, but for the gateway
			r.finds(f.name, backup, evidence, f.by...)
		}
		r.do(f.host, f.fix)
	}
	for _, h := range r.LVS {
		r.finds("healthy again", h, "")
	}
}

// TestKernelDoctorAlone: kernel parameters, and what is found without a daemon, with
// servers that do not answer and without IPVS addresses here.
func TestKernelDoctorAlone(t *testing.T) {
	t.Parallel()
	r := newClinic(t)
	h := r.LVS[0]
	unmanaged := strings.Replace(clinicFile, "manage_sysctls = true", "", 1)
	r.Check(h.WriteFile(rig.ConfigPath, []byte(unmanaged), 0o644))
	if _, err := h.Run(r.Binary, "reload"); err != nil {
		t.Fatal(err)
	}
	r.Check(h.Sysctl("net/ipv4/ip_forward", "0"))
	r.finds("ip_forward is off", h, "sysctl -w net.ipv4.ip_forward=1", "sysctl net.ipv4.ip_forward")
	r.Check(h.Sysctl("net/ipv6/conf/all/forwarding", "0"))
	r.finds("forwarding is off", h, "not passed on to the clients", "sysctl net.ipv4.ip_forward", "sysctl net.ipv6.conf.all.forwarding")
	r.Check(h.Sysctl("net/ipv4/ip_forward", "1"))
	r.Check(h.Sysctl("net/ipv6/conf/all/forwarding", "1"))

	// Addresses on an interface with the virtual router's MAC address are asked for on the
	// one below, of which the active director hears itself.
	virtual := strings.Replace(clinicFile, "vrid      = 51", "vrid      = 51\nvirtual_mac = true", 1)
	for i, host := range r.LVS {
		r.Check(host.WriteFile(rig.ConfigPath, []byte(virtual), 0o644))
		if _, err := host.Run(r.Binary, "reload"); err != nil {
			t.Fatal(err)
		}
		r.Eventually("the address has moved", 30*time.Second, func() bool { return i == 1 || r.Has(host, rig.VIP) })
	}
	r.Eventually("one director is active", 30*time.Second, func() bool {
		return r.daemons[0].Router("four").State == "active" && r.daemons[1].Router("four").State == "backup"
	})
	for _, host := range r.LVS {
		r.finds("virtual MAC addresses", host, "")
	}

	for _, d := range r.daemons {
		r.Check(d.Kill())
	}
	r.Run(r.DR, "ip", "addr del 10.0.0.100/32 dev lo")
	report := r.examine(h, "-c", rig.ConfigPath)
	if len(report.Findings) != 1 || report.Findings[0].Kind != doctor.VIP || !strings.Contains(strings.Join(report.Skipped, "\n"), "none is running") {
		t.Errorf("without a daemon: %v\nskipped %q", report.Findings, report.Skipped)
	}
	out, err := h.Run(r.Binary, "doctor", "-c", rig.ConfigPath, "-v")
	if err == nil || !strings.Contains(out, "! the real server 10.0.0.21 of service dr does not take packets for 10.0.0.100") || !strings.Contains(out, "1 fault") {
		t.Errorf("in words: %v\n%s", err, out)
	}
	r.Check(r.DR.Sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
	report = r.examine(h, "-c", rig.ConfigPath)
	if len(report.Findings) != 0 || !strings.Contains(strings.Join(report.Skipped, "\n"), "whether 10.0.0.21 takes packets for 10.0.0.100: it does not answer to ping at all") {
		t.Errorf("of a server that does not answer to ping: %v\nskipped %q", report.Findings, report.Skipped)
	}
}

// TestKernelDoctorMulticast: a director that does not hear the other one's advertisements,
// and so is active too.
func TestKernelDoctorMulticast(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	r.Becomes(r.Lvsha(r.LVS[0], rig.VRRPFile(3, 500*time.Millisecond)), "active")
	r.Check(r.Ports[1].Deafen())
	r.Becomes(r.Lvsha(r.LVS[1], rig.VRRPFile(3, 500*time.Millisecond)), "active")
	c := &clinic{Grid: &rig.Grid{Rig: r}}
	report := c.examine(r.LVS[1])
	found := false
	for _, f := range report.Findings {
		switch {
		case f.Kind == doctor.Multicast:
			found = strings.Contains(f.Text, "lvs1 (10.0.0.1)") && strings.Contains(f.Evidence, c.macOf(r.LVS[0]))
		case f.Kind != doctor.Status: // which tells of the conflict
			t.Errorf("found %s", f)
		}
	}
	if !found {
		t.Errorf("found %v, skipped %q", report.Findings, report.Skipped)
	}
	t.Log(report.Findings)
}
