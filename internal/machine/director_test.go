package machine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/internal/machine"
)

// ways are interfaces by which networks are reached.
type ways map[string]string

func (w ways) WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	for network, ifname := range w {
		if netip.MustParsePrefix(network).Contains(a) {
			return ifname, netip.Addr{}, false, nil
		}
	}
	return "", netip.Addr{}, false, errors.New("network is unreachable")
}

// values are kernel parameters.
type values map[string]string

func (v values) read(name string) (string, error) {
	if value, ok := v[name]; ok {
		return value, nil
	}
	return "", fs.ErrNotExist
}

const pair = `
[director.lvs1]
address = ["192.0.2.1", "2001:db8::1"]
[director.lvs2]
address = "192.0.2.2"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24", "10.1.0.254/24 dev eth1"]
[vrrp.six]
interface = "eth0"
vrid = 51
addresses = ["2001:db8::10/64"]
`

func service(name, listen, forward, server, more string) string {
	return fmt.Sprintf("[service.%[1]s]\nlisten = %[2]q\nforward = %[3]q\n%[5]s\n[[service.%[1]s.server]]\naddress = %[4]q\n", name, listen, forward, server, more)
}

// TestDirector: each kind of service asks for what it needs and for nothing else.
func TestDirector(t *testing.T) {
	const always = "2 vs/expire_nodest_conn=1, 2 vs/conn_reuse_mode=1"
	through := `check = { type = "tcp", through = "service" }`
	for _, c := range []struct{ name, services, want string }{
		{"no service", "", ""},
		{"direct routing", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.21", ""), always},
		{"nat", service("web", "192.0.2.10:80/tcp", "nat", "10.1.0.21", ""),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, 2 conf/eth1/send_redirects=0, " + always},
		{"nat on one segment", service("web", "192.0.2.10:80/tcp", "nat", "192.0.2.21", ""),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, " + always},
		{"nat of a sorry server", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.21", `sorry = { address = "10.1.0.99", forward = "nat" }`),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, 2 conf/eth1/send_redirects=0, " + always},
		{"nat of IPv6", service("web", "[2001:db8::10]:80/tcp", "nat", "2001:db8:1::21", ""),
			"2 ipv6/conf/eth0/accept_ra=2, 3 ipv6/conf/all/forwarding=1, " + always},
		{"full nat", service("web", "192.0.2.10:80/tcp", "fullnat", "10.2.0.21", `snat = "10.1.0.254"`),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, " + always +
				", 3 vs/conntrack=1, 3 netfilter/nf_conntrack_tcp_loose=1, 3 netfilter/nf_conntrack_tcp_be_liberal=1"},
		{"ftp", service("files", "192.0.2.10:21/tcp", "nat", "10.1.0.21", `helper = "ftp"`),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, 2 conf/eth1/send_redirects=0, " + always + ", 3 vs/conntrack=1"},
		{"checks through direct routing", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.21", through), "2 conf/eth0/accept_local=1, " + always},
		{"checks through a tunnel", service("web", "192.0.2.10:80/tcp", "tun", "10.1.0.21", through), "2 conf/eth1/accept_local=1, " + always},
		{"checks through nat", service("web", "192.0.2.10:80/tcp", "nat", "10.1.0.21", through),
			"3 ip_forward=1, 2 conf/all/send_redirects=0, 2 conf/eth0/send_redirects=0, 2 conf/eth1/send_redirects=0, 2 conf/eth0/rp_filter=2, " + always},
		{"this director is a server", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.1", ""), "3 conf/eth0/arp_ignore=1, 3 conf/eth0/arp_announce=2, " + always},
		{"the other director is", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.2", ""), always},
		{"persistence and mh", service("web", "192.0.2.10:80/tcp", "dr", "192.0.2.21", "scheduler = \"mh\"\npersistence = \"5m\""),
			always + ", 2 vs/expire_quiescent_template=1, 2 vs/sloppy_tcp=1"},
		{"mh of datagrams", service("dns", "192.0.2.10:53/udp", "dr", "192.0.2.21", `scheduler = "mh"`), always},
	} {
		cfg, err := config.Parse("lvsha.toml", []byte(pair+c.services), config.Identity{As: "lvs1"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		routes := ways{"192.0.2.0/24": "eth0", "10.1.0.0/24": "eth1", "2001:db8::/64": "eth0", "2001:db8:1::/64": "eth2"}
		found := values{"net/ipv6/conf/all/forwarding": "0", "net/ipv6/conf/eth0/accept_ra": "1", "net/ipv6/conf/eth2/accept_ra": "0"}
		var got []string
		for _, s := range machine.Director(cfg, routes, found.read) {
			got = append(got, fmt.Sprintf("%d %s=%s", s.Level, strings.TrimPrefix(strings.TrimPrefix(s.Name, "net/"), "ipv4/"), s.Want))
			if s.Why == "" {
				t.Errorf("%s: %s has no reason", c.name, s.Name)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestAssess: what is wrong, with the command that puts it right.
func TestAssess(t *testing.T) {
	const conf = "net/ipv4/conf/"
	settings := []machine.Setting{
		{Name: "net/ipv4/ip_forward", Want: "1", Why: "answers stay here"},
		{Name: conf + "eth0.7/rp_filter", Of: conf + "all/rp_filter", Want: "2", Also: []string{"0"}, Why: "answers are dropped"},
		{Name: "net/ipv4/vs/conn_reuse_mode", Want: "1"},
	}
	for _, c := range []struct {
		name string
		have values
		want []string
	}{
		{"all right", values{"net/ipv4/ip_forward": "1", conf + "eth0.7/rp_filter": "0", conf + "all/rp_filter": "0"}, nil},
		{"the greater counts", values{conf + "eth0.7/rp_filter": "2", conf + "all/rp_filter": "1"}, nil},
		{"strict for all", values{conf + "eth0.7/rp_filter": "0", conf + "all/rp_filter": "1"},
			[]string{"net.ipv4.conf.eth0/7.rp_filter = 1: answers are dropped; right is: sysctl -w net.ipv4.conf.eth0/7.rp_filter=2"}},
		{"off", values{"net/ipv4/ip_forward": "0"}, []string{"net.ipv4.ip_forward = 0: answers stay here; right is: sysctl -w net.ipv4.ip_forward=1"}},
		{"not there", values{}, nil},
	} {
		var got []string
		for _, w := range machine.Assess(settings, c.have.read) {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestReconcile: what was found at first is kept, what is not wanted any more goes back
// last first, and what lvsha does not set is left.
func TestReconcile(t *testing.T) {
	settings := []machine.Setting{
		{Name: "a", Want: "1", Level: machine.Must}, {Name: "b", Want: "1", Level: machine.Should}, {Name: "c", Want: "1", Level: machine.Hint},
	}
	before := []machine.Changed{{Name: "x", Found: "7", Set: "8"}, {Name: "a", Found: "5", Set: "1"}, {Name: "y", Found: "9", Set: "8"}}
	set, back := machine.Reconcile(settings, machine.Should, before, values{"a": "0", "b": "1", "c": "0"}.read, nil)
	if diff := cmp.Diff([]machine.Changed{{Name: "a", Found: "5", Set: "1"}}, set); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]machine.Changed{before[2], before[0]}, back); diff != "" {
		t.Errorf("put back (-want +got):\n%s", diff)
	}
}

// TestReconcileForwarding: interfaces that are not as the machine get theirs back after it.
func TestReconcileForwarding(t *testing.T) {
	for _, leader := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		conf := leader[:len("net/ipv4")] + "/conf/"
		settings := []machine.Setting{{Name: leader, Want: "1", Level: machine.Must}}
		now := values{leader: "0", conf + "default/forwarding": "0", conf + "eth0/forwarding": "1", conf + "eth1/forwarding": "0"}
		interfaces := func() []string { return []string{"eth0", "eth1", "eth2"} }
		set, back := machine.Reconcile(settings, machine.Should, nil, now.read, interfaces)
		want := []machine.Changed{{Name: conf + "eth0/forwarding", Found: "1", Set: "1", Follows: true}, {Name: leader, Found: "0", Set: "1"}}
		if diff := cmp.Diff(want, set); diff != "" || len(back) > 0 {
			t.Errorf("set (-want +got):\n%s\nand put back %v", diff, back)
		}
		now[leader] = "1"
		if more, back := machine.Reconcile(settings, machine.Should, set, now.read, nil); len(more)+len(back) > 0 {
			t.Errorf("while it is wanted: set %v, put back %v", more, back)
		}
		_, back = machine.Reconcile(nil, machine.Should, set, now.read, nil)
		if diff := cmp.Diff([]machine.Changed{want[1], want[0]}, back); diff != "" {
			t.Errorf("put back (-want +got):\n%s", diff)
		}
	}
}
