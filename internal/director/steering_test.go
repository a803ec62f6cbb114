package director

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

const throughFile = `
[director.lvs1]
address = "192.0.2.1"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24"]
[service.web]
listen = ["192.0.2.10:80/tcp", "192.0.2.10:8080/tcp"]
forward = "nat"
check = [{ type = "tcp" }, { type = "http", through = "service" }, { type = "tcp", port = 22, through = "service" }]
[[service.web.server]]
address = "10.1.0.21:8080"
[[service.web.server]]
address = "10.1.0.22"
forward = "tun"
[service.dns]
listen = "192.0.2.10:53/udp"
forward = "dr"
check = { type = "tcp", through = "service" }
[[service.dns.server]]
address = "192.0.2.31"
`

// network is a machine with the addresses of own, where everything else leaves by
// the interface that by says, or not at all.
type network struct {
	own      map[string]bool
	by       map[string]string
	settings map[string]int
	set      []string
	broken   error
	follow   bool // the interfaces follow net.ipv4.ip_forward, as the kernel has it
}

func (n *network) WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	if n.own[a.String()] {
		return "lo", a, true, nil
	}
	if by, ok := n.by[a.String()]; ok {
		ifname, from, _ := strings.Cut(by, " ")
		return ifname, netip.MustParseAddr(from), false, nil
	}
	return "", netip.Addr{}, false, errors.New("network is unreachable")
}

func (n *network) List() ([]vrrp.Link, error) {
	return []vrrp.Link{{Name: "eth0"}, {Name: "eth1"}}, nil
}

func (n *network) Setting(ifname, name string) (int, error) { return n.settings[ifname+" "+name], nil }

// setting is the key of settings for a kernel parameter: "eth0 accept_local", or its name.
func setting(name string) string {
	if conf, ok := strings.CutPrefix(name, "net/ipv4/conf/"); ok {
		return strings.Replace(conf, "/", " ", 1)
	}
	return name
}

func (n *network) Sysctl(name string) (string, error) {
	value, ok := n.settings[setting(name)]
	if !ok && !strings.HasSuffix(name, "/accept_local") {
		return "", fs.ErrNotExist
	}
	return fmt.Sprint(value), nil
}

func (n *network) SetSysctl(name, value string) error {
	if n.broken != nil {
		return n.broken
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return err
	}
	n.settings[setting(name)] = number
	if n.follow && name == "net/ipv4/ip_forward" {
		n.settings["eth0 forwarding"], n.settings["eth1 forwarding"] = number, number
	}
	n.set = append(n.set, setting(name)+" "+value)
	return nil
}

// steer is a file's steering on a machine of which nothing is known.
func steer(cfg *config.Config, before steering) steering {
	return newSteering(cfg, before, sourceOf(cfg, nil))
}

// TestSteering: one service by mark for each server, method and changed port, with
// weight 1, and what each check asks.
func TestSteering(t *testing.T) {
	cfg := parse(t, throughFile)
	st := steer(cfg, steering{})
	var ways []string
	for _, s := range st.services() {
		if err := ipvs.Validate(s); err != nil {
			t.Error(err)
		}
		if s.Key.Mark < 0x4c560000 || s.Key.Mark > 0x4c56ffff || len(s.Destinations) != 1 || s.Destinations[0].Weight != 1 {
			t.Errorf("service %+v", s)
		}
		ways = append(ways, st.ways[s.Key.Mark].String())
	}
	slices.Sort(ways)
	want := []string{"10.1.0.21 nat", "10.1.0.21:8080 nat", "10.1.0.22 tun", "192.0.2.31 dr"}
	if diff := cmp.Diff(want, ways); diff != "" {
		t.Errorf("ways (-want +got):\n%s", diff)
	}

	var asked []string
	for _, w := range targets(cfg, st, usedBy(nil, nil)) {
		c := w.Target.Canonical()
		line := fmt.Sprintf("%s of %s", c.Check.Kind(), c.Server)
		if !c.Path.Direct() {
			line += fmt.Sprintf(" by %s to %s from %s", st.ways[c.Path.Mark], c.Path.VIP, c.Path.Source)
		}
		asked = append(asked, line)
	}
	want = []string{
		"tcp of 192.0.2.31:53 by 192.0.2.31 dr to 192.0.2.10:53 from 192.0.2.1",
		// For port 80 of the first server, which NAT makes 8080.
		"tcp of 10.1.0.21:8080",
		"http of 10.1.0.21:8080 by 10.1.0.21:8080 nat to 192.0.2.10:80 from 192.0.2.1",
		"tcp of 10.1.0.21:22 by 10.1.0.21 nat to 192.0.2.10:22 from 192.0.2.1",
		"tcp of 10.1.0.22:80",
		"http of 10.1.0.22:80 by 10.1.0.22 tun to 192.0.2.10:80 from 192.0.2.1",
		"tcp of 10.1.0.22:22 by 10.1.0.22 tun to 192.0.2.10:22 from 192.0.2.1",
		// For port 8080, which stays.
		"tcp of 10.1.0.21:8080",
		"http of 10.1.0.21:8080 by 10.1.0.21 nat to 192.0.2.10:8080 from 192.0.2.1",
		"tcp of 10.1.0.21:22 by 10.1.0.21 nat to 192.0.2.10:22 from 192.0.2.1",
		"tcp of 10.1.0.22:8080",
		"http of 10.1.0.22:8080 by 10.1.0.22 tun to 192.0.2.10:8080 from 192.0.2.1",
		"tcp of 10.1.0.22:22 by 10.1.0.22 tun to 192.0.2.10:22 from 192.0.2.1",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// TestMarks: the same in every process, none twice, and none that moves while its
// way is in use, whatever comes and goes.
func TestMarks(t *testing.T) {
	file := func(hosts ...int) *config.Config {
		text := `
[service.web]
listen = "192.0.2.10:80/tcp"
owner = "none"
forward = "dr"
check = { type = "tcp", through = "service" }
`
		for _, h := range hosts {
			text += fmt.Sprintf("[[service.web.server]]\naddress = \"10.1.%d.%d\"\n", h/250, 1+h%250)
		}
		cfg, err := config.Parse("lvsha.toml", []byte(text), config.Identity{})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	var many []int
	for i := range 3000 {
		many = append(many, i)
	}
	all := steer(file(many...), steering{})
	if len(all.marks) != len(many) || len(all.ways) != len(many) {
		t.Fatalf("%d marks of %d ways for %d servers", len(all.marks), len(all.ways), len(many))
	}
	moved := 0
	for w, mark := range all.marks {
		if all.ways[mark] != w {
			t.Fatalf("mark %#x is of %s and leads to %s", mark, w, all.ways[mark])
		}
		if mark != firstMark+w.place() {
			moved++
		}
	}
	if moved == 0 {
		t.Error("no two of 3000 servers want one mark: this tests nothing")
	}
	slices.Reverse(many)
	if diff := cmp.Diff(all.ways, steer(file(many...), steering{}).ways, cmp.AllowUnexported(way{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("another process (-want +got):\n%s", diff)
	}

	// Half of them go and come again, beside those that stay.
	some := steer(file(many[:1500]...), all)
	again := steer(file(many...), some)
	for w, mark := range some.marks {
		if all.marks[w] != mark || again.marks[w] != mark {
			t.Fatalf("%s had mark %#x, then %#x, then %#x", w, all.marks[w], mark, again.marks[w])
		}
	}
	if len(again.ways) != len(many) {
		t.Errorf("%d ways", len(again.ways))
	}
}

// TestSteeringMissing: a path is ready when the kernel leads to its server alone.
func TestSteeringMissing(t *testing.T) {
	st := steer(parse(t, throughFile), steering{})
	want := st.services()
	mark := want[1].Key.Mark
	edit := func(f func(*ipvs.Service)) []ipvs.Service {
		table := slices.Clone(want)
		table[1].Destinations = slices.Clone(table[1].Destinations)
		f(&table[1])
		return table
	}
	for _, c := range []struct {
		name  string
		mark  uint32
		table ipvs.Status
		want  string
	}{
		{"there", mark, ipvs.Status{State: "ok", Services: want}, ""},
		{"no IPVS", mark, ipvs.Status{State: "waiting: " + ipvs.ErrNoIPVS.Error()}, "modprobe ip_vs"},
		{"not there", mark, ipvs.Status{State: "ok", Services: slices.Delete(slices.Clone(want), 1, 2)}, "IPVS does not have the service mark"},
		{"no server", mark, ipvs.Status{State: "ok", Services: edit(func(s *ipvs.Service) { s.Destinations = nil })}, "does not lead"},
		{"weight 0", mark, ipvs.Status{State: "ok", Services: edit(func(s *ipvs.Service) { s.Destinations[0].Weight = 0 })}, "does not lead"},
		{"another method", mark, ipvs.Status{State: "ok", Services: edit(func(s *ipvs.Service) { s.Destinations[0].Forward++ })}, "does not lead"},
		{"another server too", mark, ipvs.Status{State: "ok", Services: edit(func(s *ipvs.Service) {
			s.Destinations = append(s.Destinations, ipvs.Destination{Addr: netip.MustParseAddrPort("10.1.0.99:0"), Forward: ipvs.DR, Weight: 1})
		})}, "alone"},
		{"a mark of before", 5, ipvs.Status{State: "ok", Services: want}, "no longer in use"},
	} {
		err := st.missing(c.mark, c.table)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestExcuse: what of this machine keeps answers from coming back, on the active
// director and on the backup.
func TestExcuse(t *testing.T) {
	vip, own := netip.MustParseAddrPort("192.0.2.10:80"), netip.MustParseAddr("192.0.2.1")
	server := func(forward ipvs.Forward) way {
		return way{server: netip.MustParseAddrPort("10.1.0.21:0"), forward: forward}
	}
	for _, c := range []struct {
		name     string
		forward  ipvs.Forward
		active   bool
		lacks    string // an address that is not there, or not reached
		source   netip.Addr
		settings map[string]int
		want     string
	}{
		{"dr on the backup", ipvs.DR, false, "", own, nil, ""},
		{"dr on the active", ipvs.DR, true, "", own, nil, "net.ipv4.conf.eth1.accept_local = 0"},
		{"tun on the active", ipvs.TUN, true, "", own, nil, "net.ipv4.conf.eth1.accept_local = 0"},
		{"dr on the active, set", ipvs.DR, true, "", own, map[string]int{"eth1 accept_local": 1}, ""},
		{"nat on the active", ipvs.NAT, true, "", own, nil, ""},
		{"nat on the backup", ipvs.NAT, false, "", own, map[string]int{"eth0 rp_filter": 2}, ""},
		{"nat on the backup, strict", ipvs.NAT, false, "", own, map[string]int{"eth0 rp_filter": 1}, "net.ipv4.conf.eth0.rp_filter = 1"},
		{"dr on the backup, strict", ipvs.DR, false, "", own, map[string]int{"eth0 rp_filter": 1}, ""},
		{"no route to the service", ipvs.DR, false, "192.0.2.10", own, nil, "no route to 192.0.2.10"},
		{"no route to the server", ipvs.DR, true, "10.1.0.21", own, nil, ""},
		{"another's address", ipvs.NAT, true, "192.0.2.1", own, nil, "does not have the address 192.0.2.1"},
		{"no address on the active", ipvs.DR, true, "", netip.Addr{}, map[string]int{"eth1 accept_local": 1}, "no address of its own"},
		{"no address on the backup", ipvs.DR, false, "", netip.Addr{}, nil, ""},
	} {
		n := &network{
			own: map[string]bool{"192.0.2.1": true, "192.0.2.10": c.active}, settings: c.settings,
			by: map[string]string{"192.0.2.10": "eth0 192.0.2.1", "10.1.0.21": "eth1 10.1.0.1"},
		}
		delete(n.own, c.lacks)
		delete(n.by, c.lacks)
		err := excuse(n, healthcheck.Path{VIP: vip, Mark: 1, Source: c.source}, server(c.forward))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestExcuseIPv6: IPv6 hears answers from its own addresses, if the probes do not come
// from the service's.
func TestExcuseIPv6(t *testing.T) {
	n := &network{
		own: map[string]bool{"2001:db8::1": true, "2001:db8::10": true}, settings: map[string]int{},
		by: map[string]string{"192.0.2.21": "eth0 192.0.2.1", "2001:db8::21": "eth0 2001:db8::1"},
	}
	cfg := parse(t, `
[director.lvs1]
address = ["192.0.2.1", "2001:db8::1"]
[service.web]
listen = ["[2001:db8::10]:80/tcp", "192.0.2.10:80/tcp"]
owner = "none"
forward = "tun"
check = { type = "tcp", through = "service" }
[[service.web.server]]
address = "192.0.2.21"
[[service.web.server]]
address = "2001:db8::21"
`)
	st := steer(cfg, steering{})
	var got []string
	for mark, w := range st.ways {
		s := st.services()[slices.Index(slices.Sorted(maps.Keys(st.ways)), mark)]
		if err := ipvs.Validate(s); err != nil {
			t.Error(err)
		}
		if w.ipv6 {
			got = append(got, fmt.Sprintf("%s from %s: %v", w, st.source[w], excuse(n, healthcheck.Path{VIP: cfg.Services[0].Listen[0].Addr, Mark: mark, Source: st.source[w]}, w)))
		} else {
			got = append(got, fmt.Sprintf("%s from %s", w, st.source[w]))
		}
	}
	slices.Sort(got)
	want := []string{
		"192.0.2.21 tun from 192.0.2.1", "192.0.2.21 tun of IPv6 from 2001:db8::1: <nil>",
		"2001:db8::21 tun from 2001:db8::1: <nil>", "2001:db8::21 tun of IPv4 from 192.0.2.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ways (-want +got):\n%s", diff)
	}
	for w := range st.marks {
		if w.ipv6 {
			if err := excuse(n, healthcheck.Path{VIP: cfg.Services[0].Listen[0].Addr, Mark: 1}, w); err == nil || !strings.Contains(err.Error(), "no address of its own") {
				t.Errorf("%s from the service's address: %v", w, err)
			}
		}
	}
}

// TestSource: probes come from the director's address, or from what leads to the
// server, and never from a virtual one.
func TestSource(t *testing.T) {
	nameless := strings.NewReplacer("[director.lvs1]\naddress = \"192.0.2.1\"", "", "[vrrp.web]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.10/24\"]", "",
		"[service.web]", "[service.web]\nowner = \"none\"", "[service.dns]", "[service.dns]\nowner = \"none\"").Replace(throughFile)
	w := way{server: netip.MustParseAddrPort("10.1.0.21:0"), forward: ipvs.NAT}
	for _, c := range []struct {
		name, text, by string
		want           netip.Addr
	}{
		{"of the file", throughFile, "eth1 10.1.0.1", netip.MustParseAddr("192.0.2.1")},
		{"of the route", nameless, "eth1 10.1.0.1", netip.MustParseAddr("10.1.0.1")},
		{"of a service", nameless, "eth0 192.0.2.10", netip.Addr{}},
	} {
		as := ""
		if c.text == throughFile {
			as = "lvs1"
		}
		cfg, err := config.Parse("lvsha.toml", []byte(c.text), config.Identity{As: as})
		if err != nil {
			t.Fatal(err)
		}
		if got := sourceOf(cfg, &network{by: map[string]string{"10.1.0.21": c.by}})(w); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestPathProblems: what will be the matter is told before the director is active.
func TestPathProblems(t *testing.T) {
	cfg := parse(t, throughFile)
	st := steer(cfg, steering{})
	n := &network{
		own:      map[string]bool{"192.0.2.1": true},
		by:       map[string]string{"192.0.2.10": "eth0 192.0.2.1", "10.1.0.21": "eth1 10.1.0.1", "10.1.0.22": "eth1 10.1.0.1", "192.0.2.31": "eth0 192.0.2.1"},
		settings: map[string]int{},
	}
	problems := func() (out []string) {
		for _, s := range cfg.Services {
			for _, p := range pathProblems(s, st, n) {
				text, _, _ := strings.Cut(p, " drops")
				out = append(out, text)
			}
		}
		return out
	}
	want := []string{
		"checks through service dns: net.ipv4.conf.eth0.accept_local = 0",
		"checks through service web: net.ipv4.conf.eth1.accept_local = 0",
	}
	if diff := cmp.Diff(want, problems()); diff != "" {
		t.Errorf("on a backup (-want +got):\n%s", diff)
	}
	n.own["192.0.2.10"] = true
	if diff := cmp.Diff(want, problems()); diff != "" {
		t.Errorf("on the active (-want +got):\n%s", diff)
	}
	n.settings["eth0 accept_local"], n.settings["eth1 accept_local"] = 1, 1
	if got := problems(); len(got) != 0 {
		t.Errorf("with the settings: %q", got)
	}
}

// TestManageSysctls: set where it is needed and was not, recorded first, and put
// back when it is needed no longer.
func TestManageSysctls(t *testing.T) {
	n := &network{
		by: map[string]string{"10.1.0.21": "eth1 10.1.0.1", "10.1.0.22": "eth1 10.1.0.1", "192.0.2.31": "eth0 192.0.2.1"},
		// The first is somebody's own.
		settings: map[string]int{"eth0 accept_local": 1, "net/ipv4/ip_forward": 0, "all accept_redirects": 1,
			"default forwarding": 0, "eth0 forwarding": 1, "eth1 forwarding": 0},
	}
	cfg := parse(t, throughFile)
	d := &Director{
		opts: Options{Routing: n}, log: slog.New(slog.DiscardHandler), events: newEventLog(), cfg: cfg, steering: steer(cfg, steering{}),
		store: &store{path: recordPath(t.TempDir())},
	}
	expect := func(what string, recorded []string, set ...string) {
		t.Helper()
		if diff := cmp.Diff(set, n.set); diff != "" {
			t.Errorf("%s: set (-want +got):\n%s", what, diff)
		}
		var got []string
		for _, c := range d.store.read().Sysctls {
			got = append(got, fmt.Sprintf("%s %s -> %s", setting(c.Name), c.Found, c.Set))
		}
		if diff := cmp.Diff(recorded, got); diff != "" {
			t.Errorf("%s: recorded (-want +got):\n%s", what, diff)
		}
		n.set = nil
	}
	d.manageSysctls()
	expect("unasked", nil)
	problems := d.sysctlProblems()
	if len(problems) != 1 || !strings.Contains(problems[0], "sysctl -w net.ipv4.ip_forward=1, or manage_sysctls = true") {
		t.Errorf("problems unasked: %q", problems)
	}
	managed := *cfg
	managed.ManageSysctls = true
	d.cfg = &managed
	d.manageSysctls()
	recorded := []string{"all accept_redirects 1 -> 0", "eth0 forwarding 1 -> 1", "net/ipv4/ip_forward 0 -> 1", "eth1 accept_local 0 -> 1"}
	expect("asked", recorded, "net/ipv4/ip_forward 1", "eth1 accept_local 1")
	if problems := d.sysctlProblems(); len(problems) != 0 {
		t.Errorf("problems: %q", problems)
	}
	n.settings["all accept_redirects"] = 0 // as the kernel does
	d.manageSysctls()
	expect("asked again", recorded)
	n.settings["net/ipv4/ip_forward"] = 0
	d.manageSysctls()
	expect("somebody else sets one", recorded, "net/ipv4/ip_forward 1")
	n.broken = errors.New("read-only")
	n.settings["net/ipv4/ip_forward"] = 0
	d.manageSysctls()
	expect("one cannot be set", recorded)
	if problems := d.sysctlProblems(); len(problems) != 1 || !strings.HasSuffix(problems[0], "sysctl -w net.ipv4.ip_forward=1 (lvsha could not: read-only)") {
		t.Errorf("problems: %q", problems)
	}
	n.settings["net/ipv4/ip_forward"] = 1
	d.cfg = cfg
	d.manageSysctls()
	// What has its old value by itself needs no writing.
	expect("they cannot be put back", recorded)
	n.broken = nil
	n.follow = true
	n.settings["eth1 accept_local"] = 2 // somebody else's now
	d.manageSysctls()
	expect("put back", nil, "net/ipv4/ip_forward 0", "eth0 forwarding 1", "all accept_redirects 1")
}

// TestExcuses: the failure that meets the end of an excuse is excused as well, and
// each change is told once.
func TestExcuses(t *testing.T) {
	n := &network{
		own:      map[string]bool{"192.0.2.1": true, "192.0.2.10": true},
		by:       map[string]string{"192.0.2.31": "eth0 192.0.2.1"},
		settings: map[string]int{},
	}
	cfg := parse(t, throughFile)
	d := &Director{opts: Options{Routing: n}, inbox: newInbox(), steering: steer(cfg, steering{})}
	var path healthcheck.Path
	for _, w := range targets(cfg, d.steering, usedBy(nil, nil)) {
		if w.Target.Server.Port() == 53 {
			path = w.Target.Path
		}
	}
	var got []string
	for _, accepts := range []int{1, 0, 0, 1, 1} {
		n.settings["eth0 accept_local"] = accepts
		err := d.pathExcuse(path)
		text := "none"
		if err != nil {
			text, _, _ = strings.Cut(err.Error(), " drops")
		}
		got = append(got, fmt.Sprint(text, ", ", len(d.inbox.take()), " told"))
	}
	want := []string{
		"none, 0 told", "net.ipv4.conf.eth0.accept_local = 0, 1 told", "net.ipv4.conf.eth0.accept_local = 0, 0 told",
		"what kept answers away has only just gone, 1 told", "none, 0 told",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("excuses (-want +got):\n%s", diff)
	}
}
