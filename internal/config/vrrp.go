package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
	// maxAddresses is what the 8 bits of IPvX Addr Count can say.
	maxAddresses = 255
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
		for _, a := range s.list("addresses") {
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
	rt.own, _ = d.address(rt.Family())
	return rt
}

// virtuals reads a virtual router's addresses.
func (r *report) virtuals(s section, d director, rt router) []vrrp.Address {
	if s.missing("addresses", "the virtual addresses, such as [\"192.0.2.10/24\"]") {
		return nil
	}
	var v4, v6 []vrrp.Address
	items := s.list("addresses")
	for _, n := range items {
		a, err := parseVirtual(n)
		switch {
		case err != nil:
			r.at(n, "%v", err)
		case a.Prefix.Addr().Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
		if err == nil && slices.Contains(d.Addresses, a.Prefix.Addr()) && rt.Priority != ownerPriority {
			r.at(n, "%s is the own address of director %s: then it owns the virtual router and needs priority 255", a.Prefix.Addr(), d.Name)
		}
	}
	switch {
	case len(items) == 0:
		s.bad("addresses", "want at least one address")
	case len(items) > maxAddresses:
		s.bad("addresses", "a virtual router has at most %d addresses, got %d", maxAddresses, len(items))
	case len(v4) > 0 && len(v6) > 0:
		s.bad("addresses", "a virtual router has addresses of one family; split it in two, which may share the VRID: [vrrp.%s] addresses = %s and [vrrp.%s-ipv6] addresses = %s",
			rt.Name, addressList(v4), rt.Name, addressList(v6))
	case len(v6) > 0:
		return r.linkLocalFirst(s, rt, v6)
	}
	return v4
}

// linkLocalFirst holds that the list begins with the virtual router's link-local
// address (RFC 9568 section 5.2.9), and derives one where the list has none: it
// must be the same on all directors and no other router's on the segment, and
// the VRID is just that.
func (r *report) linkLocalFirst(s section, rt router, list []vrrp.Address) []vrrp.Address {
	isLinkLocal := func(a vrrp.Address) bool {
		return a.Prefix.Addr().IsLinkLocalUnicast() && (a.Interface == "" || a.Interface == rt.Interface)
	}
	switch first := slices.IndexFunc(list, isLinkLocal); {
	case first > 0:
		sorted := slices.Insert(slices.Delete(slices.Clone(list), first, first+1), 0, list[first])
		s.bad("addresses", "the link-local address of the virtual router comes first (RFC 9568 section 5.2.9): addresses = %s", addressList(sorted))
	case first < 0 && len(list) == maxAddresses:
		s.bad("addresses", "a virtual router has at most %d addresses with its link-local one, got %d without", maxAddresses, len(list))
	case first < 0:
		list = slices.Insert(list, 0, vrrp.Address{Prefix: linkLocal(rt.VRID)})
	}
	return list
}

// linkLocal is the link-local address of a virtual router that the file gives
// none: fe80::5e:VRID, the VRID in hexadecimal. It is not made from the virtual MAC
// (RFC 9568 section 7.4).
func linkLocal(vrid uint8) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 13: 0x5e, 15: vrid}), 128)
}

// parseVirtual reads "192.0.2.10/24" or "10.1.0.254/24 dev eth1".
func parseVirtual(n *node) (vrrp.Address, error) {
	text, ok := n.value.(string)
	if !ok {
		return vrrp.Address{}, fmt.Errorf("want a string such as \"192.0.2.10/24\", got %s", typeName(n.value))
	}
	bad := fmt.Errorf("want ADDRESS[/LENGTH] [dev INTERFACE] such as \"192.0.2.10/24\" or \"10.1.0.254/24 dev eth1\", got %q", text)
	fields := strings.Fields(text)
	var out vrrp.Address
	switch {
	case len(fields) == 1:
	case len(fields) == 3 && fields[1] == "dev" && validInterface(fields[2]):
		out.Interface = fields[2]
	default:
		return vrrp.Address{}, bad
	}
	if p, err := netip.ParsePrefix(fields[0]); err == nil {
		out.Prefix = p
	} else if a, err := netip.ParseAddr(fields[0]); err == nil && a.Zone() == "" {
		out.Prefix = netip.PrefixFrom(a, a.BitLen())
	} else {
		return vrrp.Address{}, bad
	}
	a := out.Prefix.Addr()
	if why := notOneMachine(a); why != "" {
		return vrrp.Address{}, fmt.Errorf("%s %s", a, why)
	}
	if out.Prefix.Bits() == 0 {
		return vrrp.Address{}, fmt.Errorf("a prefix length of 0 would make every address a neighbour; want 1 to %d", a.BitLen())
	}
	if a.Is6() && out.Prefix.Bits() < 127 && a == out.Prefix.Masked().Addr() {
		return vrrp.Address{}, fmt.Errorf("%s is the anycast address of all routers of %s (RFC 4291 section 2.6.1)", a, out.Prefix)
	}
	if a.Is4() && out.Prefix.Bits() < 31 {
		switch a {
		case out.Prefix.Masked().Addr():
			return vrrp.Address{}, fmt.Errorf("%s is the address of the network %s itself", a, out.Prefix)
		case broadcast(out.Prefix):
			return vrrp.Address{}, fmt.Errorf("%s is the broadcast address of %s", a, out.Prefix.Masked())
		}
	}
	return out, nil
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func addressList(addrs []vrrp.Address) string {
	quoted := make([]string, len(addrs))
	for i, a := range addrs {
		text := a.Prefix.String()
		if a.Interface != "" {
			text += " dev " + a.Interface
		}
		quoted[i] = strconv.Quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
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
