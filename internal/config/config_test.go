package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

// comparable values of netip have unexported fields.
var cmpNetip = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

const pair = `
[director.lvs1]
address  = "10.0.0.1"
priority = 150
[director.lvs2]
address  = "10.0.0.2"
priority = 100
[director.lvs2.vrrp.web]
interface = "ens3"
[director.lvs2.sync]
interface = "ens4"

[vrrp.web]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["192.0.2.10/24", "10.1.0.254/24 dev eth1", "192.0.2.11"]

[service.web]
listen    = ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"]
scheduler = "wrr"
forward   = "dr"
require   = "any"
persistence = "1m"
check     = [{ type = "http", path = "/healthz", interval = "2s", timeout = "1s", status = 204 }, { type = "tcp", port = 8080, interval = "500ms" }]
sorry     = { address = "192.0.2.99:8080", forward = "nat" }
[[service.web.server]]
address = "192.0.2.21"
weight  = 2
[[service.web.server]]
address = "10.1.0.22:8000"
forward = "nat"
check   = { type = "exec", command = ["/bin/true", "a b"], user = "nobody", rise = 1, fall = 1 }

[sync]
interface = "eth0"
`

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestParse(t *testing.T) {
	checks := []healthcheck.Check{
		{Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Ask: healthcheck.HTTP{Version: "1.1", Request: healthcheck.Request{Method: "GET", Path: "/healthz", Status: "204"}}},
		{Ask: healthcheck.TCP{TLS: healthcheck.TLS{ExpiryDays: 14, Compat: "modern"}}, Port: 8080, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3},
	}
	want := &config.Config{
		File:     "lvsha.toml",
		Director: "lvs1",
		Directors: []config.Director{
			{Name: "lvs1", Addresses: []netip.Addr{addr("10.0.0.1")}, Priority: 150, Port: 8849},
			{Name: "lvs2", Addresses: []netip.Addr{addr("10.0.0.2")}, Priority: 100, Port: 8849},
		},
		Routers: []vrrp.Config{{
			Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 150, Interval: 100 * time.Millisecond,
			Addresses: []vrrp.Address{
				{Prefix: netip.MustParsePrefix("192.0.2.10/24")},
				{Prefix: netip.MustParsePrefix("10.1.0.254/24"), Interface: "eth1"},
				{Prefix: netip.MustParsePrefix("192.0.2.11/32")},
			},
			Peers: []vrrp.Peer{{Name: "lvs2", Address: addr("10.0.0.2"), Priority: 100}},
		}},
		Services: []config.Service{{
			Name: "web",
			Listen: []ipvs.ServiceKey{
				{Protocol: ipvs.TCP, Addr: addrPort("192.0.2.10:80")},
				{Protocol: ipvs.TCP, Addr: addrPort("192.0.2.10:443")},
			},
			Scheduler: "wrr", Forward: ipvs.DR, Persistence: time.Minute, PersistenceMask: 0, Require: healthcheck.RequireAny,
			Servers: []config.Server{
				{Address: addrPort("192.0.2.21:0"), Weight: 2, Forward: ipvs.DR, Checks: checks},
				{Address: addrPort("10.1.0.22:8000"), Weight: 1, Forward: ipvs.NAT, Checks: []healthcheck.Check{{
					Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
					Ask: healthcheck.Exec{Command: "/bin/true\x00a b", User: "nobody"},
				}}},
			},
			Sorry: &config.Server{Address: addrPort("192.0.2.99:8080"), Weight: 1, Forward: ipvs.NAT},
			Rules: healthcheck.PoolRules{Quorum: 1, Sorry: true, MostWeight: ipvs.MaxWeight},
		}},
		Channel: config.Channel{KeyFile: "/etc/lvsha/director.key"}, Hash: "0a0cb7077847025a",
		Sync:   &connsync.Config{Interface: "eth0", ID: 1, Transport: connsync.Multicast, TTL: 1, Gate: 30 * time.Second, Refresh: time.Minute},
		Health: config.Health{Doubt: time.Minute, DoubtWeight: -100},
	}
	got, err := config.Parse("lvsha.toml", []byte(pair), config.Identity{Hostname: "lvs1.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
		t.Errorf("lvs1 (-want +got):\n%s", diff)
	}

	// The other director differs by its overrides and by who its peer is.
	want.Director = "lvs2"
	want.Routers[0].Interface, want.Routers[0].Priority = "ens3", 100
	want.Routers[0].Peers = []vrrp.Peer{{Name: "lvs1", Address: addr("10.0.0.1"), Priority: 150}}
	want.Sync.Interface = "ens4"
	got, err = config.Parse("lvsha.toml", []byte(pair), config.Identity{As: "lvs2", Hostname: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
		t.Errorf("lvs2 (-want +got):\n%s", diff)
	}
}

func TestUnicast(t *testing.T) {
	text := strings.Replace(pair, "vrid      = 51", "vrid = 51\nunicast = true", 1)
	got, err := config.Parse("f", []byte(text), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]netip.Addr{addr("10.0.0.2")}, got.Routers[0].Unicast, cmpNetip); diff != "" {
		t.Errorf("unicast (-want +got):\n%s", diff)
	}
}

func TestIdentity(t *testing.T) {
	const text = `
[director.lvs1]
[director."lvs1.example.com"]
[director.lvs2]
[sync]
interface = "eth0"
`
	tests := []struct {
		name string
		as   config.Identity
		want string // the director, or the problem
	}{
		{"full host name before its label", config.Identity{Hostname: "lvs1.example.com"}, "lvs1.example.com"},
		{"label", config.Identity{Hostname: "lvs1.example.net"}, "lvs1"},
		{"case", config.Identity{Hostname: "LVS2"}, "lvs2"},
		{"as before host name", config.Identity{As: "lvs2", Hostname: "lvs1"}, "lvs2"},
		{"as is exact", config.Identity{As: "lvs2.example.com"}, `f:2: director: no director is called "lvs2.example.com"; did you mean "lvs1.example.com"?; the file has lvs1, lvs1.example.com, lvs2`},
		{"nobody", config.Identity{Hostname: "db1"}, `f:2: director: no director is called like this host, "db1"; the file has lvs1, lvs1.example.com, lvs2: say which one this is with --as NAME`},
		{"no host name", config.Identity{}, `f:2: director: no director is called like this host, ""; the file has lvs1, lvs1.example.com, lvs2: say which one this is with --as NAME`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := config.Parse("f", []byte(text), tt.as)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = cfg.Director
			}
			if got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWithoutDirectors(t *testing.T) {
	const text = "[sync]\ninterface = \"eth0\"\n"
	cfg, err := config.Parse("f", []byte(text), config.Identity{Hostname: "any"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Director != "" || cfg.Sync.Interface != "eth0" {
		t.Errorf("got %+v", cfg)
	}
	if _, err := config.Parse("f", []byte(text), config.Identity{As: "lvs1"}); err == nil {
		t.Error("a name given to a file without names is accepted")
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lvsha.toml")
	if err := os.WriteFile(file, []byte(pair), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := config.Load(file, "lvs2"); err != nil || cfg.Director != "lvs2" || cfg.File != file {
		t.Errorf("got %+v, %v", cfg, err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"): filepath.Join(dir, "absent") + ": there is no such file; name another with -c FILE",
		dir:                          dir + ": the file cannot be read: is a directory",
	} {
		if _, err := config.Load(path, ""); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// TestOrder holds that the result does not depend on the order of a map.
func TestOrder(t *testing.T) {
	text := pair
	for _, name := range []string{"zeta", "alpha", "mid"} {
		text += "[vrrp." + name + "]\ninterface = \"eth0\"\nvrid = " + map[string]string{"zeta": "1", "alpha": "2", "mid": "3"}[name] +
			"\naddresses = [\"198.51.100." + map[string]string{"zeta": "1", "alpha": "2", "mid": "3"}[name] + "\"]\n"
	}
	var first *config.Config
	for range 20 {
		cfg, err := config.Parse("f", []byte(text), config.Identity{As: "lvs1"})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = cfg
		}
		if diff := cmp.Diff(first, cfg, cmpNetip); diff != "" {
			t.Fatalf("(-first +later):\n%s", diff)
		}
	}
	var names []string
	for _, r := range first.Routers {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"alpha", "mid", "web", "zeta"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestIPv6: a router of each family under one VRID, as every director has them.
func TestIPv6(t *testing.T) {
	const text = `
[director.lvs1]
address  = ["10.0.0.1", "2001:db8::1"]
priority = 150
[director.lvs2]
address = ["2001:db8::2", "10.0.0.2"]
[director.lvs3]
address = "10.0.0.3"
[vrrp.four]
interface = "eth0"
vrid      = 51
addresses = ["192.0.2.10/24"]
[vrrp.listed]
interface = "eth0"
vrid      = 52
addresses = ["fe80::10/64", "2001:db8::11/64", "fe80::10/64 dev eth1"]
[vrrp.six]
interface = "eth0"
vrid      = 51
addresses = ["2001:db8::10"]
`
	want := []vrrp.Config{
		{
			Name: "four", Interface: "eth0", VRID: 51, Version: 3, Priority: 100, Interval: time.Second,
			Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/24")}},
			Peers: []vrrp.Peer{
				{Name: "lvs1", Address: addr("10.0.0.1"), Priority: 150}, {Name: "lvs3", Address: addr("10.0.0.3"), Priority: 100},
			},
		},
		{
			Name: "listed", Interface: "eth0", VRID: 52, Version: 3, Priority: 100, Interval: time.Second,
			Addresses: []vrrp.Address{
				{Prefix: netip.MustParsePrefix("fe80::10/64")}, {Prefix: netip.MustParsePrefix("2001:db8::11/64")},
				{Prefix: netip.MustParsePrefix("fe80::10/64"), Interface: "eth1"},
			},
			Peers: []vrrp.Peer{{Name: "lvs1", Address: addr("2001:db8::1"), Priority: 150}, {Name: "lvs3", Priority: 100}},
		},
		{
			Name: "six", Interface: "eth0", VRID: 51, Version: 3, Priority: 100, Interval: time.Second,
			Addresses: []vrrp.Address{
				{Prefix: netip.MustParsePrefix("fe80::5e:33/128")}, {Prefix: netip.MustParsePrefix("2001:db8::10/128")},
			},
			Peers: []vrrp.Peer{{Name: "lvs1", Address: addr("2001:db8::1"), Priority: 150}, {Name: "lvs3", Priority: 100}},
		},
	}
	got, err := config.Parse("f", []byte(text), config.Identity{As: "lvs2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Routers, cmpNetip); diff != "" {
		t.Errorf("routers (-want +got):\n%s", diff)
	}
	for _, r := range got.Routers {
		if err := r.Validate(); err != nil {
			t.Errorf("vrrp refuses %s: %v", r.Name, err)
		}
	}
}

// TestUnicastIPv6 goes from the directors' IPv6 addresses to each other.
func TestUnicastIPv6(t *testing.T) {
	const text = `
[director.lvs1]
address = ["10.0.0.1", "2001:db8::1"]
[director.lvs2]
address = ["2001:db8::2", "10.0.0.2"]
[vrrp.web]
interface = "eth0"
vrid      = 51
unicast   = true
addresses = ["2001:db8::10/64"]
`
	got, err := config.Parse("f", []byte(text), config.Identity{As: "lvs2"})
	if err != nil {
		t.Fatal(err)
	}
	r := got.Routers[0]
	if diff := cmp.Diff([]netip.Addr{addr("2001:db8::2"), addr("2001:db8::1")}, append([]netip.Addr{r.Source}, r.Unicast...), cmpNetip); diff != "" {
		t.Errorf("source and peers (-want +got):\n%s", diff)
	}
}
