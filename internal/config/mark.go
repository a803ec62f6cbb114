package config

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"slices"

	"lvsha/ipvs"
)

// The firewall marks that are made of the names of services.
const (
	FirstAutoMark = 0x4d000000
	LastAutoMark  = 0x4dffffff
)

// DirectorMark is the firewall mark of packets to a service for which this director is a
// server and not the active director.
const DirectorMark = 0x4c4f0001 // "LO"

// lastPort is the last of all ports, which port 0 stands for.
const lastPort = math.MaxUint16

// Cover is a range of addresses and ports of a protocol.
type Cover struct {
	// From and To are the addresses, both included.
	From, To netip.Addr
	Protocol ipvs.Protocol
	// First and Last are the ports, both included; 0 and 65535 are every port.
	First, Last uint16
}

// String returns the range as the file has it, such as "192.0.2.10:8000-8999/tcp".
func (c Cover) String() string {
	address := func(a netip.Addr) string {
		if a.Is6() {
			return "[" + a.String() + "]"
		}
		return a.String()
	}
	s := address(c.From)
	if c.To != c.From {
		s += "-" + address(c.To)
	}
	s += fmt.Sprintf(":%d", c.First)
	if c.Last != c.First && c.First != 0 {
		s += fmt.Sprintf("-%d", c.Last)
	}
	return s + "/" + c.Protocol.String()
}

// meets reports whether there are packets that are for both.
func (c Cover) meets(o Cover) bool {
	return c.Protocol == o.Protocol && c.From.Is4() == o.From.Is4() &&
		c.From.Compare(o.To) <= 0 && o.From.Compare(c.To) <= 0 && c.First <= o.Last && o.First <= c.Last
}

// span is an item of listen: addresses and ports, or a mark that somebody else sets.
type span struct {
	Cover
	mark ipvs.ServiceKey
}

func (s span) byMark() bool { return s.mark.Mark != 0 }
func (s span) valid() bool  { return s.From.IsValid() }

// ranges reports whether no one service of the kernel can be all of it but one by mark.
func (s span) ranges() bool {
	return s.valid() && (s.From != s.To || s.First != s.Last && s.First != 0)
}

// claims are what services of the file are known by in the kernel.
type claims struct {
	marks map[ipvs.ServiceKey]claim
	spans []claimedSpan
	// single are the places among the spans of one port of one address, of which there
	// are thousands, ports those of several ports of one, at all of one, and wide those of
	// several addresses.
	single    map[Cover][]int
	ports, at map[onAddress][]int
	wide      []int
}

// onAddress is a protocol on an address.
type onAddress struct {
	addr     netip.Addr
	protocol ipvs.Protocol
}

type claimedSpan struct {
	claim
	Cover
	marked bool
}

func newClaims() *claims {
	return &claims{
		marks: make(map[ipvs.ServiceKey]claim), single: make(map[Cover][]int),
		ports: make(map[onAddress][]int), at: make(map[onAddress][]int),
	}
}

// near are the places of the spans that may have packets in common with one, in order.
func (c *claims) near(s Cover) []int {
	on := onAddress{s.From, s.Protocol}
	var out []int
	switch {
	case s.From != s.To:
		out = make([]int, len(c.spans))
		for i := range out {
			out[i] = i
		}
		return out
	case s.First != s.Last:
		out = slices.Concat(c.at[on], c.wide)
	default:
		out = slices.Concat(c.single[s], c.ports[on], c.wide)
	}
	slices.Sort(out)
	return out
}

// keep adds a span.
func (c *claims) keep(s claimedSpan) {
	place, on := len(c.spans), onAddress{s.From, s.Protocol}
	c.spans = append(c.spans, s)
	if s.From != s.To {
		c.wide = append(c.wide, place)
		return
	}
	c.at[on] = append(c.at[on], place)
	if s.First == s.Last {
		c.single[s.Cover] = append(c.single[s.Cover], place)
	} else {
		c.ports[on] = append(c.ports[on], place)
	}
}

// addresses claims addresses and ports. Beside a service on every port of an address
// there may be others on some.
func (c *claims) addresses(r *report, n *node, name string, s span, marked bool) bool {
	everyPort := func(c Cover, marked bool) bool { return c.First == 0 && !marked }
	for _, i := range c.near(s.Cover) {
		o := c.spans[i]
		switch {
		case !o.meets(s.Cover):
		case everyPort(o.Cover, o.marked) != everyPort(s.Cover, marked):
		case o.Cover == s.Cover:
			r.at(n, "service %s on line %d already listens on %s", o.name, o.line, n.value)
			return false
		default:
			r.at(n, "service %s on line %d already listens on %s, which has packets in common with %s", o.name, o.line, o.Cover, n.value)
			return false
		}
	}
	c.keep(claimedSpan{claim{name, n.line}, s.Cover, marked})
	return true
}

func isAutoMark(mark uint32) bool { return mark >= FirstAutoMark && mark <= LastAutoMark }

// mark reads mark. The default is made of the service's name: connections are known
// by it, so it has to be the same on all directors and stay when addresses come and go.
func (r *report) mark(s section, name string) uint32 {
	auto := fnv.New32a()
	auto.Write([]byte(name))
	def := FirstAutoMark + auto.Sum32()%(LastAutoMark-FirstAutoMark+1)
	n := s.keys["mark"]
	if n == nil || n.value == "auto" {
		return def
	}
	v, ok := n.value.(int64)
	switch {
	case !ok || v < 1 || v > math.MaxUint32:
		got := fmt.Sprint(n.value)
		if !ok {
			got = typeName(n.value)
			if text, isText := n.value.(string); isText {
				got = fmt.Sprintf("%q", text)
			}
		}
		s.at(n, "want \"auto\" or a firewall mark from 1 to 4294967295, the same on all directors, got %s", got)
		return def
	case reservedMark(uint32(v)) != "":
		s.at(n, "%s, got %#x", reservedMark(uint32(v)), v)
		return def
	}
	return uint32(v)
}

// sameMarks makes sure that all directors know a service by the same mark: a connection
// that one tells another is its.
func (r *report) sameMarks(directors []director, drafts []*draft) {
	first := make(map[string]ipvs.ServiceKey)
	for i, d := range drafts {
		for _, s := range d.services {
			if len(s.Covers) == 0 || len(s.Listen) == 0 {
				continue
			}
			if was, ok := first[s.Name]; ok && was.Mark != s.Listen[0].Mark {
				r.add(directors[i].node.line, path("service").key(s.Name).key("mark"),
					"has to be the same on all directors, and is %#x on %s and %#x on %s", was.Mark, directors[0].Name, s.Listen[0].Mark, directors[i].Name)
				continue
			}
			first[s.Name] = s.Listen[0]
		}
	}
}

// onePort is the port of all that a service covers, if there is one.
func (s Service) onePort() (port uint16, ok bool) {
	for i, c := range s.Covers {
		if c.First != c.Last || i > 0 && c.First != port {
			return 0, false
		}
		port = c.First
	}
	return port, len(s.Covers) > 0
}
