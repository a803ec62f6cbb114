package config

import (
	"net/netip"
	"slices"

	"lvsha/vrrp"
)

// checksumOf reads a form of the checksum; ok is false when it is absent.
func (s section) checksumOf() (form vrrp.Checksum, ok bool) {
	_, ok = s.keys["checksum"]
	switch s.word("checksum", "auto", "pseudo", "rfc9568") {
	case "pseudo":
		form = vrrp.ChecksumPseudo
	case "rfc9568":
		form = vrrp.ChecksumRFC9568
	}
	return form, ok
}

// unicastPeers reads unicast, which is true or a list, and what goes with it.
func (r *report) unicastPeers(s section, d director, rt *router) {
	n := s.keys["unicast"]
	if n != nil {
		switch v := n.value.(type) {
		case bool:
			rt.unicast = v
		case []*node:
			if len(v) == 0 {
				s.bad("unicast", "want at least one peer; nothing falls back to multicast, leave this out for that")
			}
			for _, item := range v {
				r.unicastPeer(item, d, rt)
			}
		default:
			s.bad("unicast", "want true or a list of addresses such as [\"10.0.0.2\"], got %s", typeName(n.value))
		}
	}
	if ttl := s.number("min_ttl", 255, 1, 255); ttl != 255 {
		rt.MinTTL = uint8(ttl)
		if n == nil || n.value == false {
			s.bad("min_ttl", "is for unicast peers; advertisements to the group always need 255 (RFC 9568 section 7.1)")
		}
	}
}

// unicastPeer reads one peer: an address, or a table.
func (r *report) unicastPeer(n *node, d director, rt *router) {
	at, form, special := n, vrrp.ChecksumAuto, false
	if _, ok := n.value.(table); ok {
		s, _ := r.section(n, unicastKeys())
		if s.missing("address", "the peer's address") {
			return
		}
		at = s.keys["address"]
		if form, special = s.checksumOf(); special && (rt.Version == 2 || rt.Family() == vrrp.IPv6) {
			s.bad("checksum", "there are two forms only in version 3 over IPv4; leave this out")
		}
	}
	a, ok := r.address(at)
	if !ok {
		return
	}
	switch {
	case slices.Contains(d.Addresses, a):
		r.at(at, "%s is the own address of director %s; list its peers under [director.%s.vrrp.%s], or write unicast = true", a, d.Name, d.Name, rt.Name)
	case rt.Family() != 0 && a.Is4() != (rt.Family() == vrrp.IPv4):
		r.at(at, "%s is an %s address, and the virtual addresses are IPv%d", a, family(a), rt.Family())
	case slices.Contains(rt.Unicast, a):
		r.at(at, "%s is in the list already", a)
	case slices.ContainsFunc(rt.Addresses, func(v vrrp.Address) bool { return v.Prefix.Addr() == a }):
		r.at(at, "%s is an address of the virtual router itself; a peer is known by its own", a)
	case len(rt.Unicast) > 0 && a.IsLinkLocalUnicast() != rt.Unicast[0].IsLinkLocalUnicast() && a.Is6():
		r.at(at, "%s and %s are not of one scope, and advertisements have one source address", rt.Unicast[0], a)
	default:
		rt.Unicast = append(rt.Unicast, a)
		if special {
			if rt.PeerChecksum == nil {
				rt.PeerChecksum = make(map[netip.Addr]vrrp.Checksum)
			}
			rt.PeerChecksum[a] = form
		}
	}
}

// source is the address that unicast advertisements come from, where the file
// tells: the director's own, which is the one the others accept.
func (rt *router) source() netip.Addr {
	if len(rt.Unicast) == 0 || !rt.own.IsValid() || rt.own.IsLinkLocalUnicast() != rt.Unicast[0].IsLinkLocalUnicast() {
		return netip.Addr{}
	}
	return rt.own
}
