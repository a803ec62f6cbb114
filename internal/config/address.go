package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lvsha/vrrp"
)

const (
	// maxAddresses4 is what the 8 bits of IPvX Addr Count can say, and
	// maxAddresses6 what an MTU of 1500 leaves room for (KA-VIP-01).
	maxAddresses4 = 255
	maxAddresses6 = 89
	// maxExcluded bounds the addresses that are not advertised.
	maxExcluded = 1000
)

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
		if err == nil {
			r.placed(n, d, rt, a)
		}
	}
	switch {
	case len(items) == 0:
		s.bad("addresses", "want at least one address")
	case len(v4) > 0 && len(v6) > 0:
		s.bad("addresses", "a virtual router has addresses of one family; split it in two, which may share the VRID: [vrrp.%s] addresses = %s and [vrrp.%s-ipv6] addresses = %s",
			rt.Name, addressList(v4), rt.Name, addressList(v6))
	case len(v6) > maxAddresses6:
		s.bad("addresses", "an advertisement has room for %d IPv6 addresses, got %d; move those that need not be in it to excluded", maxAddresses6, len(v6))
	case len(v6) > 0:
		return r.linkLocalFirst(s, rt, v6)
	case len(v4) > maxAddresses4:
		s.bad("addresses", "an advertisement has room for %d IPv4 addresses, got %d; move those that need not be in it to excluded", maxAddresses4, len(v4))
	}
	return v4
}

// excluded reads the addresses that are not advertised, of either family.
func (r *report) excluded(s section, d director, rt router) []vrrp.Address {
	var out []vrrp.Address
	for _, n := range s.list("excluded") {
		a, err := parseVirtual(n)
		if err != nil {
			r.at(n, "%v", err)
			continue
		}
		r.placed(n, d, rt, a)
		out = append(out, a)
	}
	if n := len(s.list("excluded")); n > maxExcluded {
		s.bad("excluded", "a virtual router has at most %d addresses that are not advertised, got %d", maxExcluded, n)
	}
	return out
}

// placed holds what an address must be on this director and interface.
func (r *report) placed(n *node, d director, rt router, a vrrp.Address) {
	if slices.Contains(d.Addresses, a.Prefix.Addr()) && rt.Priority != ownerPriority {
		r.at(n, "%s is the own address of director %s: then it owns the virtual router and needs priority 255", a.Prefix.Addr(), d.Name)
	}
	if iface := cmp.Or(a.Interface, rt.Interface); a.Label != "" && !strings.HasPrefix(a.Label, iface) {
		r.at(n, "a label begins with the name of the interface: want one such as %q, got %q", iface+":1", a.Label)
	}
}

// virtualMAC reads whether the addresses have an interface of their own.
func (s section) virtualMAC(rt *router) {
	n, ok := s.keys["virtual_mac"]
	if !ok {
		return
	}
	switch v := n.value.(type) {
	case bool:
		if v && rt.Family() == vrrp.IPv6 {
			rt.Virtual = fmt.Sprintf("vrrp6.%d", rt.VRID)
		} else if v {
			rt.Virtual = fmt.Sprintf("vrrp.%d", rt.VRID)
		}
	case string:
		if !validInterface(v) {
			s.at(n, "want true, false or a name for the interface such as \"vrrp.51\", 15 octets at most, got %q", v)
			return
		}
		if v == rt.Interface {
			s.at(n, "%s is the interface below; want another name", v)
			return
		}
		rt.Virtual = v
	default:
		s.at(n, "want true, false or a name for the interface such as \"vrrp.51\", got %s", typeName(n.value))
	}
	if rt.Virtual != "" && rt.Priority == ownerPriority && slices.ContainsFunc(rt.Addresses, func(a vrrp.Address) bool { return a.Prefix.Addr() == rt.own }) {
		s.at(n, "%s is on %s already, with the interface's own MAC address; the owner of the addresses can have no virtual one", rt.own, rt.Interface)
	}
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
	case first < 0 && len(list) == maxAddresses6:
		s.bad("addresses", "an advertisement has room for %d IPv6 addresses with the link-local one, got %d without; move those that need not be in it to excluded", maxAddresses6, len(list))
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

// parseVirtual reads "192.0.2.10/24" or "10.1.0.254/24 dev eth1 scope link label
// eth1:1".
func parseVirtual(n *node) (vrrp.Address, error) {
	text, ok := n.value.(string)
	if !ok {
		return vrrp.Address{}, fmt.Errorf("want a string such as \"192.0.2.10/24\", got %s", typeName(n.value))
	}
	bad := fmt.Errorf("want ADDRESS[/LENGTH] [dev INTERFACE] such as \"192.0.2.10/24\" or \"10.1.0.254/24 dev eth1\", got %q", text)
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return vrrp.Address{}, bad
	}
	words, err := readWords(fields[1:], []string{"dev", "scope", "label"}, nil)
	if err != nil {
		return vrrp.Address{}, err
	}
	var out vrrp.Address
	if out.Interface, err = words.iface("dev"); err != nil {
		return vrrp.Address{}, err
	}
	if out.Scope, err = words.scope(); err != nil {
		return vrrp.Address{}, err
	}
	out.Label = words["label"]
	if len(out.Label) > 15 {
		return vrrp.Address{}, fmt.Errorf("a label has at most 15 octets, got %q", out.Label)
	}
	if p, err := netip.ParsePrefix(fields[0]); err == nil {
		out.Prefix = p
	} else if a, err := netip.ParseAddr(fields[0]); err == nil && a.Zone() == "" {
		out.Prefix = netip.PrefixFrom(a, a.BitLen())
	} else {
		return vrrp.Address{}, bad
	}
	a := out.Prefix.Addr()
	if a.Is6() && (out.Label != "" || words["scope"] != "") {
		return vrrp.Address{}, fmt.Errorf("IPv6 addresses have no label, and their scope is in the address; got %q", text)
	}
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
		quoted[i] = strconv.Quote(a.String())
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
