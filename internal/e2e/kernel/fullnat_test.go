//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// fullnatFile has services whose servers are far, alone, beside those of direct routing
// and NAT, by a mark, and with a range of source addresses.
var fullnatFile = strings.NewReplacer(
	`"10.0.0.102/24",`, `"10.0.0.102/24", "10.0.0.150/24", "10.0.0.151/24", "10.0.0.152/24",`,
	`"2001:db8::102/64",`, `"2001:db8::102/64", "2001:db8::150/64",`, `"100ms"`, `"500ms"`,
).Replace(rig.GridFile) + `
[service.four]
listen = ["10.0.0.100:7600/tcp", "10.0.0.100:7600/udp"]
forward = "fullnat"
snat = "10.0.0.150"
check = { type = "tcp", interval = "300ms", timeout = "300ms", fall = 3, through = "server" }
[[service.four.server]]
address = "10.9.0.21"
[service.six]
listen = ["[2001:db8::100]:7600/tcp", "[2001:db8::100]:7600/udp"]
forward = "fullnat"
snat = "2001:db8::150"
[[service.six.server]]
address = "2001:db8:9::21"
[service.beside]
listen = ["10.0.0.100:7601/tcp", "10.0.0.100:7601/udp"]
forward = "fullnat"
snat = "10.0.0.150"
scheduler = "rr"
[[service.beside.server]]
address = "10.9.0.21"
[[service.beside.server]]
address = "10.0.0.21"
forward = "dr"
[[service.beside.server]]
address = "10.1.0.23"
forward = "nat"
[service.mapped]
listen = "10.0.0.101:80/tcp"
forward = "fullnat"
snat = "10.0.0.150"
check = { type = "tcp", interval = "300ms", timeout = "300ms", fall = 3, through = "service" }
[[service.mapped.server]]
address = "10.9.0.21:7600"
[service.marked]
listen = ["10.0.0.101:7600-7601/tcp", "10.0.0.101:7600/udp"]
forward = "fullnat"
snat = "10.0.0.150"
[[service.marked.server]]
address = "10.9.0.21"
[service.pool]
listen = "10.0.0.102:7600/tcp"
forward = "fullnat"
snat = "10.0.0.151-10.0.0.152"
[[service.pool.server]]
address = "10.9.0.21"
[sync]
interface = "eth1"
id = 3
`

// TestKernelFullNAT: servers that are anywhere see lvsha's source address, beside others
// that see the client's; connections go on over a failover and back; a stop leaves no
// rule and no parameter behind.
func TestKernelFullNAT(t *testing.T) {
	r := rig.NewGrid(t)
	far := r.Far()
	for _, protocol := range []string{"tcp", "udp"} {
		for _, at := range []string{"10.9.0.21:7600", "10.9.0.21:7601", "[2001:db8:9::21]:7600"} {
			r.Talk(far, protocol, netip.MustParseAddrPort(at))
		}
		r.Talk(r.DR, protocol, netip.MustParseAddrPort("10.0.0.100:7601"))
		r.Talk(r.NAT, protocol, netip.MustParseAddrPort("10.1.0.23:7601"))
	}
	sysctls := []string{"net/ipv4/vs/conntrack", "net/netfilter/nf_conntrack_tcp_be_liberal"}
	values := func(h *lab.Host) (out []string) {
		for _, name := range sysctls {
			text, err := h.ReadFile("/proc/thread-self/root/proc/sys/" + name)
			r.Check(err)
			out = append(out, strings.TrimSpace(string(text)))
		}
		return out
	}
	before := values(r.LVS[0])
	// What many a machine has: source NAT of its own for what leaves it.
	var own []string
	for i, h := range r.LVS {
		for family, rule := range map[string]string{"ip": "ip daddr 10.9.0.21 snat to 10.0.0.%d", "ip6": "ip6 daddr 2001:db8:9::21 snat to 2001:db8::%d"} {
			r.Run(h, "nft", "add table "+family+" site")
			r.Run(h, "nft", "add chain "+family+" site out { type nat hook postrouting priority srcnat; }")
			r.Run(h, "nft", "add rule "+family+" site out "+fmt.Sprintf(rule, i+1))
		}
		own = append(own, ruleset(r.Rig, h))
	}

	// Without manage_sysctls what is missing is named.
	bare := strings.Replace(fullnatFile, "manage_sysctls = true", "", 1)
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(bare), 0o644))
	d1 := r.Again(r.LVS[0])
	r.Active(d1)
	for _, name := range sysctls {
		r.Eventually(name+" is named", 30*time.Second, func() bool {
			s, err := d1.Status()
			return err == nil && slices.ContainsFunc(s.Problems, func(p string) bool { return strings.HasPrefix(p, strings.ReplaceAll(name, "/", ".")+" = 0: ") })
		})
	}
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(fullnatFile), 0o644))
	r.Run(r.LVS[0], r.Binary, "reload")
	d2 := r.Lvsha(r.LVS[1], fullnatFile)
	whole := func(d *lab.Daemon) {
		t.Helper()
		ready := func() bool {
			s, err := d.Status()
			return err == nil && s.IPVS.State == "ok" && s.Filter != nil && s.Filter.State == "ok" && len(s.Sync.Daemons) == 2 &&
				!strings.Contains(fmt.Sprint(s.Problems), "net.") && r.Server(d, "mapped").State == "up" && r.Server(d, "four").State == "up"
		}
		if _, err := lab.Eventually("", 20*time.Second, ready); err != nil {
			s, _ := d.Status()
			t.Fatalf("not all is in place: %+v %+v %+v %q %+v", s.IPVS, s.Filter, s.Sync, s.Problems, r.Server(d, "mapped"))
		}
	}
	whole(d1)
	whole(d2)
	r.Roles(d1, d2)

	// What each server sees.
	for _, c := range []struct{ protocol, to, want string }{
		{"tcp", "10.0.0.100:7600", "far 10.0.0.150>10.9.0.21:7600"},
		{"udp", "10.0.0.100:7600", "far 10.0.0.150>10.9.0.21:7600"},
		{"tcp", "[2001:db8::100]:7600", "far 2001:db8::150>[2001:db8:9::21]:7600"},
		{"udp", "[2001:db8::100]:7600", "far 2001:db8::150>[2001:db8:9::21]:7600"},
		{"tcp", "10.0.0.101:80", "far 10.0.0.150>10.9.0.21:7600"},
		{"tcp", "10.0.0.101:7601", "far 10.0.0.150>10.9.0.21:7601"},
		{"udp", "10.0.0.101:7600", "far 10.0.0.150>10.9.0.21:7600"},
	} {
		got := r.Open(r.Client, c.protocol, netip.MustParseAddrPort(c.to)).Says(6 * time.Second)
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.protocol, c.to, got, c.want)
		}
		fmt.Printf("matrix: fullnat %s %s: %s\n", c.protocol, c.to, got)
	}
	// The server itself may be a client, which direct routing and NAT do not allow.
	for _, protocol := range []string{"tcp", "udp"} {
		if got := r.Open(far, protocol, netip.MustParseAddrPort("10.0.0.100:7600")).Says(6 * time.Second); got != "far 10.0.0.150>10.9.0.21:7600" {
			t.Errorf("%s from the server itself: %s", protocol, got)
		}
	}
	for _, protocol := range []string{"tcp", "udp"} {
		seen := make(map[string]int)
		for range 6 {
			seen[r.Open(r.Client, protocol, netip.MustParseAddrPort("10.0.0.100:7601")).Says(6*time.Second)]++
		}
		for _, want := range []string{"far 10.0.0.150>10.9.0.21:7601", "dr 10.0.0.9>10.0.0.100:7601", "nat 10.0.0.9>10.1.0.23:7601"} {
			if seen[want] != 2 {
				t.Errorf("%s: %d of %q among %v", protocol, seen[want], want, seen)
			}
			fmt.Printf("matrix: fullnat beside others, %s: %d of 6 %s\n", protocol, seen[want], want)
		}
	}
	// One client has one source address of several, whoever is active.
	pooled := r.Open(r.Client, "tcp", netip.MustParseAddrPort("10.0.0.102:7600")).Says(6 * time.Second)
	if pooled != "far 10.0.0.151>10.9.0.21:7600" && pooled != "far 10.0.0.152>10.9.0.21:7600" {
		t.Errorf("of a range of source addresses: %s", pooled)
	}

	// Connections that carry data before, after a failover, and after the way back.
	type opened struct {
		*rig.Talking
		to, was string
	}
	var conns []opened
	for _, to := range []string{"10.0.0.100:7600", "[2001:db8::100]:7600", "10.0.0.100:7601", "10.0.0.101:7600", "10.0.0.102:7600"} {
		for _, protocol := range []string{"tcp", "udp"} {
			if protocol == "udp" && to == "10.0.0.102:7600" {
				continue
			}
			for range 9 {
				c := r.Open(r.Client, protocol, netip.MustParseAddrPort(to))
				conns = append(conns, opened{c, protocol + " " + to, ""})
			}
		}
	}
	for range 4 { // used, so that the kernel tells of them, and over its two seconds
		for i := range conns {
			conns[i].was = conns[i].Says(6 * time.Second)
		}
		r.Settle(time.Second)
	}
	survive := func(where string) {
		t.Helper()
		alive := make(map[string]int)
		for _, c := range conns {
			got := c.Says(6 * time.Second)
			if got != c.was {
				t.Errorf("%s, %s: %s, and before %s", where, c.to, got, c.was)
				continue
			}
			alive[c.to]++
		}
		t.Logf("%s: %v of 9 each", where, alive)
	}
	survive("before")
	r.Run(r.LVS[0], r.Binary, "yield")
	r.Roles(d2, d1)
	survive("after a failover")
	r.Settle(3 * time.Second) // what is said here is told there
	r.Run(r.LVS[0], r.Binary, "yield --back")
	r.Roles(d1, d2)
	survive("back again")
	if again := r.Open(r.Client, "tcp", netip.MustParseAddrPort("10.0.0.102:7600")).Says(6 * time.Second); again != pooled {
		t.Errorf("a client has another source address: %s, and before %s", again, pooled)
	}
	// The active dies.
	r.Check(r.Ports[0].Cut())
	r.Check(d1.Kill())
	r.Active(d2)
	survive("after a death")
	r.Check(r.Ports[0].Mend())

	if code, err := d2.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.Run(r.LVS[0], r.Binary, "cleanup --all")
	for i, h := range r.LVS {
		if rules, now := ruleset(r.Rig, h), values(h); rules != own[i] || !slices.Equal(now, before) {
			t.Errorf("lvs%d has left %v, was %v, and\n%s", i+1, now, before, rules)
		}
	}
}
