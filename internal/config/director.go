package config

import (
	"net/netip"
	"slices"
	"strings"

	"lvsha/internal/peer"
)

const (
	// defaultPriority is VRRP's own (RFC 9568 section 6.1).
	defaultPriority = 100
	// maxDirectors is how many a file may have: it is read once for each.
	maxDirectors = 64
	// ownerPriority is that of the router whose interface has the addresses.
	ownerPriority = 255
)

// director is a [director.NAME] with what it overrides.
type director struct {
	Director
	node *node
	// overrides holds the sections of the file below it.
	overrides table
}

// view is the file with the director's overrides laid over it.
func (d director) view(root *node) *node {
	if len(d.overrides) == 0 {
		return root
	}
	return overlay(root, &node{value: d.overrides})
}

// directors reads all [director.NAME], and gives them sorted by name.
func (r *report) directors(top section) []director {
	var out []director
	owner := make(map[netip.Addr]string)
	keyed := make(map[peer.Pin]string)
	named := r.named(top.keys["director"], "director")
	if len(named) > maxDirectors {
		r.at(named[maxDirectors].node, "a file has at most %d directors, and this one has %d", maxDirectors, len(named))
		named = named[:maxDirectors]
	}
	for _, c := range named {
		s, ok := r.section(c.node, directorKeys())
		if !ok {
			continue
		}
		d := director{node: c.node, overrides: table{}}
		d.Name = c.name
		d.Priority = uint8(s.number("priority", defaultPriority, 1, ownerPriority))
		for _, n := range s.list("address") {
			a, ok := r.address(n)
			if !ok {
				continue
			}
			if slices.ContainsFunc(d.Addresses, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
				r.at(n, "a director has one address for each family; %s is the second %s one", a, family(a))
				continue
			}
			if other, taken := owner[a]; taken {
				r.at(n, "%s is already the address of director %s", a, other)
				continue
			}
			owner[a] = d.Name
			d.Addresses = append(d.Addresses, a)
		}
		d.Pin = s.pin(keyed, d.Name)
		for _, key := range []string{"vrrp", "service", "sync", "group", "track", "pacing", "bfd", "health", "ipvs", "notify", "peer"} {
			if over := s.keys[key]; over != nil {
				r.overrides(top, key, over, d.overrides)
			}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b director) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// singular are the sections that have keys of their own, and no named ones below.
func singular() []string { return []string{"bfd", "health", "ipvs", "notify", "peer", "sync"} }

// overrides adds what can be laid over the file to valid: what it overrides
// must be there, or a misspelt name would make a new router.
func (r *report) overrides(top section, key string, over *node, valid table) {
	if _, ok := over.value.(table); !ok {
		r.at(over, "want a table, got %s", typeName(over.value))
		return
	}
	if slices.Contains(singular(), key) {
		valid[key] = over
		return
	}
	var have []string
	for _, c := range top.keys[key].children() {
		have = append(have, c.name)
	}
	good := table{}
	for _, c := range over.children() {
		_, isTable := c.node.value.(table)
		switch {
		case !slices.Contains(have, c.name):
			r.at(c.node, "overrides [%s], which the file does not have%s", path(key).key(c.name), didYouMean(c.name, have))
		case !isTable:
			r.at(c.node, "want a table, got %s", typeName(c.node.value))
		default:
			good[c.name] = c.node
		}
	}
	if len(good) > 0 {
		valid[key] = &node{path: over.path, line: over.line, value: good}
	}
}

// choose finds this machine's director. A file without directors has one
// nameless view, number 0.
func (r *report) choose(top section, directors []director, as Identity) int {
	if len(directors) == 0 {
		if len(top.keys["director"].children()) > 0 {
			return 0 // said already, by directors
		}
		if as.As != "" {
			r.add(0, "director", "the file names no director, so this cannot be %q", as.As)
		}
		if routers := top.keys["vrrp"].children(); len(routers) > 0 {
			r.at(routers[0].node, "a virtual router needs directors: add [director.NAME] for each, with address and priority")
		}
		return 0
	}
	names := make([]string, len(directors))
	for i, d := range directors {
		names[i] = d.Name
	}
	if as.As != "" {
		if i := slices.Index(names, as.As); i >= 0 {
			return i
		}
		r.add(directors[0].node.line, "director", "no director is called %q%s; the file has %s", as.As, didYouMean(as.As, names), strings.Join(names, ", "))
		return 0
	}
	label, _, _ := strings.Cut(as.Hostname, ".")
	for _, host := range []string{as.Hostname, label} {
		// Host names know no case.
		if i := slices.IndexFunc(names, func(n string) bool { return host != "" && strings.EqualFold(n, host) }); i >= 0 {
			return i
		}
	}
	r.add(directors[0].node.line, "director", "no director is called like this host, %q; the file has %s: say which one this is with --as NAME", as.Hostname, strings.Join(names, ", "))
	return 0
}

// address reads the address of one machine.
func (r *report) address(n *node) (netip.Addr, bool) {
	v, ok := r.textOf(n)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		r.at(n, "want an address such as \"192.0.2.1\" (names are not looked up), got %q", v)
		return netip.Addr{}, false
	}
	if why := notOneMachine(a); why != "" {
		r.at(n, "%s %s", a, why)
		return netip.Addr{}, false
	}
	return a, true
}

// notOneMachine says why an address cannot be that of a machine on the network.
func notOneMachine(a netip.Addr) string {
	switch {
	case a.Is4In6():
		return "is an IPv4 address in IPv6 clothes; write " + a.Unmap().String()
	case a.IsUnspecified():
		return "is no machine's address"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is the broadcast address"
	}
	return ""
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
