package realserver_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/internal/netif"
	"lvsha/internal/realserver"
	"lvsha/vrrp"
)

// kernel is a machine's; steps are the changes that it still allows, -1 for any number.
type kernel struct {
	links   []vrrp.Link
	tunnels []netif.Tunnel
	ports   []netif.GUEPort
	values  map[string]string
	steps   int
}

var _ realserver.Kernel = (*kernel)(nil)

var errRefused = errors.New("refused")

func (k *kernel) step() error {
	if k.steps == 0 {
		return errRefused
	}
	k.steps--
	return nil
}

func (k *kernel) List() ([]vrrp.Link, error)         { return slices.Clone(k.links), nil }
func (k *kernel) Tunnels() ([]netif.Tunnel, error)   { return slices.Clone(k.tunnels), nil }
func (k *kernel) GUEPorts() ([]netif.GUEPort, error) { return slices.Clone(k.ports), nil }

// WayTo is by the default route.
func (k *kernel) WayTo(netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	return "eth1", netip.Addr{}, false, nil
}

func (k *kernel) link(ifname string) *vrrp.Link {
	i := slices.IndexFunc(k.links, func(l vrrp.Link) bool { return l.Name == ifname })
	return &k.links[i]
}

func (k *kernel) Add(ifname string, a vrrp.Address) error {
	if err := k.step(); err != nil {
		return err
	}
	l := k.link(ifname)
	l.Addresses = append(slices.Clone(l.Addresses), a.Prefix)
	return nil
}

func (k *kernel) Drop(ifname string, p netip.Prefix) error {
	if !slices.ContainsFunc(k.links, func(l vrrp.Link) bool { return l.Name == ifname }) {
		return nil
	}
	l := k.link(ifname)
	l.Addresses = slices.DeleteFunc(slices.Clone(l.Addresses), func(o netip.Prefix) bool { return o == p })
	return nil
}

func (k *kernel) MakeTunnel(t netif.Tunnel) error {
	if err := k.step(); err != nil {
		return err
	}
	k.tunnels = append(k.tunnels, t)
	k.links = append(k.links, vrrp.Link{Name: t.Name, Up: true})
	k.values["net/ipv4/conf/"+t.Name+"/rp_filter"] = "1"
	return nil
}

func (k *kernel) RemoveTunnel(name string) error {
	k.tunnels = slices.DeleteFunc(k.tunnels, func(t netif.Tunnel) bool { return t.Name == name })
	k.links = slices.DeleteFunc(k.links, func(l vrrp.Link) bool { return l.Name == name })
	delete(k.values, "net/ipv4/conf/"+name+"/rp_filter")
	return nil
}

func (k *kernel) OpenGUE(p netif.GUEPort) error {
	if err := k.step(); err != nil {
		return err
	}
	k.ports = append(k.ports, p)
	return nil
}

func (k *kernel) CloseGUE(p netif.GUEPort) error {
	k.ports = slices.DeleteFunc(k.ports, func(o netif.GUEPort) bool { return o == p })
	return nil
}

func (k *kernel) Sysctl(name string) (string, error) {
	if value, ok := k.values[name]; ok {
		return value, nil
	}
	return "", fs.ErrNotExist
}

func (k *kernel) SetSysctl(name, value string) error {
	if _, err := k.Sysctl(name); err != nil {
		return err
	}
	if err := k.step(); err != nil {
		return err
	}
	k.values[name] = value
	return nil
}

// String is everything that can be changed.
func (k *kernel) String() string {
	var b strings.Builder
	for _, l := range k.links {
		fmt.Fprintln(&b, l.Name, l.Addresses)
	}
	fmt.Fprintln(&b, k.tunnels, k.ports)
	for _, name := range slices.Sorted(maps.Keys(k.values)) {
		fmt.Fprintln(&b, name, k.values[name])
	}
	return b.String()
}

func newKernel() *kernel {
	k := &kernel{steps: -1, values: map[string]string{}}
	k.links = []vrrp.Link{
		{Name: "lo", Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.21/24"), netip.MustParsePrefix("2001:db8::21/64")}},
		{Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.21/24")}},
	}
	for _, ifname := range []string{"all", "eth0", "eth1"} {
		for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter"} {
			k.values["net/ipv4/conf/"+ifname+"/"+name] = map[bool]string{true: "1", false: "0"}[name == "rp_filter"]
		}
	}
	return k
}

const file = `
[director.lvs1]
address = "192.0.2.1"
[director.lvs1.service.other]
scheduler = "rr"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24", "192.0.2.11/24"]
auth = { keys = [{ id = 1, file = "/nowhere/that/a/server/has" }] }
[vrrp.six]
interface = "eth0"
vrid = 51
addresses = ["2001:db8::10/64"]
[service.web]
listen = ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"]
forward = "dr"
[[service.web.server]]
address = "192.0.2.21"
[[service.web.server]]
address = "192.0.2.22"
[service.six]
listen = "[2001:db8::10]:80/tcp"
forward = "tun"
tunnel = { type = "gue", port = 6080 }
[[service.six.server]]
address = "192.0.2.21"
[service.four]
listen = "192.0.2.10:81/tcp"
forward = "tun"
tunnel = { type = "gue", port = 6080 }
[[service.four.server]]
address = "192.0.2.21"
[service.many]
listen = ["192.0.2.11:8000-8010/tcp", "192.0.2.11:443/udp"]
forward = "dr"
[[service.many.server]]
address = "192.0.2.21"
[service.other]
listen = "192.0.2.10:82/tcp"
forward = "nat"
[[service.other.server]]
address = "192.0.2.21"
[service.marked]
listen = "mark 5"
forward = "dr"
[[service.marked.server]]
address = "192.0.2.21"
`

func parts(t *testing.T) ([]realserver.Part, []string) {
	t.Helper()
	cfg, err := config.Parse("lvsha.toml", []byte(file), config.Identity{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	return realserver.Parts(cfg, []netip.Addr{netip.MustParseAddr("192.0.2.21"), netip.MustParseAddr("10.1.0.21")})
}

// TestParts: what a file asks of a server, each once, and what it has to be told.
func TestParts(t *testing.T) {
	asked, notes := parts(t)
	var got []string
	for _, p := range asked {
		got = append(got, fmt.Sprintf("%s %s %s to %s", p.VIP, p.Forward, p.Tunnel, p.Server))
	}
	want := []string{"192.0.2.10 dr ipip to 192.0.2.21", "192.0.2.10 tun gue port 6080 to 192.0.2.21", "192.0.2.11 dr ipip to 192.0.2.21", "2001:db8::10 tun gue port 6080 to 192.0.2.21"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "marked goes by a firewall mark") || !strings.Contains(notes[1], "other: nat needs nothing here") {
		t.Errorf("notes %q", notes)
	}
}

// TestUpDown: wherever the way up ends, up again has everything in place, and down puts
// everything back.
func TestUpDown(t *testing.T) {
	asked, _ := parts(t)
	before := newKernel().String()
	var whole string
	refused := 0
	for steps := 0; ; steps++ {
		k := newKernel()
		k.steps = steps
		var told []string
		s := realserver.Server{Kernel: k, Path: filepath.Join(t.TempDir(), "run", "realserver.json"), Tell: func(what string) { told = append(told, what) }}
		err := s.Up(asked)
		k.steps = -1
		if err != nil {
			if !errors.Is(err, errRefused) {
				t.Fatal(err)
			}
			refused++
			// In half of the cases nobody tries again.
			if steps%2 == 0 {
				if err := s.Down(); err != nil || k.String() != before {
					t.Errorf("down after %d steps: %v\n%s", steps, err, cmp.Diff(before, k.String()))
				}
				if text := strings.Join(told, "\n"); strings.Contains(text, "somebody else") {
					t.Errorf("down after %d steps accuses others:\n%s", steps, text)
				}
				continue
			}
			if err := s.Up(asked); err != nil {
				t.Errorf("up again after %d steps: %v", steps, err)
			}
		}
		if whole == "" {
			whole = k.String()
		}
		if missing, err := s.Status(asked); err != nil || len(missing) > 0 || k.String() != whole {
			t.Errorf("after %d steps: missing %q, %v\n%s", steps, missing, err, cmp.Diff(whole, k.String()))
		}
		told = nil
		if err := s.Up(asked); err != nil || len(told) > 0 {
			t.Errorf("up once more did %q, %v", told, err)
		}
		if downErr := s.Down(); downErr != nil || k.String() != before {
			t.Errorf("down: %v\n%s", downErr, cmp.Diff(before, k.String()))
		}
		if err == nil {
			break
		}
	}
	if refused < 8 {
		t.Errorf("only %d steps were refused", refused)
	}
	for _, want := range []string{"lo [127.0.0.1/8 192.0.2.10/32 192.0.2.11/32 2001:db8::10/128]", "lvsha-ipip [192.0.2.10/32]", "lvsha-sit []", "eth0/rp_filter 2", "eth1/rp_filter 1", "all/arp_ignore 1"} {
		if !strings.Contains(whole, want) {
			t.Errorf("%q is not in\n%s", want, whole)
		}
	}
}
