package vrrp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The scopes of addresses and routes that have names (rtnetlink(7)).
const (
	ScopeGlobal uint8 = 0
	ScopeLink   uint8 = 253
	ScopeHost   uint8 = 254
)

// Address is one virtual address.
type Address struct {
	// Prefix is the address with the length it is installed with.
	Prefix netip.Prefix
	// Interface carries the address; empty means the virtual router's own.
	Interface string
	// Scope is where the address is valid, as in rtnetlink (RT_SCOPE_*):
	// ScopeGlobal, ScopeLink, ScopeHost or another number. Link-local addresses need none.
	Scope uint8
	// Label is an alias of old such as "eth0:1", which begins with the
	// interface's name and has at most 15 octets; IPv4 only, empty is none.
	Label string
}

// String writes the address as the file does: "192.0.2.10/24 dev eth0".
func (a Address) String() string {
	s := a.Prefix.String()
	if a.Interface != "" {
		s += " dev " + a.Interface
	}
	switch a.Scope {
	case 0:
	case ScopeLink:
		s += " scope link"
	case ScopeHost:
		s += " scope host"
	default:
		s += fmt.Sprintf(" scope %d", a.Scope)
	}
	if a.Label != "" {
		s += " label " + a.Label
	}
	return s
}

// Route is a route that moves with the addresses: it is there while they are.
// Its text is what ip-route(8) reads.
type Route struct {
	// Type is unicast when empty, or blackhole, unreachable or prohibit, which
	// have neither gateway nor interface.
	Type string
	// Destination is the network; a length of 0 is the default route.
	Destination netip.Prefix
	// Via is the gateway; not valid is none.
	Via netip.Addr
	// Interface is where it leads out; empty is where Via is.
	Interface string
	// Source is the preferred source address; not valid is the kernel's choice.
	Source netip.Addr
	// Table is the routing table, 0 for main.
	Table uint32
	// Metric is the preference, low first; 0 is the kernel's default.
	Metric uint32
	// MTU is the path MTU; 0 is the interface's.
	MTU uint32
	// Scope is ScopeGlobal, or ScopeLink for a network without a gateway.
	Scope uint8
	// OnLink says that Via needs no address of its network on the interface.
	OnLink bool
}

// String writes the route as ip-route(8) does.
func (r Route) String() string {
	var b strings.Builder
	if r.Type != "" {
		b.WriteString(r.Type + " ")
	}
	b.WriteString(r.Destination.String())
	word := func(name, value string, is bool) {
		if is {
			b.WriteString(" " + name + " " + value)
		}
	}
	number := func(name string, value uint32) {
		word(name, strconv.FormatUint(uint64(value), 10), value != 0)
	}
	word("via", r.Via.String(), r.Via.IsValid())
	word("dev", r.Interface, r.Interface != "")
	word("src", r.Source.String(), r.Source.IsValid())
	number("table", r.Table)
	number("metric", r.Metric)
	number("mtu", r.MTU)
	word("scope", "link", r.Scope == ScopeLink)
	if r.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// Rule is a policy routing rule that moves with the addresses (ip-rule(8)).
type Rule struct {
	// Family tells which rules it is one of where no prefix does.
	Family Family
	// From and To select packets by address; not valid is any.
	From, To netip.Prefix
	// In and Out select by interface; empty is any.
	In, Out string
	// Mark and Mask select by firewall mark; a Mask of 0 is any.
	Mark, Mask uint32
	// Table is the routing table to look in.
	Table uint32
	// Priority orders the rules, low first; never 0, which would be the kernel's
	// choice and could not be told from others'.
	Priority uint32
}

// String writes the rule as ip-rule(8) does.
func (r Rule) String() string {
	var words []string
	if r.From.IsValid() {
		words = append(words, "from "+r.From.String())
	}
	if r.To.IsValid() {
		words = append(words, "to "+r.To.String())
	}
	if r.Mask != 0 {
		words = append(words, fmt.Sprintf("fwmark %#x/%#x", r.Mark, r.Mask))
	}
	if r.In != "" {
		words = append(words, "iif "+r.In)
	}
	if r.Out != "" {
		words = append(words, "oif "+r.Out)
	}
	return strings.Join(append(words, fmt.Sprintf("table %d priority %d", r.Table, r.Priority)), " ")
}
