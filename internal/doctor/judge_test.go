package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"lvsha/internal/config"
	"lvsha/vrrp"
)

const file = `
[director.lvs1]
address = "192.0.2.1"
[director.lvs2]
address = "192.0.2.2"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24", "10.1.0.254/24 dev eth1"]
[service.dr]
listen = ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"]
forward = "dr"
[[service.dr.server]]
address = "192.0.2.21"
[[service.dr.server]]
address = "192.0.2.22"
[service.nat]
listen = "192.0.2.10:81/tcp"
forward = "nat"
[[service.nat.server]]
address = "10.1.0.23:8080"
[service.tun]
listen = "192.0.2.10:82/tcp"
forward = "tun"
[[service.tun.server]]
address = "203.0.113.24"
`

// world is a network around a director, in which everything is well but what a test
// changes.
type world struct {
	active bool
	// owners answer for virtual addresses, on interfaces: "eth0 192.0.2.10".
	owners map[string][]mac
	// silent answers no ping, deaf does not take packets for virtual addresses, and lost
	// are servers whose answers to strangers go another way.
	silent, deaf, lost map[string]bool
	// room is the largest packet to the tunnel's end, and told whether a router says so.
	room int
	told bool
	// advertises is whether lvs2's advertisements are heard.
	advertises bool
}

var (
	lvs2MAC   = mac{2, 0, 0, 0, 0, 0x22}
	lvs2Back  = mac{2, 0, 0, 0, 1, 0x22}
	server21  = mac{2, 0, 0, 0, 0, 0x21}
	server22  = mac{2, 0, 0, 0, 0, 0x32}
	server23  = mac{2, 0, 0, 0, 0, 0x23}
	nobodyMAC = mac{2, 0, 0, 0, 0, 0x99}
)

func (w world) facts() facts {
	link := func(name string, last byte, addresses ...string) vrrp.Link {
		l := vrrp.Link{Name: name, Up: true, MAC: mac{2, 0, 0, 0, last, 1}}
		for _, a := range addresses {
			l.Addresses = append(l.Addresses, netip.MustParsePrefix(a))
		}
		return l
	}
	eth0, eth1 := []string{"192.0.2.1/24"}, []string{"10.1.0.1/24"}
	if w.active {
		eth0, eth1 = append(eth0, "192.0.2.10/24"), append(eth1, "10.1.0.254/24")
	}
	return facts{
		links: []vrrp.Link{link("eth0", 0, eth0...), link("eth1", 1, eth1...)},
		mtu:   map[string]int{"eth0": 1500, "eth1": 1500},
		iface: func(a netip.Addr) string {
			if netip.MustParsePrefix("10.1.0.0/24").Contains(a) {
				return "eth1"
			}
			return "eth0"
		},
		neighbours: map[netip.Addr]mac{
			netip.MustParseAddr("192.0.2.2"): lvs2MAC, netip.MustParseAddr("192.0.2.21"): server21,
			netip.MustParseAddr("192.0.2.22"): server22, netip.MustParseAddr("10.1.0.23"): server23,
		},
	}
}

// answer is what is heard when everything of a plan has been asked.
func (w world) answer(p *plan) (out []heard) {
	reply := func(from mac, of netip.Addr, seq uint16) {
		out = append(out, heard{iface: "eth0", from: from, reply: of, id: p.id, seq: seq})
	}
	for _, q := range p.owners {
		for _, m := range w.owners[q.iface+" "+q.vip.String()] {
			out = append(out, heard{iface: q.iface, from: m, owner: q.vip})
		}
	}
	for _, t := range p.takers {
		if !w.silent[t.server.String()] {
			reply(t.mac, t.server, t.itself)
			if !w.deaf[t.server.String()] {
				reply(t.mac, t.vip, t.asked)
			} else {
				reply(lvs2MAC, t.vip, t.asked) // to whom a server that forwards hands it
			}
		}
	}
	for _, g := range p.gateways {
		reply(g.mac, g.server, g.itself)
		if !w.lost[g.server.String()] {
			reply(g.mac, g.server, g.asked)
		}
	}
	for _, q := range p.paths {
		for seq, n := range q.asked {
			if n <= w.room {
				reply(nobodyMAC, q.server, seq)
			}
		}
		if w.told {
			out = append(out, heard{iface: "eth0", tooBig: q.server})
		}
	}
	if w.advertises {
		out = append(out, heard{iface: "eth0", from: lvs2MAC, router: netip.MustParseAddr("192.0.2.2"), vrid: 51})
	}
	return out
}

// TestGrowth: what there is to ask, and to make of the answers, grows with the servers and
// not with their square.
func TestGrowth(t *testing.T) {
	build := func(servers int) (ask func()) {
		var text strings.Builder
		text.WriteString("[director.lvs1]\naddress = \"192.0.2.1\"\n[director.lvs2]\naddress = \"192.0.2.2\"\n[vrrp.web]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.10/24\"]\n")
		f := world{}.facts()
		for i := range servers {
			if i%10 == 0 {
				fmt.Fprintf(&text, "[service.s%d]\nlisten = \"192.0.2.10:%d/tcp\"\nforward = \"dr\"\n", i/10, 1000+i/10)
			}
			a := netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})
			fmt.Fprintf(&text, "[[service.s%d.server]]\naddress = %q\n", i/10, a)
			f.neighbours[a] = mac{2, 1, 0, 0, byte(i >> 8), byte(i)}
		}
		cfg, err := config.Parse("lvsha.toml", []byte(text.String()), config.Identity{As: "lvs1"})
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			p := newPlan(cfg, f, 7, func(bool) netip.Addr { return netip.MustParseAddr("198.51.100.1") })
			w := world{owners: map[string][]mac{}, advertises: true}
			for _, q := range p.owners { // every server answers for the address
				for i := range servers {
					w.owners[q.iface+" "+q.vip.String()] = append(w.owners[q.iface+" "+q.vip.String()], mac{2, 1, 0, 0, byte(i >> 8), byte(i)})
				}
			}
			if n := len(p.judge(w.answer(p)).Findings); n < servers {
				t.Fatalf("%d findings of %d servers", n, servers)
			}
		}
	}
	spent := func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	const mostGrowth, besides, rounds = 15, 4 * time.Millisecond, 12
	few, many := build(1000), build(10_000)
	best := [2]time.Duration{time.Hour, time.Hour}
	for round := 0; round < 3 || round < rounds && best[1] > mostGrowth*(best[0]+besides); round++ {
		for i, do := range []func(){few, many} {
			start := spent()
			do()
			best[i] = min(best[i], spent()-start)
		}
	}
	t.Logf("%v with 1,000 servers, %v with 10,000", best[0], best[1])
	if best[1] > mostGrowth*(best[0]+besides) {
		t.Errorf("%v with 1,000 servers and %v with 10,000", best[0], best[1])
	}
}

// TestJudge: of each fault exactly that, and of none nothing.
func TestJudge(t *testing.T) {
	cfg, err := config.Parse("lvsha.toml", []byte(file), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	set := func(names ...string) map[string]bool {
		out := make(map[string]bool)
		for _, n := range names {
			out[n] = true
		}
		return out
	}
	active := func(change func(*world)) world {
		w := world{active: true, owners: map[string][]mac{}, room: 1500}
		change(&w)
		return w
	}
	backup := func(change func(*world)) world {
		w := world{owners: map[string][]mac{"eth0 192.0.2.10": {lvs2MAC}, "eth1 10.1.0.254": {lvs2Back}}, room: 1500, advertises: true}
		change(&w)
		return w
	}
	for _, c := range []struct {
		name     string
		w        world
		want     string
		evidence string
		skipped  string
	}{
		{"active", active(func(*world) {}), "", "", ""},
		{"backup", backup(func(*world) {}), "", "", ""},
		{"a server answers", active(func(w *world) { w.owners["eth0 192.0.2.10"] = []mac{server22} }), "arp 192.0.2.10", "192.0.2.22 of service dr answers ARP", ""},
		{"a server answers beside the director", backup(func(w *world) { w.owners["eth0 192.0.2.10"] = []mac{lvs2MAC, server22} }), "arp 192.0.2.10", server22.String(), ""},
		{"somebody answers", active(func(w *world) { w.owners["eth1 10.1.0.254"] = []mac{nobodyMAC} }), "arp 10.1.0.254", nobodyMAC.String(), ""},
		{"somebody answers beside the director", backup(func(w *world) { w.owners["eth1 10.1.0.254"] = []mac{lvs2Back, nobodyMAC} }), "arp 10.1.0.254", nobodyMAC.String(), ""},
		{"a server answers where directors have no address", backup(func(w *world) { w.owners["eth1 10.1.0.254"] = []mac{server23} }), "arp 10.1.0.254", "10.1.0.23", ""},
		{"no address on lo", active(func(w *world) { w.deaf = set("192.0.2.21") }), "vip 192.0.2.21", server21.String(), ""},
		{"no end of the tunnel", active(func(w *world) { w.deaf = set("203.0.113.24") }), "", "", ""}, // a reply by whatever way is one
		{"no ping", active(func(w *world) { w.silent, w.deaf = set("192.0.2.21"), set("192.0.2.21") }), "", "", "192.0.2.21"},
		{"another gateway", active(func(w *world) { w.lost = set("10.1.0.23") }), "gateway 10.1.0.23", "default via 10.1.0.254", ""},
		{"another gateway, unknown to a backup", backup(func(w *world) { w.lost = set("10.1.0.23") }), "", "", ""},
		{"a narrow path", active(func(w *world) { w.room = 1400 }), "mtu 203.0.113.24", "1380", ""},
		{"a narrow path that says so", active(func(w *world) { w.room, w.told = 1400, true }), "", "", ""},
		{"nothing gets there", active(func(w *world) { w.room, w.silent = 0, set("203.0.113.24") }), "", "", "203.0.113.24"},
		{"no advertisements", backup(func(w *world) { w.advertises = false }), "multicast web", "lvs2 (192.0.2.2)", ""},
		{"two active, deaf here", active(func(w *world) { w.owners["eth0 192.0.2.10"] = []mac{lvs2MAC} }), "multicast web", lvs2MAC.String(), ""},
		{"two active, deaf there", active(func(w *world) { w.owners["eth0 192.0.2.10"], w.advertises = []mac{lvs2MAC}, true }), "arp 192.0.2.10", "lvs2 (192.0.2.2)", ""},
	} {
		p := newPlan(cfg, c.w.facts(), 7, func(bool) netip.Addr { return netip.MustParseAddr("198.51.100.1") })
		report := p.judge(c.w.answer(p))
		var got []string
		for _, f := range report.Findings {
			got = append(got, fmt.Sprintf("%s %s", f.Kind, f.Object))
			if !strings.Contains(f.String(), c.evidence) || f.Evidence == "" || f.Remedy == "" {
				t.Errorf("%s: no %q in\n%s", c.name, c.evidence, f)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%v", c.name, diff, report.Findings)
		}
		if skipped := strings.Join(report.Skipped, "\n"); !strings.Contains(skipped, c.skipped) || c.skipped == "" && skipped != "" {
			t.Errorf("%s: skipped %q, want %q", c.name, skipped, c.skipped)
		}
	}
}
