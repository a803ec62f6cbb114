package director

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

const filterFile = `
[director.lvs1]
address = ["192.0.2.1", "2001:db8::1"]
[director.lvs2]
address = ["192.0.2.2", "2001:db8::2"]
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24", "192.0.2.254/24"]
[service.own]
listen = ["192.0.2.10:80/tcp", "192.0.2.10:0/udp"]
persistence = "5m"
forward = "local"
[[service.own.server]]
address = "192.0.2.1"
[[service.own.server]]
address = "192.0.2.2"
[service.marked]
listen = ["192.0.2.10:443/tcp", "192.0.2.10:8000-8999/udp"]
mark = 7
forward = "dr"
[[service.marked.server]]
address = "192.0.2.2"
[service.far]
listen = ["192.0.2.10:81/tcp", "192.0.2.10:53/udp"]
forward = "fullnat"
snat = "192.0.2.254"
sorry = "10.9.0.99"
[[service.far.server]]
address = "10.9.0.21"
[[service.far.server]]
address = "192.0.2.22"
forward = "nat"
[sync]
interface = "eth0"
protect = true
`

// TestFilterRules: what services need of the packet filter, on each director and in each
// role. A director that is a server marks what is for its services while it is not
// active, but not what is for others on some of all ports.
func TestFilterRules(t *testing.T) {
	const sources = "[4c560000/ffff0000] 192.0.2.254 10.9.0.21, 192.0.2.254 10.9.0.99"
	for _, c := range []struct {
		director string
		active   bool
		want     string
	}{
		{"lvs1", true, "192.0.2.10:443/tcp=7 192.0.2.10:8000-8999/udp=7"},
		{"lvs1", false, "192.0.2.10:80/tcp=4c4f0001 192.0.2.10:0-52/udp=4c4f0001 192.0.2.10:54-7999/udp=4c4f0001 192.0.2.10:9000-65535/udp=4c4f0001 192.0.2.10:443/tcp=7 192.0.2.10:8000-8999/udp=7"},
		{"lvs2", true, "192.0.2.10:443/tcp=7 192.0.2.10:8000-8999/udp=7"},
		{"lvs2", false, "192.0.2.10:443/tcp=4c4f0001 192.0.2.10:8000-8999/udp=4c4f0001 192.0.2.10:80/tcp=4c4f0001 192.0.2.10:0-52/udp=4c4f0001 192.0.2.10:54-7999/udp=4c4f0001 192.0.2.10:9000-65535/udp=4c4f0001"},
	} {
		cfg, err := config.Parse("lvsha.toml", []byte(filterFile), config.Identity{As: c.director})
		if err != nil {
			t.Fatal(err)
		}
		active := map[vrrp.Key]bool{cfg.Routers[0].Key(): c.active}
		rules := filterRules(cfg, rolesOf(cfg, active))
		var marks []string
		for _, m := range rules.Marks {
			cover := config.Cover{From: m.From, To: m.To, Protocol: ipvs.Protocol(m.Protocol), First: m.First, Last: m.Last}
			text := cover.String()
			if m.First == 0 {
				text = strings.Replace(text, ":0/", ":0-"+fmt.Sprint(m.Last)+"/", 1)
			}
			marks = append(marks, text+"="+fmt.Sprintf("%x", m.Mark))
		}
		if diff := cmp.Diff(c.want, strings.Join(marks, " ")); diff != "" {
			t.Errorf("%s, active %t (-want +got):\n%s", c.director, c.active, diff)
		}
		seen := make(map[string]bool)
		for _, s := range rules.Sources {
			seen[s.Pool.String()+" "+s.Server.String()] = true
			if s.Addr.String() != "192.0.2.10" || s.Mark != 0 {
				t.Errorf("source %+v", s)
			}
		}
		got := "[" + fmt.Sprintf("%x", rules.Exempt.Mark) + "/" + fmt.Sprintf("%x", rules.Exempt.Mask) + "] " + strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
		if got != sources || len(rules.Sources) != 4 {
			t.Errorf("sources %s, %d, want %s", got, len(rules.Sources), sources)
		}
		peer := map[string]string{"lvs1": "192.0.2.2", "lvs2": "192.0.2.1"}[c.director]
		if rules.Sync == nil || rules.Sync.Interface != "eth0" || len(rules.Sync.Peers) != 1 || rules.Sync.Peers[0].String() != peer {
			t.Errorf("%s: protection %+v", c.director, rules.Sync)
		}

		for ifname, want := range map[string]int{"eth0": 0, "eth1": 1} {
			if got := protectionProblems(cfg, elsewhere{ifname: ifname}); len(got) != want {
				t.Errorf("the other director is on %s: %q", ifname, got)
			}
		}

		services := guardServices(cfg)
		if len(services) != 1 || services[0].Key != ipvs.MarkKey(config.DirectorMark, false) || ipvs.Validate(services[0]) != nil {
			t.Fatalf("%s: %+v", c.director, services)
		}
		for _, d := range services[0].Destinations {
			own := d.Addr.Addr().String() != peer
			if own != (d.Forward == ipvs.Local && d.Weight == 1) || !own != (d.Forward == ipvs.DR && d.Weight == 0) {
				t.Errorf("%s: %+v", c.director, d)
			}
		}
	}
}

// elsewhere is a machine that has all others on one interface.
type elsewhere struct {
	Routing
	ifname string
}

func (e elsewhere) WayTo(netip.Addr) (string, netip.Addr, bool, error) {
	return e.ifname, netip.Addr{}, false, nil
}
