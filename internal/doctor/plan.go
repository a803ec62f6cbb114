package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lvsha/internal/config"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// facts are what is known of this machine before anything is asked.
type facts struct {
	links []vrrp.Link
	mtu   map[string]int
	// iface is by which interface packets to an address leave; empty is none, or that the
	// address is this machine's.
	iface func(netip.Addr) string
	// neighbours are the hardware addresses of machines on this machine's segments.
	neighbours map[netip.Addr]mac
}

func (f facts) link(ifname string) (vrrp.Link, bool) {
	i := slices.IndexFunc(f.links, func(l vrrp.Link) bool { return l.Name == ifname })
	if i < 0 {
		return vrrp.Link{}, false
	}
	return f.links[i], true
}

// plan is what is asked, and of whom.
type plan struct {
	facts
	id        uint16
	questions []question
	report    *Report

	// vips are the virtual addresses with the names of what they are for.
	vips map[netip.Addr][]string
	// servers are those of the file, with the name of one of their services.
	servers map[netip.Addr]string
	// directors are the other directors by their addresses.
	directors map[netip.Addr]string
	routers   []vrrp.Config

	owners   []ownerQuestion
	takers   []takerQuestion
	gateways []gatewayQuestion
	paths    []pathQuestion
	known
}

// known is what a plan has looked up, as it is asked for again and again.
type known struct {
	// here are this machine's addresses, and owns its own on each interface.
	here map[netip.Addr]bool
	owns map[interfaceOf]ownAddress
	// machines are the addresses of neighbours by their hardware address, sorted, and
	// virtuals the hardware addresses of virtual routers.
	machines map[mac][]netip.Addr
	virtuals map[mac]bool
	// asked are the questions that were asked, pathTo the places of those about paths, and
	// inside the addresses that packets in tunnels come from, by interface.
	asked  map[any]bool
	pathTo map[netip.Addr]int
	inside map[interfaceOf]netip.Addr
}

// interfaceOf is a family on an interface.
type interfaceOf struct {
	ifname string
	ipv6   bool
}

type ownAddress struct {
	addr netip.Addr
	mac  mac
	ok   bool
}

// learn looks up what there is to know of the machine and the file.
func (p *plan) learn() {
	p.known = known{
		here: make(map[netip.Addr]bool), owns: make(map[interfaceOf]ownAddress), machines: make(map[mac][]netip.Addr), virtuals: make(map[mac]bool),
		asked: make(map[any]bool), pathTo: make(map[netip.Addr]int), inside: make(map[interfaceOf]netip.Addr),
	}
	for _, l := range p.links {
		for _, prefix := range l.Addresses {
			p.here[prefix.Addr()] = true
		}
	}
	for _, a := range sortedAddresses(p.neighbours) {
		m := p.neighbours[a]
		p.machines[m] = append(p.machines[m], a)
	}
	for _, r := range p.routers {
		if v, ok := r.VirtualInterface(); ok {
			p.virtuals[mac(v.MAC)] = true
		}
	}
}

// local reports whether this machine has an address.
func (p *plan) local(a netip.Addr) bool { return p.here[a] }

// first reports whether a question comes for the first time.
func (p *plan) first(question any) bool {
	again := p.asked[question]
	p.asked[question] = true
	return !again
}

// ownerQuestion asks on an interface who has a virtual address.
type ownerQuestion struct {
	vip   netip.Addr
	iface string
}

// takerQuestion asks a server whether it takes packets for a virtual address, and whether
// it answers at all.
type takerQuestion struct {
	service     string
	vip, server netip.Addr
	forward     ipvs.Forward
	tunnel      ipvs.Tunnel
	mac         mac
	asked       uint16
	itself      uint16
}

// gatewayQuestion asks a server where its answers to a client go.
type gatewayQuestion struct {
	service        string
	server, client netip.Addr
	iface          string
	mac            mac
	asked, itself  uint16
}

// pathQuestion asks how large packets to a server may be: the lengths that were asked by
// their numbers.
type pathQuestion struct {
	service string
	server  netip.Addr
	tunnel  ipvs.Tunnel
	iface   string
	front   string
	mtu     int
	asked   map[uint16]int
}

// number adds a question, which is made with its number.
func (p *plan) number(make func(seq uint16) question) uint16 {
	seq := uint16(len(p.questions) + 1)
	p.questions = append(p.questions, make(seq))
	return seq
}

// own is an address of this machine on an interface that is not virtual.
func (p *plan) own(ifname string, ipv6 bool) (netip.Addr, mac, bool) {
	on := interfaceOf{ifname, ipv6}
	own, seen := p.owns[on]
	if !seen {
		own.addr, own.mac, own.ok = p.findOwn(ifname, ipv6)
		p.owns[on] = own
	}
	return own.addr, own.mac, own.ok
}

func (p *plan) findOwn(ifname string, ipv6 bool) (netip.Addr, mac, bool) {
	l, ok := p.link(ifname)
	if !ok || l.MAC == (mac{}) {
		return netip.Addr{}, mac{}, false
	}
	for _, prefix := range l.Addresses {
		a := prefix.Addr()
		if a.Is6() == ipv6 && !a.IsLinkLocalUnicast() && p.vips[a] == nil {
			return a, l.MAC, true
		}
	}
	return netip.Addr{}, mac{}, false
}

// maxQuestions bounds the questions, which are known by 16 bits.
const maxQuestions = 50_000

// newPlan is what there is to ask about a file. client is the address of a client for each
// family, which nobody here has.
func newPlan(cfg *config.Config, f facts, id uint16, client func(ipv6 bool) netip.Addr) *plan {
	p := &plan{
		facts: f, id: id, report: &Report{Findings: []Finding{}, Advice: []Finding{}, Looked: []string{}, Skipped: []string{}},
		vips: make(map[netip.Addr][]string), servers: make(map[netip.Addr]string), directors: make(map[netip.Addr]string), routers: cfg.Routers,
	}
	carriers := make(map[netip.Addr]string)
	for _, r := range cfg.Routers {
		// An interface of its own, with the virtual router's MAC address, is not where to ask.
		for _, a := range slices.Concat(r.Addresses, r.Excluded) {
			p.vips[a.Prefix.Addr()] = append(p.vips[a.Prefix.Addr()], "virtual router "+r.Name)
			carriers[a.Prefix.Addr()] = cmp.Or(a.Interface, r.Interface)
		}
	}
	for _, s := range cfg.Services {
		addresses, whole := s.Addresses()
		for _, vip := range addresses {
			p.vips[vip] = append(p.vips[vip], "service "+s.Name)
		}
		if !whole {
			p.report.Skipped = append(p.report.Skipped, "service "+s.Name+": it goes by a firewall mark, and its addresses are not (all) in the file")
		}
		for _, server := range s.Servers {
			p.servers[server.Address.Addr()] = s.Name
		}
	}
	for _, d := range cfg.Directors {
		for _, a := range d.Addresses {
			if d.Name != cfg.Director {
				p.directors[a] = d.Name
			}
		}
	}
	p.learn()
	for vip, iface := range carriers {
		p.askOwner(vip, iface)
	}
	for _, s := range cfg.Services {
		addresses, _ := s.Addresses()
		for _, vip := range addresses {
			for _, server := range s.Servers {
				if len(p.questions) > maxQuestions {
					p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("service %s and those after it: there is too much to ask about", s.Name))
					return p
				}
				p.askServer(s, vip, server, carriers[vip], client)
			}
		}
	}
	return p
}

// askOwner asks who has a virtual address, once on each interface.
func (p *plan) askOwner(vip netip.Addr, ifname string) {
	q := ownerQuestion{vip, ifname}
	if !p.first(q) || vip.IsLinkLocalUnicast() {
		return
	}
	own, hw, ok := p.own(ifname, vip.Is6())
	if !ok {
		return
	}
	p.owners = append(p.owners, q)
	p.number(func(uint16) question { return question{iface: ifname, frame: whoHas(vip, own, hw)} })
}

// askServer asks a server of a service what its forwarding method depends on.
func (p *plan) askServer(s config.Service, vip netip.Addr, server config.Server, front string, client func(bool) netip.Addr) {
	address := server.Address.Addr()
	ifname := p.iface(address)
	if p.local(address) || address.IsLoopback() || ifname == "" {
		return
	}
	own, hw, ok := p.own(ifname, address.Is6())
	if !ok {
		return
	}
	to, near := p.neighbours[address]
	itself := func() uint16 {
		return p.number(func(seq uint16) question {
			if !near {
				return question{protocol: protocolICMP, to: netip.AddrPortFrom(address, 0), packet: echo(own, address, p.id, seq, 0)}
			}
			return question{iface: ifname, frame: ethernet(to, hw, etherOf(address), echo(own, address, p.id, seq, 0))}
		})
	}
	switch {
	case server.FullNAT:
		// Answers come to an address of the director by whatever way.
	case server.Forward == ipvs.NAT && near && (front == "" || p.local(vip)):
		// On a backup the gateway is another machine.
		if !p.first(gatewayTo{address}) {
			return
		}
		g := gatewayQuestion{service: s.Name, server: address, client: client(address.Is6()), iface: ifname, mac: to, itself: itself()}
		g.asked = p.number(func(seq uint16) question {
			return question{iface: ifname, frame: ethernet(to, hw, etherOf(address), echo(g.client, address, p.id, seq, 0))}
		})
		p.gateways = append(p.gateways, g)
	case server.Forward == ipvs.DR && near && vip.Is4() == address.Is4():
		p.askOwner(vip, ifname)
		if !p.first(taking{vip, address, server.Forward, server.Tunnel}) {
			return
		}
		t := takerQuestion{service: s.Name, vip: vip, server: address, forward: ipvs.DR, mac: to, itself: itself()}
		t.asked = p.number(func(seq uint16) question {
			return question{iface: ifname, frame: ethernet(to, hw, etherOf(vip), echo(own, vip, p.id, seq, 0))}
		})
		p.takers = append(p.takers, t)
	case server.Forward == ipvs.TUN:
		if near {
			p.askOwner(vip, ifname)
		}
		if !p.first(taking{vip, address, server.Forward, server.Tunnel}) {
			return
		}
		p.askTunnel(s, vip, server, ifname, front)
	}
}

func etherOf(a netip.Addr) uint16 {
	if a.Is6() {
		return etherIPv6
	}
	return etherIPv4
}

// taking is what a server is asked once about a virtual address, and gatewayTo about its
// gateway.
type (
	taking struct {
		vip, server netip.Addr
		forward     ipvs.Forward
		tunnel      ipvs.Tunnel
	}
	gatewayTo struct{ server netip.Addr }
)

// innerSource is where a packet inside a tunnel comes from that leaves by an interface: an
// address there, or else of another interface.
func (p *plan) innerSource(ifname string, ipv6 bool) netip.Addr {
	on := interfaceOf{ifname, ipv6}
	inner, seen := p.inside[on]
	if seen {
		return inner
	}
	for _, l := range p.links {
		if a, _, ok := p.own(l.Name, ipv6); ok && (!inner.IsValid() || l.Name == ifname) {
			inner = a
		}
	}
	p.inside[on] = inner
	return inner
}

// askTunnel asks whether a tunnel ends at the server, and what fits through the path.
func (p *plan) askTunnel(s config.Service, vip netip.Addr, server config.Server, ifname, front string) {
	address := server.Address.Addr()
	inner := p.innerSource(ifname, vip.Is6())
	if !inner.IsValid() || server.Tunnel.Checksum == ipvs.RemoteChecksum {
		p.report.Skipped = append(p.report.Skipped, "the tunnel to "+address.String()+" for "+vip.String()+" was not tried")
		return
	}
	path, there := p.pathTo[address]
	if !there {
		own, _, _ := p.own(ifname, address.Is6())
		q := pathQuestion{service: s.Name, server: address, tunnel: server.Tunnel, iface: ifname, front: front, mtu: p.mtu[ifname], asked: make(map[uint16]int)}
		for _, n := range sizes(q.mtu) {
			seq := p.number(func(seq uint16) question {
				return question{protocol: protocolICMP, to: netip.AddrPortFrom(address, 0), packet: echo(own, address, p.id, seq, n), whole: true}
			})
			q.asked[seq] = n
		}
		path = len(p.paths)
		p.pathTo[address] = path
		p.paths = append(p.paths, q)
	}
	t := takerQuestion{service: s.Name, vip: vip, server: address, forward: ipvs.TUN, tunnel: server.Tunnel}
	for seq, n := range p.paths[path].asked {
		if n == slices.Min(sizes(p.paths[path].mtu)) {
			t.itself = seq
		}
	}
	t.asked = p.number(func(seq uint16) question {
		return wrapped(server.Tunnel, address, echo(inner, vip, p.id, seq, 0), vip.Is6())
	})
	p.takers = append(p.takers, t)
}

// names joins what an address is for.
func names(of []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(of))), ", ")
}
