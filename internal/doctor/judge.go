package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"lvsha/ipvs"
	"lvsha/vrrp"
)

// answers are what was heard, by what it is about.
type answers struct {
	// to are the replies to each question, owners who said that they have an address,
	// routers the advertisements of each VRID, and tooBig to whom packets were too big.
	to      map[uint16][]heard
	owners  map[netip.Addr][]heard
	routers map[uint8][]heard
	tooBig  map[netip.Addr]bool
}

// sorted puts in order what was heard when the questions of a plan were asked.
func sorted(id uint16, all []heard) answers {
	a := answers{
		to: make(map[uint16][]heard), owners: make(map[netip.Addr][]heard), routers: make(map[uint8][]heard), tooBig: make(map[netip.Addr]bool),
	}
	for _, h := range all {
		if h.reply.IsValid() && h.id == id {
			a.to[h.seq] = append(a.to[h.seq], h)
		}
		if h.owner.IsValid() {
			a.owners[h.owner] = append(a.owners[h.owner], h)
		}
		if h.router.IsValid() {
			a.routers[h.vrid] = append(a.routers[h.vrid], h)
		}
		if h.tooBig.IsValid() {
			a.tooBig[h.tooBig] = true
		}
	}
	return a
}

// replies are those to a question.
func (a answers) replies(seq uint16) []heard { return a.to[seq] }

// judge says what the answers mean.
func (p *plan) judge(heard []heard) *Report {
	a := sorted(p.id, heard)
	contested := p.judgeOwners(a)
	p.judgeTakers(a)
	p.judgeGateways(a)
	p.judgePaths(a)
	p.judgeRouters(a, contested)
	return p.report
}

func (p *plan) find(kind Kind, object, text, evidence, remedy string) {
	p.report.Findings = append(p.report.Findings, Finding{kind, object, text, evidence, remedy})
}

// who is the machine with a hardware address: a server or another director of the file.
func (p *plan) who(m mac, of func(netip.Addr) string) (name string, at netip.Addr, ok bool) {
	for _, a := range p.machines[m] {
		if of(a) != "" {
			return of(a), a, true
		}
	}
	return "", netip.Addr{}, false
}

func sortedAddresses(neighbours map[netip.Addr]mac) (out []netip.Addr) {
	for a := range neighbours {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// judgeOwners looks at who has answered for the virtual addresses, and returns those that
// another director has, with its hardware address.
func (p *plan) judgeOwners(a answers) map[netip.Addr]mac {
	directors := make(map[netip.Addr]mac)
	for _, q := range p.owners {
		p.report.Looked = append(p.report.Looked, fmt.Sprintf("who answers for %s on %s", q.vip, q.iface))
		seen := make(map[mac]bool)
		// Another director that has the address is known by its own on this interface. Where
		// the file has none, one machine that is no server is taken for it.
		excused := p.local(q.vip) || p.meets(q.iface)
		for _, h := range a.owners[q.vip] {
			if h.iface != q.iface || seen[h.from] {
				continue
			}
			seen[h.from] = true
			if _, _, ok := p.who(h.from, func(x netip.Addr) string { return p.directors[x] }); ok || p.virtual(h.from) {
				directors[q.vip] = h.from
				continue
			}
			service, at, isServer := p.who(h.from, func(x netip.Addr) string { return p.servers[x] })
			if !excused && !isServer {
				excused = true
				continue
			}
			evidence := fmt.Sprintf("MAC address %s on %s", h.from, q.iface)
			asks, how := "ARP", "arp_ignore = 1, arp_announce = 2, the address on lo alone"
			if q.vip.Is6() {
				asks, how = "neighbour solicitations", "the address on lo alone"
			}
			if isServer {
				p.find(ARP, q.vip.String(), fmt.Sprintf("the real server %s of service %s answers %s for %s: clients reach it past the director", at, service, asks, q.vip),
					fmt.Sprintf("%s, which is that of %s", evidence, at), fmt.Sprintf("lvsha realserver up on %s (%s)", at, how))
				continue
			}
			p.find(ARP, q.vip.String(), fmt.Sprintf("a machine that is no director of the file answers %s for %s (%s)", asks, q.vip, names(p.vips[q.vip])), evidence,
				"find the machine by its MAC address, and take the address away from it")
		}
	}
	return directors
}

// meets reports whether another director's address is on an interface's segment.
func (p *plan) meets(ifname string) bool {
	for a := range p.directors {
		if _, near := p.neighbours[a]; near && p.iface(a) == ifname {
			return true
		}
	}
	return false
}

// virtual reports whether a hardware address is that of a virtual router (RFC 9568
// section 7.3) of the file.
func (p *plan) virtual(m mac) bool {
	return p.virtuals[m]
}

// judgeTakers looks at which servers take packets for virtual addresses.
func (p *plan) judgeTakers(a answers) {
	for _, t := range p.takers {
		way := t.forward.String()
		if t.forward == ipvs.TUN {
			way += " " + t.tunnel.String()
		}
		if len(a.replies(t.itself)) == 0 {
			p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("whether %s takes packets for %s: it does not answer to ping at all", t.server, t.vip))
			continue
		}
		p.report.Looked = append(p.report.Looked, fmt.Sprintf("whether %s takes packets for %s by %s", t.server, t.vip, way))
		took := slices.ContainsFunc(a.replies(t.asked), func(h heard) bool {
			// One that hands the packet on is answered for by the director that has the
			// address.
			return h.reply == t.vip && (t.forward != ipvs.DR || h.from == t.mac)
		})
		if took {
			continue
		}
		what := "the address is not on its lo"
		if t.forward == ipvs.TUN {
			what = fmt.Sprintf("its end of the tunnel (%s) or the address there is missing, or rp_filter drops what comes out", t.tunnel)
		}
		evidence := fmt.Sprintf("%s answers to ping at its own address, and not to one for %s by %s", t.server, t.vip, way)
		if t.forward == ipvs.DR {
			evidence += fmt.Sprintf(" (sent to its MAC address %s)", t.mac)
		}
		p.find(VIP, t.server.String(), fmt.Sprintf("the real server %s of service %s does not take packets for %s: %s", t.server, t.service, t.vip, what),
			evidence, fmt.Sprintf("lvsha realserver status on %s, and lvsha realserver up", t.server))
	}
}

// judgeGateways looks at which servers' answers come back.
func (p *plan) judgeGateways(a answers) {
	for _, g := range p.gateways {
		if len(a.replies(g.itself)) == 0 {
			p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("where answers of %s go: it does not answer to ping at all", g.server))
			continue
		}
		p.report.Looked = append(p.report.Looked, fmt.Sprintf("whether answers of %s come back here", g.server))
		if len(a.replies(g.asked)) > 0 {
			continue
		}
		p.find(Gateway, g.server.String(), fmt.Sprintf("answers of the real server %s of service %s (nat) to clients do not come back through this director", g.server, g.service),
			fmt.Sprintf("%s (MAC address %s on %s) answers to ping from here, and its answer to one from %s does not come here", g.server, g.mac, g.iface, g.client),
			fmt.Sprintf("%s route replace default via %s on %s", ipCommand(g.server), p.gateway(g), g.server))
	}
}

func ipCommand(a netip.Addr) string {
	if a.Is6() {
		return "ip -6"
	}
	return "ip"
}

// gateway is the address that a server should have for its gateway: the virtual one of
// its network, or else this machine's.
func (p *plan) gateway(g gatewayQuestion) netip.Addr {
	l, _ := p.link(g.iface)
	var own netip.Addr
	for _, prefix := range l.Addresses {
		if !prefix.Contains(g.server) && !prefix.Masked().Contains(g.server) {
			continue
		}
		if p.vips[prefix.Addr()] != nil {
			return prefix.Addr()
		}
		if !own.IsValid() {
			own = prefix.Addr()
		}
	}
	return own
}

// judgePaths looks at the largest packets that arrived.
func (p *plan) judgePaths(a answers) {
	for _, q := range p.paths {
		largest := 0
		for seq, n := range q.asked {
			if len(a.replies(seq)) > 0 {
				largest = max(largest, n)
			}
		}
		if largest == 0 {
			p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("how large packets to %s may be: it does not answer to ping", q.server))
			continue
		}
		p.report.Looked = append(p.report.Looked, fmt.Sprintf("how large packets to %s may be", q.server))
		over := overhead(q.tunnel, q.server)
		told := a.tooBig[q.server]
		if largest < q.mtu && told {
			// The kernel learns of it, and tells clients.
			p.report.Looked = append(p.report.Looked, fmt.Sprintf("a router on the way to %s says what fits: about %d bytes", q.server, largest))
			continue
		}
		if largest < q.mtu {
			p.find(MTU, q.server.String(), fmt.Sprintf("packets to the real server %s of service %s that are longer than about %d bytes are lost, though the MTU of %s is %d", q.server, q.service, largest, q.iface, q.mtu),
				fmt.Sprintf("a ping of %d bytes that may not be fragmented is answered, larger ones are not; the tunnel (%s) adds %d bytes, so clients' packets of more than %d are lost", largest, q.tunnel, over, largest-over),
				fmt.Sprintf("have the path carry %d bytes, or tell this machine: %s route add %s … mtu lock %d", q.mtu, ipCommand(q.server), q.server, largest))
			continue
		}
		if front := p.mtu[q.front]; front > q.mtu-over {
			p.report.Advice = append(p.report.Advice, Finding{MTU, q.server.String(),
				fmt.Sprintf("a client's packet of %d bytes does not fit into the tunnel to %s", front, q.server),
				fmt.Sprintf("MTU %d of %s, less %d bytes of the tunnel (%s), is %d", q.mtu, q.iface, over, q.tunnel, q.mtu-over),
				fmt.Sprintf("lower the segment size on the server (ip route change default … advmss %d), or raise the MTU of %s to %d; otherwise clients depend on ICMP that tells them", q.mtu-over-40, q.iface, front+over)})
		}
	}
}

// judgeRouters looks at which virtual routers' advertisements arrived: none though
// another director has the address is a multicast that does not get here.
func (p *plan) judgeRouters(a answers, held map[netip.Addr]mac) {
	for _, r := range p.routers {
		if len(r.Unicast) > 0 || len(p.directors) == 0 {
			continue
		}
		p.report.Looked = append(p.report.Looked, fmt.Sprintf("whether advertisements of virtual router %s are heard on %s", r.Name, r.Key().Interface))
		var vip netip.Addr
		var by mac
		for _, at := range r.Addresses {
			if m, ok := held[at.Prefix.Addr()]; ok {
				vip, by = at.Prefix.Addr(), m
			}
		}
		arrived := slices.ContainsFunc(a.routers[r.VRID], func(h heard) bool {
			return h.router.Is6() == (r.Family() == vrrp.IPv6) && !p.local(h.router) && h.iface == r.Key().Interface
		})
		if !vip.IsValid() || arrived && !p.local(vip) {
			continue
		}
		group, name := "224.0.0.18", "another director"
		if r.Family() == vrrp.IPv6 {
			group = "ff02::12"
		}
		director, at, known := p.who(by, func(x netip.Addr) string { return p.directors[x] })
		if known {
			name = fmt.Sprintf("%s (%s)", director, at)
		}
		if arrived {
			p.find(ARP, vip.String(), fmt.Sprintf("this director and %s both have %s of virtual router %s, though its advertisements arrive here", name, vip, r.Name),
				fmt.Sprintf("MAC address %s answers for it, and this machine has it", by),
				"see whether this director's advertisements arrive there (lvsha doctor on it), and whether both daemons run and have the same file")
			continue
		}
		evidence := fmt.Sprintf("%s is answered for by MAC address %s, and no advertisement came to %s on %s meanwhile", vip, by, group, r.Key().Interface)
		if known {
			evidence += fmt.Sprintf("; %s answers", at)
		}
		p.find(Multicast, r.Name, fmt.Sprintf("advertisements of virtual router %s by %s do not arrive, though it has the address %s", r.Name, name, vip), evidence,
			"look for IGMP or MLD snooping without a querier on the switch, and for firewalls that drop protocol 112; or say unicast = true")
	}
}
