//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// localFile has services whose servers are both directors and one more machine.
var localFile = strings.ReplaceAll(rig.GridFile, `"100ms"`, `"500ms"`) + `
[service.web]
listen = ["10.0.0.100:7800/tcp", "10.0.0.100:7800/udp"]
forward = "local"
scheduler = "rr"
[[service.web.server]]
address = "10.0.0.1"
[[service.web.server]]
address = "10.0.0.2"
[[service.web.server]]
address = "10.0.0.21"
forward = "dr"
[service.web6]
listen = ["[2001:db8::100]:7800/tcp", "[2001:db8::100]:7800/udp"]
forward = "local"
scheduler = "rr"
[[service.web6.server]]
address = "2001:db8::1"
[[service.web6.server]]
address = "2001:db8::2"
[[service.web6.server]]
address = "2001:db8::21"
forward = "dr"
# The same by direct routing, in one service of several ports.
[service.ports]
listen = ["10.0.0.100:7810-7811/tcp"]
forward = "dr"
scheduler = "rr"
[[service.ports.server]]
address = "10.0.0.1"
[[service.ports.server]]
address = "10.0.0.2"
# Whoever is active, itself.
[service.page]
listen = "10.0.0.100:7820/tcp"
forward = "local"
[[service.page.server]]
address = "127.0.0.1"
[sync]
interface = "eth1"
id = 4
`

// received counts the packets that a host has received on its segment with clients.
func received(r *rig.Rig, h *lab.Host) int {
	r.Helper()
	text, err := h.ReadFile("/sys/class/net/eth0/statistics/rx_packets")
	r.Check(err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	r.Check(err)
	return n
}

// TestKernelLocal: both directors are servers themselves. Every request is answered, by
// all servers in turn, and no packet goes round, before a failover, after it and after
// the way back; connections go on.
func TestKernelLocal(t *testing.T) {
	r := rig.NewGrid(t)
	for _, h := range []*lab.Host{r.LVS[0], r.LVS[1], r.DR} {
		if h != r.DR {
			r.Run(h, "ip", "addr add 10.0.0.100/32 dev lo")
			r.Run(h, "ip", "addr add 2001:db8::100/128 dev lo nodad")
		}
		for _, protocol := range []string{"tcp", "udp"} {
			for _, at := range []string{"10.0.0.100:7800", "[2001:db8::100]:7800"} {
				r.Talk(h, protocol, netip.MustParseAddrPort(at))
			}
		}
		for _, at := range []string{"10.0.0.100:7810", "10.0.0.100:7811", "10.0.0.100:7820"} {
			r.Talk(h, "tcp", netip.MustParseAddrPort(at))
		}
	}
	d1 := r.Lvsha(r.LVS[0], localFile)
	r.Active(d1)
	d2 := r.Lvsha(r.LVS[1], localFile)
	ready := func() bool {
		for _, d := range []*lab.Daemon{d1, d2} {
			s, err := d.Status()
			if err != nil || s.IPVS.State != "ok" || s.Filter == nil || s.Filter.State != "ok" || len(s.Sync.Daemons) != 2 || strings.Contains(fmt.Sprint(s.Problems), "net.") {
				return false
			}
		}
		return true
	}
	if _, err := lab.Eventually("", 20*time.Second, ready); err != nil {
		for _, d := range []*lab.Daemon{d1, d2} {
			s, err := d.Status()
			t.Logf("%v %+v %+v %+v %q", err, s.IPVS, s.Filter, s.Sync, s.Problems)
		}
		t.Fatal("not all is in place")
	}
	r.Roles(d1, d2)
	// The active marks what it covers, the backup what it is to serve itself.
	marked := func(h *lab.Host) int { return strings.Count(ruleset(r.Rig, h), "goto mark-4c4f0001") }
	idle := func(which int) {
		t.Helper()
		r.Eventually("the marks are as the roles", 30*time.Second, func() bool { return marked(r.LVS[which]) == 5 && marked(r.LVS[1-which]) == 0 })
	}
	idle(1)

	const requests = 30
	served := func(where string) {
		t.Helper()
		before := received(r.Rig, r.LVS[0]) + received(r.Rig, r.LVS[1])
		asked := 0
		for _, to := range []string{"10.0.0.100:7800", "[2001:db8::100]:7800", "10.0.0.100:7810"} {
			for _, protocol := range []string{"tcp", "udp"} {
				want := 3
				if to == "10.0.0.100:7810" {
					want = 2
					if protocol == "udp" {
						continue
					}
				}
				answers := make(map[string]int)
				for range requests {
					asked++
					c := r.Open(r.Client, protocol, netip.MustParseAddrPort(to))
					got := c.Says(6 * time.Second)
					c.Close()
					name, _, _ := strings.Cut(got, " ")
					answers[name]++
				}
				total := answers["lvs1"] + answers["lvs2"]
				if want == 3 {
					total += answers["dr"]
				}
				if len(answers) != want || total != requests {
					t.Errorf("%s, %s %s: answers %v", where, protocol, to, answers)
				}
				t.Logf("%s, %s %s: answers %v", where, protocol, to, answers)
			}
		}
		// A request is at most seven packets to the active director, and the same on to
		// the other, beside what the directors say to each other.
		packets := received(r.Rig, r.LVS[0]) + received(r.Rig, r.LVS[1]) - before
		t.Logf("%s: %d packets for %d requests", where, packets, asked)
		if packets > 20*asked {
			t.Errorf("%s: packets go round: %d for %d requests", where, packets, asked)
		}
	}
	page := func(want string) {
		t.Helper()
		if got := r.Open(r.Client, "tcp", netip100(7820)).Says(6 * time.Second); got != want+" 10.0.0.9>10.0.0.100:7820" {
			t.Errorf("the page of the active director: %s", got)
		}
		fmt.Printf("matrix: local by a loopback address, %s is active: %s serves\n", want, want)
	}
	page("lvs1")
	served("before")

	type opened struct {
		*rig.Talking
		to, was string
	}
	var conns []opened
	for _, to := range []string{"10.0.0.100:7800", "[2001:db8::100]:7800", "10.0.0.100:7811"} {
		for range 9 {
			conns = append(conns, opened{r.Open(r.Client, "tcp", netip.MustParseAddrPort(to)), to, ""})
		}
	}
	for range 4 {
		for i := range conns {
			conns[i].was = conns[i].Says(6 * time.Second)
		}
		r.Settle(time.Second)
	}
	survive := func(where string) {
		t.Helper()
		alive := 0
		for _, c := range conns {
			if got := c.Says(6 * time.Second); got != c.was {
				t.Errorf("%s, %s: %s, and before %s", where, c.to, got, c.was)
				continue
			}
			alive++
		}
		t.Logf("%s: %d of %d connections go on", where, alive, len(conns))
	}
	survive("before")
	r.Run(r.LVS[0], r.Binary, "yield")
	r.Roles(d2, d1)
	idle(0)
	survive("after a failover")
	page("lvs2")
	served("after a failover")
	r.Settle(3 * time.Second)
	r.Run(r.LVS[0], r.Binary, "yield --back")
	r.Roles(d1, d2)
	idle(1)
	survive("back again")
	served("back again")
	fmt.Println("matrix: directors that are servers: all of three answer, before and after failovers")

	// A restart keeps the roles, and a stop leaves nothing.
	r.Check(d2.Kill())
	d2 = r.Again(r.LVS[1])
	r.Eventually("the backup is back", 15*time.Second, ready)
	r.Roles(d1, d2)
	served("after a crash of the backup")
	for _, d := range []*lab.Daemon{d2, d1} {
		if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
			t.Errorf("stop: %d, %v", code, err)
		}
	}
	for _, h := range r.LVS {
		if rules := ruleset(r.Rig, h); rules != "" {
			t.Errorf("%s has left\n%s", h.Name, rules)
		}
		r.TableIs(h, "")
	}
}
