package rig

import (
	"fmt"
	"testing"
	"time"

	"lvsha/internal/lab"
)

// Grid is a director with a real server for each forwarding method, in both families.
// The last octet of a virtual address is 100 for direct routing, 101 for NAT and 102 for
// tunnels, and the servers have those of theirs.
//
//	client .9, lvs1 .1, lvs2 .2 ── 10.0.0.0/24, 2001:db8::/64   ── dr .21 (.100 on lo), tun .22 (.102 on lo)
//	           lvs1 .1, lvs2 .2 ── 10.1.0.0/24, 2001:db8:1::/64 ── nat .23 (default route by .254)
type Grid struct {
	*Rig
	DR, TUN, NAT *lab.Host
	back         *lab.Segment
}

// NewGrid makes the topology, of both families.
func NewGrid(t testing.TB) *Grid {
	t.Helper()
	r := &Grid{Rig: NewIPv6(t)}
	var err error
	r.back, err = r.Net.Segment("back")
	r.Check(err)
	host := func(name string, on *lab.Segment, address, address6 string) *lab.Host {
		h, err := r.Net.Host(name)
		r.Check(err)
		_, err = on.Attach(h, "eth0", address)
		r.Check(err)
		r.Run(h, "ip", "addr add "+address6+" dev eth0 nodad")
		for name, value := range map[string]string{"arp_ignore": "1", "arp_announce": "2", "rp_filter": "0"} {
			r.Check(h.Sysctl("net/ipv4/conf/all/"+name, value))
			r.Check(h.Sysctl("net/ipv4/conf/eth0/"+name, value))
		}
		return h
	}
	r.DR = host("dr", r.Segment, "10.0.0.21/24", "2001:db8::21/64")
	r.TUN = host("tun", r.Segment, "10.0.0.22/24", "2001:db8::22/64")
	r.NAT = host("nat", r.back, "10.1.0.23/24", "2001:db8:1::23/64")
	for i := range r.LVS {
		r.equip(i)
	}
	r.Run(r.NAT, "ip", "route add default via 10.1.0.254")
	r.Run(r.NAT, "ip", "-6 route add default via 2001:db8:1::254")
	r.Run(r.DR, "ip", "addr add 10.0.0.100/32 dev lo")
	r.Run(r.DR, "ip", "addr add 2001:db8::100/128 dev lo nodad")
	r.Run(r.TUN, "ip", "addr add 10.0.0.102/32 dev lo")
	r.Run(r.TUN, "ip", "addr add 2001:db8::102/128 dev lo nodad")
	r.Run(r.TUN, "ip", "link add ipip type ipip local 10.0.0.22 ttl 64")
	r.Run(r.TUN, "ip", "link add sit type sit local 10.0.0.22 ttl 64")
	r.Run(r.TUN, "ip", "link add ip6 type ip6tnl local 2001:db8::22 mode any")
	for _, name := range []string{"ipip", "sit", "ip6"} {
		r.Run(r.TUN, "ip", "link set "+name+" up")
		r.Check(r.TUN.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
	return r
}

// equip gives a director its place on the back.
func (r *Grid) equip(i int) {
	r.Helper()
	h := r.LVS[i]
	_, err := r.back.Attach(h, "eth1", fmt.Sprintf("10.1.0.%d/24", i+1))
	r.Check(err)
	r.Run(h, "ip", fmt.Sprintf("addr add 2001:db8:1::%d/64 dev eth1 nodad", i+1))
	for _, name := range []string{"all", "eth0", "eth1"} {
		r.Check(h.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
}

// Boot makes a director whose power was taken anew, with a way to the far servers.
func (r *Grid) Boot(i int) {
	r.Helper()
	name := fmt.Sprintf("lvs%d", i+1)
	var err error
	r.LVS[i], err = r.Net.Host(name)
	r.Check(err)
	r.Ports[i], err = r.Segment.Attach(r.LVS[i], "eth0", Addresses[name].String()+"/24")
	r.Check(err)
	r.Run(r.LVS[i], "ip", fmt.Sprintf("addr add 2001:db8::%d/64 dev eth0 nodad", i+1))
	r.Check(r.LVS[i].Sysctl("net/ipv6/conf/all/forwarding", "1"))
	r.equip(i)
	r.Run(r.LVS[i], "ip", "route add 10.9.0.0/24 via 10.0.0.8")
	r.Run(r.LVS[i], "ip", "-6 route add 2001:db8:9::/64 via 2001:db8::8")
}

// GridFile is the file of the director, without services.
const GridFile = `
manage_sysctls = true
[director.lvs1]
address  = ["10.0.0.1", "2001:db8::1"]
priority = 150
[director.lvs2]
address  = ["10.0.0.2", "2001:db8::2"]
[vrrp.four]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["10.0.0.100/24", "10.0.0.101/24", "10.0.0.102/24", "10.1.0.254/24 dev eth1"]
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["2001:db8::100/64", "2001:db8::101/64", "2001:db8::102/64", "2001:db8:1::254/64 dev eth1"]
`

// Active waits until a director that has no company is active, in both families.
func (r *Grid) Active(d *lab.Daemon) {
	r.Helper()
	r.both(d, "active")
}

// Roles waits until every virtual router of a pair is where it is to stay, in both
// families. A director that begins a moment before the other may have the addresses until
// that one is there, and what is sent to it meanwhile is lost.
func (r *Grid) Roles(active, backup *lab.Daemon) {
	r.Helper()
	r.both(active, "active")
	r.both(backup, "backup")
}

func (r *Grid) both(d *lab.Daemon, state string) {
	r.Helper()
	r.Eventually("the director is "+state, 30*time.Second, func() bool { return d.Router("four").State == state && d.Router("six").State == state })
}

// Far is a server behind a router, to which no route leads back but that router's: it
// would answer a client directly.
//
//	client .9, lvs1 .1, lvs2 .2, source .150 ── segment 10.0.0.0/24, 2001:db8::/64 ── router .8
//	router .1 ── 10.9.0.0/24, 2001:db8:9::/64 ── far .21
func (r *Grid) Far() *lab.Host {
	r.Helper()
	segment, err := r.Net.Segment("far")
	r.Check(err)
	router, err := r.Net.Host("router")
	r.Check(err)
	_, err = r.Segment.Attach(router, "eth0", "10.0.0.8/24")
	r.Check(err)
	_, err = segment.Attach(router, "eth1", "10.9.0.1/24")
	r.Check(err)
	far, err := r.Net.Host("far")
	r.Check(err)
	_, err = segment.Attach(far, "eth0", "10.9.0.21/24")
	r.Check(err)
	r.Check(router.Sysctl("net/ipv4/ip_forward", "1"))
	r.Check(router.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	for _, c := range []struct {
		h    *lab.Host
		args string
	}{
		{router, "addr add 2001:db8::8/64 dev eth0 nodad"}, {router, "addr add 2001:db8:9::1/64 dev eth1 nodad"},
		{far, "addr add 2001:db8:9::21/64 dev eth0 nodad"},
		{far, "route add default via 10.9.0.1"}, {far, "-6 route add default via 2001:db8:9::1"},
		{r.Client, "route add 10.9.0.0/24 via 10.0.0.8"}, {r.Client, "-6 route add 2001:db8:9::/64 via 2001:db8::8"},
		{r.LVS[0], "route add 10.9.0.0/24 via 10.0.0.8"}, {r.LVS[0], "-6 route add 2001:db8:9::/64 via 2001:db8::8"},
		{r.LVS[1], "route add 10.9.0.0/24 via 10.0.0.8"}, {r.LVS[1], "-6 route add 2001:db8:9::/64 via 2001:db8::8"},
	} {
		r.Run(c.h, "ip", c.args)
	}
	return far
}
