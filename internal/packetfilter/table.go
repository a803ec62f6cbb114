package packetfilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// TableName is the name of lvsha's tables, one of each family.
const TableName = "lvsha-ipvs"

// Table is a table of nftables.
type Table struct {
	// IPv6 is its family.
	IPv6   bool
	Sets   []Set
	Chains []Chain
}

// Set is a set or a map, whose elements are concatenations of fields.
type Set struct {
	Name   string
	Fields []Field
	// Map says that each element has the name of a chain, where its packets go.
	Map      bool
	Elements []Element
}

// Field is a part of a packet or of its connection.
type Field uint8

// The fields.
const (
	_ Field = iota
	// Destination is the address that the packet is for now.
	Destination
	// SourceAddress is who it is from.
	SourceAddress
	// Protocol is that of the transport.
	Protocol
	// Port is the port that it is for now.
	Port
	// PacketMark is its firewall mark.
	PacketMark
	// OriginalDestination is the address that the client sent it to, before IPVS
	// changed it.
	OriginalDestination
	// Incoming is the interface that it came in by.
	Incoming
)

// Value is one value of a field, or a range of them.
type Value struct {
	// Addr is that of addresses, and LastAddr the last one of a range.
	Addr, LastAddr netip.Addr
	// Number is that of protocols, ports and marks, and Last the last port of a range.
	Number, Last uint32
	// Mask are the bits of a mark that count, zero for all.
	Mask uint32
	// Name is that of interfaces.
	Name string
}

// Element is an element of a set: a value for each of its fields.
type Element struct {
	Values []Value
	// Chain is that of a map.
	Chain string
}

// Chain is a chain of rules: one that the kernel calls for every packet at one place, or
// one that a map leads to.
type Chain struct {
	Name string
	// Led says that a map leads to it, so that it has no place of its own.
	Led bool
	// NAT says that it sees the first packet of a connection only, and decides for
	// all of them.
	NAT      bool
	Hook     Hook
	Priority int
	Rules    []Rule
}

// Hook is a place on a packet's way.
type Hook uint8

// The places (enum nf_inet_hooks).
const (
	Prerouting Hook = iota
	Input
	Forwarding
	Output
	Postrouting
)

// String returns the name that nft has for it.
func (h Hook) String() string {
	return []string{"prerouting", "input", "forward", "output", "postrouting"}[h]
}

// The priorities of chains (enum nf_ip_hook_priorities).
const (
	mangle     = -150
	justBefore = -1 // before what the machine's own rules accept or drop
	sourceNAT  = 99 // before the machine's own at srcnat: the first that translates is the one
)

// Rule is one rule: what happens to packets whose fields are in a set.
type Rule struct {
	// Unmarked is only for packets without a firewall mark.
	Unmarked bool
	// Set is what Fields are looked up in.
	Set    string
	Fields []Field
	// Is are further conditions, each a field with its only value.
	Is []Condition
	// Do is what happens.
	Do Action
	// Mark is that of SetMark, and Pool that of ToSource.
	Mark uint32
	Pool Pool
}

// Condition is a field that has to have a value.
type Condition struct {
	Field Field
	Value Value
}

// Action is what happens to a packet.
type Action uint8

// The actions.
const (
	_ Action = iota
	// Follow goes to the chain of the element.
	Follow
	// SetMark gives the packet a firewall mark.
	SetMark
	// ToSource gives its connection a source address of the pool.
	ToSource
	// Accept lets it in.
	Accept
	// Drop drops it.
	Drop
)

// Tables are what the rules are in the kernel: a table for each family that has any.
func (r Rules) Tables() []Table {
	r = r.normal()
	var out []Table
	for _, ipv6 := range []bool{false, true} {
		t := Table{IPv6: ipv6}
		t.marks(r.Marks)
		t.sources(r.Sources, r.Exempt)
		t.sync(r.Sync)
		if len(t.Chains) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// marks are a map for all of them, to a chain for each mark: a packet is looked up once,
// however many there are.
func (t *Table) marks(marks []Mark) {
	set := Set{Name: "marks", Fields: []Field{Destination, Protocol, Port}, Map: true}
	var led []Chain
	for _, m := range marks {
		if m.From.Is6() != t.IPv6 {
			continue
		}
		chain := fmt.Sprintf("mark-%08x", m.Mark)
		set.Elements = append(set.Elements, Element{
			Values: []Value{{Addr: m.From, LastAddr: m.To}, {Number: uint32(m.Protocol)}, {Number: uint32(m.First), Last: uint32(m.Last)}}, Chain: chain,
		})
		if !slices.ContainsFunc(led, func(c Chain) bool { return c.Name == chain }) {
			led = append(led, Chain{Name: chain, Led: true, Rules: []Rule{{Do: SetMark, Mark: m.Mark}}})
		}
	}
	if len(set.Elements) == 0 {
		return
	}
	t.Sets, t.Chains = append(t.Sets, set), append(t.Chains, led...)
	rule := Rule{Set: set.Name, Fields: set.Fields, Do: Follow}
	t.Chains = append(t.Chains, Chain{Name: "prerouting", Hook: Prerouting, Priority: mangle, Rules: []Rule{rule}})
	// What this machine sends has the marks of checks, if any.
	rule.Unmarked = true
	t.Chains = append(t.Chains, Chain{Name: "output", Hook: Output, Priority: mangle, Rules: []Rule{rule}})
}

// sources are a set of servers for each service and pool. The server's address is part
// of it: the packets that IPVS forwards otherwise keep the service's. What the client
// sent to is a condition of its own, because nft 1.0.6 dies of listing a concatenation
// with it; only the first packet of a connection comes here.
func (t *Table) sources(sources []Source, exempt Masked) {
	chain := Chain{Name: "postrouting", NAT: true, Hook: Postrouting, Priority: sourceNAT}
	if exempt != (Masked{}) {
		chain.Rules = append(chain.Rules, Rule{Is: []Condition{{PacketMark, Value{Number: exempt.Mark, Mask: exempt.Mask}}}, Do: Accept})
	}
	var sets []Set
	var last Source
	for _, s := range sources {
		if s.Server.Is6() != t.IPv6 {
			continue
		}
		server := Element{Values: []Value{{Addr: s.Server}}}
		s.Server = netip.Addr{}
		if len(sets) > 0 && s == last { // they are sorted
			set := &sets[len(sets)-1]
			set.Elements = append(set.Elements, server)
			continue
		}
		last = s
		set := Set{Name: fmt.Sprintf("servers%d", len(sets)+1), Fields: []Field{Destination}, Elements: []Element{server}}
		sets = append(sets, set)
		is := []Condition{{PacketMark, Value{Number: s.Mark}}}
		if s.Mark == 0 {
			is = []Condition{{Protocol, Value{Number: uint32(s.Protocol)}}, {OriginalDestination, Value{Addr: s.Addr}}}
		}
		chain.Rules = append(chain.Rules, Rule{Is: is, Set: set.Name, Fields: set.Fields, Do: ToSource, Pool: s.Pool})
	}
	if len(sets) > 0 {
		t.Sets, t.Chains = append(t.Sets, sets...), append(t.Chains, chain)
	}
}

// sync lets in what the other directors send to the group, and nothing else.
func (t *Table) sync(s *Sync) {
	if s == nil || s.Group.Addr().Is6() != t.IPv6 {
		return
	}
	const udp = 17
	is := []Condition{
		{Protocol, Value{Number: udp}}, {Port, Value{Number: uint32(s.Group.Port())}}, {Destination, Value{Addr: s.Group.Addr()}},
	}
	input := Chain{Name: "input", Hook: Input, Priority: justBefore}
	if s.Own != 0 {
		// A mark does not come in from outside.
		input.Rules = []Rule{{Is: append(slices.Clone(is), Condition{PacketMark, Value{Number: s.Own}}), Do: Accept}}
	}
	if len(s.Peers) == 0 {
		input.Rules = append(input.Rules, Rule{Is: append(slices.Clone(is), Condition{Incoming, Value{Name: s.Interface}}), Do: Accept}, Rule{Is: is, Do: Drop})
		t.Chains = append(t.Chains, input)
		return
	}
	set := Set{Name: "directors", Fields: []Field{Incoming, SourceAddress}}
	for _, p := range s.Peers {
		set.Elements = append(set.Elements, Element{Values: []Value{{Name: s.Interface}, {Addr: p}}})
	}
	t.Sets = append(t.Sets, set)
	input.Rules = append(input.Rules, Rule{Is: is, Set: set.Name, Fields: set.Fields, Do: Accept}, Rule{Is: is, Do: Drop})
	t.Chains = append(t.Chains, input)
}

// interval reports whether the set has ranges.
func (s Set) interval() bool {
	for _, f := range s.Fields {
		if f == Port {
			return true
		}
	}
	return false
}

// String returns the table as nft(8) has it.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", family(t.IPv6), TableName)
	for _, s := range t.Sets {
		word, types := "set", make([]string, len(s.Fields))
		for i, f := range s.Fields {
			types[i] = f.typeName(t.IPv6)
		}
		kind := strings.Join(types, " . ")
		if s.Map {
			word, kind = "map", kind+" : verdict"
		}
		fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", word, s.Name, kind)
		if s.interval() {
			b.WriteString("\t\tflags interval\n")
		}
		if len(s.Elements) > 0 {
			elements := make([]string, len(s.Elements))
			for i, e := range s.Elements {
				elements[i] = e.text(s)
			}
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(elements, ",\n\t\t             "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range t.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if !c.Led {
			kind := map[bool]string{false: "filter", true: "nat"}[c.NAT]
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", kind, c.Hook, c.Priority)
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text(t.IPv6))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (e Element) text(s Set) string {
	parts := make([]string, len(e.Values))
	for i, v := range e.Values {
		parts[i] = s.Fields[i].text(v)
	}
	out := strings.Join(parts, " . ")
	if s.Map {
		out += " : goto " + e.Chain
	}
	return out
}

func (r Rule) text(ipv6 bool) string {
	var parts []string
	if r.Unmarked {
		parts = append(parts, "meta mark 0x00000000")
	}
	for _, c := range r.Is {
		if mask := c.Value.Mask; mask != 0 {
			parts = append(parts, fmt.Sprintf("%s & 0x%08x == %s", c.Field.name(ipv6), mask, c.Field.text(c.Value)))
			continue
		}
		parts = append(parts, c.Field.name(ipv6)+" "+c.Field.text(c.Value))
	}
	fields := make([]string, len(r.Fields))
	for i, f := range r.Fields {
		fields[i] = f.name(ipv6)
	}
	key := strings.Join(fields, " . ")
	switch r.Do {
	case Follow:
		parts = append(parts, key+" vmap @"+r.Set)
	case SetMark:
		parts = append(parts, fmt.Sprintf("meta mark set 0x%08x", r.Mark))
	case ToSource:
		parts = append(parts, key+" @"+r.Set, "snat to "+r.Pool.String())
		if r.Pool.First != r.Pool.Last {
			parts = append(parts, "persistent")
		}
	case Accept, Drop:
		if r.Set != "" {
			parts = append(parts, key+" @"+r.Set)
		}
		parts = append(parts, map[Action]string{Accept: "accept", Drop: "drop"}[r.Do])
	}
	return strings.Join(parts, " ")
}

// String returns "10.1.0.254" or "10.1.0.240-10.1.0.247".
func (p Pool) String() string {
	if p.First == p.Last {
		return p.First.String()
	}
	return p.First.String() + "-" + p.Last.String()
}

func family(ipv6 bool) string { return map[bool]string{false: "ip", true: "ip6"}[ipv6] }

// name is how nft has the field.
func (f Field) name(ipv6 bool) string {
	switch f {
	case Destination:
		return family(ipv6) + " daddr"
	case SourceAddress:
		return family(ipv6) + " saddr"
	case Protocol:
		return "meta l4proto"
	case Port:
		return "th dport"
	case PacketMark:
		return "meta mark"
	case OriginalDestination:
		return "ct original daddr"
	default:
		return "iifname"
	}
}

// typeName is how nft has the type of the field.
func (f Field) typeName(ipv6 bool) string {
	switch f {
	case Protocol:
		return "inet_proto"
	case Port:
		return "inet_service"
	case PacketMark:
		return "mark"
	case Incoming:
		return "ifname"
	default:
		return map[bool]string{false: "ipv4_addr", true: "ipv6_addr"}[ipv6]
	}
}

// text is a value of the field.
func (f Field) text(v Value) string {
	switch f {
	case Destination, SourceAddress, OriginalDestination:
		if v.LastAddr.IsValid() {
			return Pool{v.Addr, v.LastAddr}.String()
		}
		return v.Addr.String()
	case PacketMark:
		return fmt.Sprintf("0x%08x", v.Number)
	case Incoming:
		return fmt.Sprintf("%q", v.Name)
	case Protocol:
		if name, ok := map[uint32]string{6: "tcp", 17: "udp", 132: "sctp"}[v.Number]; ok {
			return name
		}
	}
	if v.Last > v.Number {
		return fmt.Sprintf("%d-%d", v.Number, v.Last)
	}
	return fmt.Sprint(v.Number)
}
