package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/vrrp"
)

const (
	// The bounds of the advertisement interval: version 3 has 12 bits of
	// centiseconds (RFC 9568 section 5.2.7), version 2 has 8 bits of seconds
	// (RFC 3768 section 5.3.7).
	minIntervalV3 = 10 * time.Millisecond
	maxIntervalV3 = 4095 * 10 * time.Millisecond
	minIntervalV2 = 1 * time.Second
	maxIntervalV2 = 255 * time.Second
)

// router is a [vrrp.NAME] as one director sees it.
type router struct {
	vrrp.Config
	node *node
	// own is the director's own address of the router's family.
	own netip.Addr
	// unicast is whether advertisements go to the other directors one by one,
	// and not to peers that are listed.
	unicast bool
	tracks  []tracked
}

// claim is where something was said that may be said only once.
type claim struct {
	name string
	line int
}

// routers reads all [vrrp.NAME], sorted by name.
func (r *report) routers(n *node, d director) []router {
	// A link-local address is one only together with its interface.
	type scoped struct {
		addr  netip.Addr
		iface string
	}
	var out []router
	keys := make(map[vrrp.Key]claim)
	addrs := make(map[scoped]claim)
	ways := make(map[way]claim)
	virtual := make(map[string]claim)
	for _, c := range r.named(n, "virtual router") {
		s, ok := r.section(c.node, routerKeys())
		if !ok {
			continue
		}
		rt := r.router(s, c.name, d)
		if rt.Interface != "" && rt.VRID != 0 {
			if first, taken := keys[rt.Key()]; taken {
				s.bad("vrid", "virtual router %s on line %d already has VRID %d on %s", first.name, first.line, rt.VRID, rt.Interface)
			} else {
				keys[rt.Key()] = claim{c.name, s.keys["vrid"].line}
			}
		}
		for _, a := range slices.Concat(s.list("addresses"), s.list("excluded")) {
			v, err := parseVirtual(a)
			if err != nil {
				continue // said by router
			}
			key := scoped{addr: v.Prefix.Addr()}
			if key.addr.IsLinkLocalUnicast() {
				key.iface = cmp.Or(v.Interface, rt.Interface)
			}
			if first, taken := addrs[key]; taken {
				r.at(a, "%s is already an address of virtual router %s on line %d", v.Prefix.Addr(), first.name, first.line)
			} else {
				addrs[key] = claim{c.name, a.line}
			}
		}
		if derived := linkLocal(rt.VRID); rt.Family() == vrrp.IPv6 && rt.Addresses[0].Prefix == derived {
			key := scoped{derived.Addr(), rt.Interface}
			if first, taken := addrs[key]; taken && first.name != c.name {
				s.bad("addresses", "%s, the link-local address derived from VRID %d, is already an address of virtual router %s on line %d", key.addr, rt.VRID, first.name, first.line)
			}
			addrs[key] = claim{c.name, s.keys["addresses"].line}
		}
		s.paths(&rt, ways)
		if first, taken := virtual[rt.Virtual]; taken && rt.Virtual != "" {
			s.bad("virtual_mac", "%s is already the interface of virtual router %s on line %d; say virtual_mac = \"NAME\"", rt.Virtual, first.name, first.line)
		} else if rt.Virtual != "" {
			virtual[rt.Virtual] = claim{c.name, s.keys["virtual_mac"].line}
		}
		out = append(out, rt)
	}
	slices.SortFunc(out, func(a, b router) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (r *report) router(s section, name string, d director) router {
	rt := router{node: s.node}
	rt.Name = name
	rt.Interface = s.iface("interface", "the interface on which advertisements are sent and heard")
	if !s.missing("vrid", "the virtual router identifier, 1 to 255, the same on all directors and on no other router of the segment") {
		rt.VRID = uint8(s.number("vrid", 0, 1, 255))
	}
	rt.Version = uint8(s.number("version", 3, 2, 3))
	if rt.Version == 2 {
		rt.Interval = s.duration("advertise", time.Second, minIntervalV2, maxIntervalV2, time.Second)
	} else {
		rt.Interval = s.duration("advertise", time.Second, minIntervalV3, maxIntervalV3, 10*time.Millisecond)
	}
	rt.Priority = uint8(s.number("priority", int(d.Priority), 1, ownerPriority))
	s.takeover(&rt)
	s.delays(&rt)
	rt.Announce = s.announcing()
	rt.Checksum, _ = s.checksumOf()
	if rt.Version == 2 && rt.Checksum != vrrp.ChecksumAuto {
		s.bad("checksum", "version 2 has one form of checksum only; leave this out")
	}
	rt.Addresses = r.virtuals(s, d, rt)
	if rt.Family() == vrrp.IPv6 {
		if rt.Version == 2 {
			s.bad("version", "version 2 is for IPv4 only (RFC 3768); IPv6 needs version 3")
		} else if rt.Checksum != vrrp.ChecksumAuto {
			s.bad("checksum", "IPv6 has one form of checksum only; leave this out")
		}
	}
	r.unicastPeers(s, d, &rt)
	rt.Auth = r.auth(s, rt.Version)
	rt.Excluded = r.excluded(s, d, rt)
	rt.NoAccept = !s.flagOr("accept", true)
	rt.own, _ = d.address(rt.Family())
	s.virtualMAC(&rt)
	return rt
}

// pair looks at all directors together.
func (r *report) pair(directors []director, drafts []*draft) {
	owners := make(map[string]string)
	var lonely bool
	unicast := make(map[vrrp.Family]bool)
	for i, d := range directors {
		for _, rt := range drafts[i].routers {
			if rt.Priority == ownerPriority {
				if first, taken := owners[rt.Name]; taken {
					r.at(rt.node, "directors %s and %s both have priority 255, and only one can own the addresses", first, d.Name)
				}
				owners[rt.Name] = d.Name
			}
			if !rt.unicast {
				continue
			}
			if len(directors) < 2 && !lonely {
				lonely = true
				r.at(rt.node.value.(table)["unicast"], "unicast needs another director to send to")
			}
			unicast[rt.Family()] = true
		}
	}
	for _, family := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
		for _, d := range directors {
			if _, ok := d.address(family); unicast[family] && !ok {
				r.add(d.node.line, d.node.path.key("address"), "is missing: the unicast virtual routers need the IPv%d address of every director", family)
			}
		}
	}
}

// address is the director's own address of a family.
func (d director) address(f vrrp.Family) (netip.Addr, bool) {
	for _, a := range d.Addresses {
		if a.Is4() == (f == vrrp.IPv4) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// peers are the other directors of a virtual router, and where a unicast one
// sends to unless it has a list.
func peers(directors []director, drafts []*draft, own int, rt router) (out []vrrp.Peer, unicast []netip.Addr) {
	for i, d := range directors {
		if i == own {
			continue
		}
		theirs := slices.IndexFunc(drafts[i].routers, func(o router) bool { return o.Name == rt.Name })
		if theirs < 0 {
			continue
		}
		addr, _ := d.address(rt.Family())
		out = append(out, vrrp.Peer{Name: d.Name, Address: addr, Priority: drafts[i].routers[theirs].Priority})
		if rt.unicast {
			unicast = append(unicast, addr)
		}
	}
	if !rt.unicast {
		unicast = rt.Unicast
	}
	return out, unicast
}
