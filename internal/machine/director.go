package machine

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// Routes tells how packets to an address leave: by which interface, from what address,
// and whether the address is this machine's own. An error means that they do not.
type Routes interface {
	WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error)
}

// Director returns the kernel parameters that the services of a file need on a
// director, in the order in which they are to be set. found is the value that a
// parameter had before lvsha changed it.
func Director(cfg *config.Config, routes Routes, found Read) []Setting {
	n := needsOf(cfg, routes)
	return slices.Concat(n.forwarding(found), n.redirects(), n.hearing(), n.ownServer(), n.engine(), n.translation(), syncing(cfg.Sync))
}

// Early returns those of Director that a connection goes by for its life from when it
// is made: the parameters of IPVS and of connection tracking.
func Early(cfg *config.Config) []Setting {
	n := needsOf(cfg, nil)
	return slices.Concat(n.engine(), n.translation(), syncing(cfg.Sync))
}

// needs are what the services of a file ask of a director, each with the names of the
// services that do.
type needs struct {
	any, nat4, nat6, fullnat, ftp, persistent, maglev names
	// local are the services of direct routing and tunnels with this director as a
	// server.
	local       names
	localFronts interfaces
	// fronts are the interfaces of the addresses of services of NAT, and backs those of
	// their servers; fronts6 and backs6 are the same of IPv6.
	fronts, backs, fronts6, backs6 interfaces
	// answers are the interfaces on which checks through a service get answers from its
	// own address, and detours those to which answers under NAT come by way of the
	// active director.
	answers, detours interfaces
}

// names are names of services, each once.
type names []string

// add appends a name. Services are gone through one by one, so a name that is there
// already is the last one.
func (n *names) add(name string) {
	if len(*n) == 0 || (*n)[len(*n)-1] != name {
		*n = append(*n, name)
	}
}

// of words the services: "service web", "services dns, web".
func (n names) of() string {
	if len(n) == 1 {
		return "service " + n[0]
	}
	if len(n) > 4 {
		return fmt.Sprintf("services %s and %d more", strings.Join(n[:4], ", "), len(n)-4)
	}
	return "services " + strings.Join(n, ", ")
}

// interfaces are names of interfaces in the order in which they were found, each once and
// without the loopback.
type interfaces struct {
	list []string
	seen map[string]bool
}

func (i *interfaces) add(names ...string) {
	for _, name := range names {
		if name == "" || name == "lo" || i.seen[name] {
			continue
		}
		if i.seen == nil {
			i.seen = make(map[string]bool)
		}
		i.seen[name] = true
		i.list = append(i.list, name)
	}
}

// with are these and others, those first.
func (i interfaces) with(others interfaces) []string {
	var all interfaces
	all.add(i.list...)
	all.add(others.list...)
	return all.list
}

// way is what WayTo tells of an address.
type way struct {
	ifname string
	local  bool
	ok     bool
}

func needsOf(cfg *config.Config, routes Routes) (n needs) {
	ways := make(map[netip.Addr]way)
	wayTo := func(a netip.Addr) way {
		w, seen := ways[a]
		if !seen && routes != nil {
			ifname, _, local, err := routes.WayTo(a)
			w = way{ifname, local, err == nil}
			ways[a] = w
		}
		return w
	}
	var own []netip.Addr
	for _, d := range cfg.Directors {
		if d.Name == cfg.Director {
			own = d.Addresses
		}
	}
	carriers := make(map[netip.Addr]string)
	for _, r := range cfg.Routers {
		for _, a := range r.Placed() {
			carriers[a.Prefix.Addr()] = a.Interface
		}
	}
	for _, s := range cfg.Services {
		n.any.add(s.Name)
		if s.FTP {
			n.ftp.add(s.Name)
		}
		if s.Persistence > 0 {
			n.persistent.add(s.Name)
		}
		for _, l := range s.Listen {
			if s.Scheduler == "mh" && (l.Protocol == ipvs.TCP || l.Mark != 0) {
				n.maglev.add(s.Name)
			}
			front := carriers[l.Addr.Addr()]
			for _, c := range s.Covers {
				if front == "" && c.From.Is6() == l.Addr.Addr().Is6() {
					front = carriers[c.From]
				}
			}
			n.listen(s, l, front, own, wayTo)
		}
	}
	slices.Sort(n.answers.list)
	return n
}

// listen adds what one virtual service needs.
func (n *needs) listen(s config.Service, l ipvs.ServiceKey, front string, own []netip.Addr, wayTo func(netip.Addr) way) {
	ipv6 := l.Addr.Addr().Is6()
	for i := range len(s.Servers) + 1 {
		server := s.Sorry
		if i < len(s.Servers) {
			server = &s.Servers[i]
		}
		if server == nil {
			continue
		}
		through := slices.ContainsFunc(server.Checks, func(c healthcheck.Check) bool { return c.Through })
		if server.Forward != ipvs.NAT && !ipv6 && slices.Contains(own, server.Address.Addr()) {
			n.local.add(s.Name)
			n.localFronts.add(front)
			continue
		}
		if server.Forward != ipvs.NAT && !through {
			continue // and spare the kernel the question
		}
		if server.FullNAT {
			n.fullnat.add(s.Name)
		}
		to := wayTo(server.Address.Addr())
		switch {
		case server.Forward == ipvs.NAT && ipv6:
			n.nat6.add(s.Name)
			n.fronts6.add(front)
			n.backs6.add(to.ifname)
		case server.Forward == ipvs.NAT:
			n.nat4.add(s.Name)
			n.fronts.add(front)
			n.backs.add(to.ifname)
			if through && front != "" && to.ok && to.ifname != front {
				n.detours.add(front)
			}
		case !ipv6 && to.ok && !to.local:
			n.answers.add(to.ifname)
		}
	}
}

// forwarding lets answers of servers pass.
func (n needs) forwarding(found Read) (out []Setting) {
	if len(n.nat4) > 0 {
		out = append(out, Setting{
			Name: "net/ipv4/ip_forward", Want: "1", Level: Must,
			Why: "the answers of the servers of " + n.nat4.of() + " (nat) are not passed on to the clients",
		})
	}
	if len(n.nat6) == 0 {
		return out
	}
	const forwarding = "net/ipv6/conf/all/forwarding"
	// A router does not believe other routers' advertisements, nor keeps the default
	// route that it has from one, unless it is told to.
	if before, err := found(forwarding); err == nil && before == "0" {
		for _, ifname := range n.fronts6.with(n.backs6) {
			name := "net/ipv6/conf/" + ifname + "/accept_ra"
			if believes, err := found(name); err == nil && believes == "1" {
				out = append(out, Setting{
					Name: name, Want: "2", Also: []string{"0"}, Level: Should,
					Why: "a default route from router advertisements is lost with " + Dotted(forwarding) + " = 1",
				})
			}
		}
	}
	return append(out, Setting{
		Name: forwarding, Want: "1", Also: []string{"2"}, Level: Must,
		Why: "the answers of the servers of " + n.nat6.of() + " (nat, IPv6) are not passed on to the clients",
	})
}

// redirects keeps servers and clients from being told a way around the director.
func (n needs) redirects() (out []Setting) {
	if len(n.nat4) == 0 {
		return nil
	}
	for _, ifname := range append([]string{"all"}, n.fronts.with(n.backs)...) {
		out = append(out, Setting{
			Name: "net/ipv4/conf/" + ifname + "/send_redirects", Want: "0", Level: Should,
			Why: "servers of " + n.nat4.of() + " may be told to answer clients of their own segment directly, past the director",
		})
	}
	return out
}

// hearing lets the answers to checks through a service in.
func (n needs) hearing() (out []Setting) {
	for _, ifname := range n.answers.list {
		out = append(out, Setting{
			Name: "net/ipv4/conf/" + ifname + "/accept_local", Of: "net/ipv4/conf/all/accept_local", Want: "1", Level: Should,
			Why: "answers to checks through a service are dropped that come from the service's address while this director has it",
		})
	}
	for _, ifname := range n.detours.list {
		out = append(out, Setting{
			Name: "net/ipv4/conf/" + ifname + "/rp_filter", Of: "net/ipv4/conf/all/rp_filter", Want: "2", Also: []string{"0"}, Level: Should,
			Why: "answers to checks through a service under nat are dropped on a backup, where they come by way of the active director",
		})
	}
	return out
}

// ownServer keeps a director that is a server itself from answering for addresses
// that another director has.
func (n needs) ownServer() (out []Setting) {
	if len(n.local) == 0 {
		return nil
	}
	for _, ifname := range n.localFronts.list {
		out = append(out, Quiet(ifname, "this director is a server of "+n.local.of()+" and answers ARP for the address on lo while another director has it")...)
	}
	return out
}

// Quiet has an interface, or all, answer and ask ARP for its own addresses alone.
func Quiet(ifname, why string) []Setting {
	conf := "net/ipv4/conf/"
	return []Setting{
		{Name: conf + ifname + "/arp_ignore", Of: conf + "all/arp_ignore", Want: "1", Also: []string{"2", "8"}, Level: Must, Why: why},
		{Name: conf + ifname + "/arp_announce", Of: conf + "all/arp_announce", Want: "2", Level: Must, Why: why},
	}
}

// translation has connection tracking give connections another source address, and
// take up those that another director has opened, there and back.
func (n needs) translation() (out []Setting) {
	if len(n.fullnat) == 0 && len(n.ftp) > 0 {
		return []Setting{{
			Name: "net/ipv4/vs/conntrack", Want: "1", Level: Must,
			Why: "the helper for ftp of " + n.ftp.of() + " changes nothing, and clients get no files by passive FTP",
		}}
	}
	if len(n.fullnat) == 0 {
		return nil
	}
	of := n.fullnat.of() + " (fullnat)"
	return []Setting{
		{Name: "net/ipv4/vs/conntrack", Want: "1", Level: Must, Why: "clients of " + of + " keep their address, and servers answer them directly"},
		{
			Name: "net/netfilter/nf_conntrack_tcp_loose", Want: "1", Level: Must,
			Why: "the connections of " + of + " are cut off at a failover: those of another director are not taken up",
		},
		{
			Name: "net/netfilter/nf_conntrack_tcp_be_liberal", Want: "1", Level: Must,
			Why: "the connections of " + of + " are cut off at a failover and back: what they have said meanwhile is taken for invalid",
		},
	}
}

// engine are the parameters of IPVS itself, of which each network namespace has its
// own.
func (n needs) engine() (out []Setting) {
	add := func(name, want string, also []string, why string) {
		out = append(out, Setting{Name: "net/ipv4/vs/" + name, Want: want, Also: also, Level: Should, Why: why})
	}
	if len(n.any) == 0 {
		return nil
	}
	add("expire_nodest_conn", "1", nil, "clients of a server that was removed hear nothing, for up to 15 minutes, instead of being told")
	add("conn_reuse_mode", "1", []string{"2", "3"}, "a client that uses a port again stays with its server, though that has weight 0")
	if len(n.persistent) > 0 {
		add("expire_quiescent_template", "1", nil, "clients of "+n.persistent.of()+" stay with a server of weight 0 for as long as persistence keeps them there")
	}
	if len(n.maglev) > 0 {
		add("sloppy_tcp", "1", nil, "a director that does not know a connection of "+n.maglev.of()+" (mh) drops it, though the hash would lead to its server")
	}
	return out
}

// syncing are the parameters of the synchronisation of connections
// (net/netfilter/ipvs/ip_vs_sync.c).
func syncing(sync *connsync.Config) (out []Setting) {
	if sync == nil {
		return nil
	}
	add := func(name, want, why string) {
		out = append(out, Setting{Name: "net/ipv4/vs/" + name, Want: want, Level: Should, Why: why})
	}
	if sync.Refresh > 0 {
		// The period first: without it and with a period of packets of zero a connection
		// would be told of only once.
		add("sync_refresh_period", strconv.Itoa(int(sync.Refresh/time.Second)),
			"other directors know of a connection that goes on by its every 50th packet only, and forget the slow ones")
		add("sync_threshold", "3 0", "other directors do not know of connections with less than three packets")
	}
	if sync.TemplatesOnly {
		add("sync_persist_mode", "1", "the connections of persistent services are told of too, against templates_only")
	}
	if sync.Buffer > 0 {
		// What a socket gets is bounded by the parameter of the whole machine.
		out = append(out, Setting{
			Name: "net/core/rmem_max", Want: strconv.Itoa(sync.Buffer), AtLeast: true, Level: Should,
			Why: "the sync daemons' sockets get no more than that for messages that wait",
		})
		add("sync_sock_size", strconv.Itoa(sync.Buffer), "the sync daemons' sockets drop what does not fit")
	}
	add("sync_version", "1", "the messages have neither IPv6 nor the timeouts of persistence")
	return out
}
