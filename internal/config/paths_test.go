package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/vrrp"
)

// routerOf reads a file with one virtual router that has these lines too.
func routerOf(t *testing.T, lines string) vrrp.Config {
	t.Helper()
	text := "[director.lvs1]\npriority = 150\n[vrrp.web]\ninterface = \"eth0\"\nvrid = 51\n" + lines
	cfg, err := config.Parse("lvsha.toml", []byte(text), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Routers[0]
}

// TestPaths reads words in any order and writes them in one.
func TestPaths(t *testing.T) {
	for in, want := range map[string]string{
		`addresses = ["192.0.2.10/24 label eth1:1 scope link dev eth1"]`: "192.0.2.10/24 dev eth1 scope link label eth1:1",
		`addresses = ["192.0.2.10/24 scope host"]`:                       "192.0.2.10/24 scope host",
		`addresses = ["192.0.2.10/24 scope 200"]`:                        "192.0.2.10/24 scope 200",
		`excluded = ["2001:db8::1/64 dev eth1"]`:                         "2001:db8::1/64 dev eth1",

		`routes = ["10.2.0.0/16 metric 5 onlink dev eth0 mtu 1400 table 100 src 192.0.2.10 via 192.0.2.1"]`: "10.2.0.0/16 via 192.0.2.1 dev eth0 src 192.0.2.10 table 100 metric 5 mtu 1400 onlink",
		`routes = ["unicast 10.2.0.1 via 192.0.2.1 table main"]`:                                            "10.2.0.1/32 via 192.0.2.1",
		`routes = ["default via 192.0.2.1"]`:                                                                "0.0.0.0/0 via 192.0.2.1",
		`routes = ["default via fe80::1 dev eth0"]`:                                                         "::/0 via fe80::1 dev eth0",
		`routes = ["default dev eth0 scope link"]`:                                                          "0.0.0.0/0 dev eth0 scope link",
		`routes = ["prohibit 10.2.0.0/16 table default"]`:                                                   "prohibit 10.2.0.0/16 table 253",

		`rules = ["priority 7 lookup 100 oif eth1 iif eth0 fwmark 1 to 10.0.0.0/8 from 192.0.2.10"]`: "from 192.0.2.10/32 to 10.0.0.0/8 fwmark 0x1/0xffffffff iif eth0 oif eth1 table 100 priority 7",
		`rules = ["from all fwmark 0x10/0xf0 pref 7 table main"]`:                                    "fwmark 0x10/0xf0 table 254 priority 7",
	} {
		if !strings.HasPrefix(in, "addresses") {
			in += "\naddresses = [\"192.0.2.10/24\"]"
		}
		c := routerOf(t, in)
		var got string
		switch {
		case len(c.Excluded) > 0:
			got = c.Excluded[0].String()
		case len(c.Routes) > 0:
			got = c.Routes[0].String()
		case len(c.Rules) > 0:
			got = c.Rules[0].String()
		default:
			got = c.Addresses[0].String()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	if r := routerOf(t, "addresses = [\"2001:db8::10/64\"]\nrules = [\"iif eth0 table 5 priority 6\"]").Rules[0]; r.Family != vrrp.IPv6 {
		t.Errorf("the rule of an IPv6 router is of family %d", r.Family)
	}
}

// TestManyAddresses is KA-VIP-01 and KA-VIP-02: what an advertisement has room for,
// and the rest excluded.
func TestManyAddresses(t *testing.T) {
	list := func(format string, n int) string {
		var words []string
		for i := range n {
			words = append(words, fmt.Sprintf(format, i/250, 1+i%250))
		}
		return strings.Join(words, ", ")
	}
	c := routerOf(t, "addresses = ["+list(`"10.0.%d.%d"`, 255)+"]\nexcluded = ["+list(`"10.1.%d.%d"`, 1000)+"]")
	if len(c.Addresses) != 255 || len(c.Excluded) != 1000 || c.Validate() != nil {
		t.Errorf("%d addresses and %d excluded, %v", len(c.Addresses), len(c.Excluded), c.Validate())
	}
	// With the link-local one that is put in front.
	c = routerOf(t, "addresses = ["+list(`"2001:db8:%d::%d"`, 88)+"]")
	if len(c.Addresses) != 89 || c.Validate() != nil {
		t.Errorf("%d addresses, %v", len(c.Addresses), c.Validate())
	}
}

// TestVirtualName: the interface is named after VRID and family unless the file
// does it.
func TestVirtualName(t *testing.T) {
	for in, want := range map[string]string{
		"addresses = [\"192.0.2.10\"]\nvirtual_mac = true":   "vrrp.51",
		"addresses = [\"2001:db8::10\"]\nvirtual_mac = true": "vrrp6.51",
		"addresses = [\"192.0.2.10\"]\nvirtual_mac = \"gw\"": "gw",
		"addresses = [\"192.0.2.10\"]\nvirtual_mac = false":  "",
	} {
		if got := routerOf(t, in); got.Virtual != want || got.NoAccept {
			t.Errorf("%s: %q, no accept %t", in, got.Virtual, got.NoAccept)
		}
	}
}
