package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lvsha/vrrp"
)

// maxRulePriority is the last one before those of the tables main and default,
// which the kernel has from the start.
const maxRulePriority = 32765

// way is what the kernel tells routes and rules by: only one of each.
type way struct {
	what          string
	dst           netip.Prefix
	table, metric uint32
	rule          vrrp.Rule
}

// paths reads the routes and rules of a virtual router. taken are those of all.
func (s section) paths(rt *router, taken map[way]claim) {
	claimed := func(n *node, w way) bool {
		first, is := taken[w]
		if is {
			s.at(n, "%s is already one of virtual router %s on line %d", w.what, first.name, first.line)
		}
		taken[w] = claim{rt.Name, n.line}
		return is
	}
	for _, n := range s.list("routes") {
		text, ok := s.textOf(n)
		if !ok {
			continue
		}
		r, err := parseRoute(text, rt.Family())
		if err != nil {
			s.at(n, "%v", err)
			continue
		}
		what := "a route to " + r.Destination.String() + " of that table and metric"
		if !claimed(n, way{what: what, dst: r.Destination, table: r.Table, metric: r.Metric}) {
			rt.Routes = append(rt.Routes, r)
		}
	}
	for _, n := range s.list("rules") {
		text, ok := s.textOf(n)
		if !ok {
			continue
		}
		r, err := parseRule(text, rt.Family())
		if err != nil {
			s.at(n, "%v", err)
			continue
		}
		if !claimed(n, way{what: "this rule", rule: r}) {
			rt.Rules = append(rt.Rules, r)
		}
	}
}

// parseRoute reads a route as ip-route(8) has it. The family is that of one that
// does not say.
func parseRoute(text string, family vrrp.Family) (r vrrp.Route, err error) {
	fields := strings.Fields(text)
	types := []string{"unicast", "blackhole", "unreachable", "prohibit"}
	if len(fields) > 0 && slices.Contains(types, fields[0]) {
		if fields[0] != "unicast" {
			r.Type = fields[0]
		}
		fields = fields[1:]
	}
	if len(fields) == 0 {
		return r, fmt.Errorf("want a route such as \"10.2.0.0/16 via 192.0.2.1\", got %q", text)
	}
	pairs := []string{"via", "dev", "src", "table", "metric", "mtu", "scope"}
	if r.Type != "" {
		// It leads nowhere.
		pairs = []string{"table", "metric"}
	}
	var single []string
	if r.Type == "" {
		single = []string{"onlink"}
	}
	w, err := readWords(fields[1:], pairs, single)
	if err != nil {
		return r, fmt.Errorf("%w, in %q", err, text)
	}
	if err := cmp.Or(
		set(&r.Via, w.addr, "via"), set(&r.Interface, w.iface, "dev"), set(&r.Source, w.addr, "src"), set(&r.Table, w.table, "table"),
		set(&r.Metric, bounded(w, 1, math.MaxUint32), "metric"), set(&r.MTU, bounded(w, 68, 65535), "mtu"),
		set(&r.Scope, func(string) (uint8, error) { return w.scope() }, "scope"),
	); err != nil {
		return r, err
	}
	r.OnLink = w["onlink"] != ""
	if r.Table == tableMain {
		r.Table = 0
	}
	switch {
	case fields[0] != "default":
		if r.Destination, err = parseNetwork(fields[0]); err != nil {
			return r, err
		}
	case r.Via.Is6() || !r.Via.IsValid() && family == vrrp.IPv6:
		r.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	default:
		r.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return r, checkRoute(r, w)
}

// checkRoute holds what the kernel would refuse, or take for something else.
func checkRoute(r vrrp.Route, w words) error {
	six := r.Destination.Addr().Is6()
	for word, a := range map[string]netip.Addr{"via": r.Via, "src": r.Source} {
		if a.IsValid() && a.Is6() != six {
			return fmt.Errorf("%s and the %s behind %s are not of one family", r.Destination, a, word)
		}
	}
	switch {
	case r.Type == "" && !r.Via.IsValid() && r.Interface == "":
		return fmt.Errorf("the route to %s leads nowhere; want via ADDRESS or dev INTERFACE", r.Destination)
	case r.OnLink && (!r.Via.IsValid() || r.Interface == ""):
		return errors.New("onlink needs both via ADDRESS and dev INTERFACE")
	case r.Via.IsLinkLocalUnicast() && r.Interface == "":
		return fmt.Errorf("%s is link-local; want dev INTERFACE with it", r.Via)
	case six && w["scope"] != "":
		return errors.New("IPv6 routes have no scope")
	case six && r.MTU != 0 && r.MTU < 1280:
		return fmt.Errorf("want an MTU of 1280 or more in IPv6, got %d", r.MTU)
	case r.Scope != vrrp.ScopeGlobal && r.Scope != vrrp.ScopeLink:
		return fmt.Errorf("want scope global or link, got %s", w["scope"])
	case r.Scope == vrrp.ScopeLink && r.Via.IsValid():
		return errors.New("scope link is of a network without a gateway; leave via or scope out")
	}
	return nil
}

// parseRule reads a rule as ip-rule(8) has it.
func parseRule(text string, family vrrp.Family) (r vrrp.Rule, err error) {
	w, err := readWords(strings.Fields(text), []string{"from", "to", "iif", "oif", "fwmark", "table", "lookup", "priority", "pref"}, nil)
	if err != nil {
		return r, fmt.Errorf("%w, in %q", err, text)
	}
	for short, long := range map[string]string{"lookup": "table", "pref": "priority"} {
		if v, ok := w[short]; ok {
			if _, twice := w[long]; twice {
				return r, fmt.Errorf("%s and %s are the same, and both stand in %q", short, long, text)
			}
			w[long] = v
		}
	}
	if err := cmp.Or(
		set(&r.From, w.network, "from"), set(&r.To, w.network, "to"), set(&r.In, w.iface, "iif"), set(&r.Out, w.iface, "oif"),
		set(&r.Table, w.table, "table"), set(&r.Priority, bounded(w, 1, maxRulePriority), "priority"),
	); err != nil {
		return r, err
	}
	if r.Mark, r.Mask, err = w.mark(); err != nil {
		return r, err
	}
	r.Family = family
	for _, p := range []netip.Prefix{r.From, r.To} {
		if p.IsValid() && p.Addr().Is6() {
			r.Family = vrrp.IPv6
		} else if p.IsValid() {
			r.Family = vrrp.IPv4
		}
	}
	switch {
	case r.From.IsValid() && r.To.IsValid() && r.From.Addr().Is6() != r.To.Addr().Is6():
		return r, fmt.Errorf("%s and %s are not of one family", r.From, r.To)
	case r.Table == 0:
		return r, fmt.Errorf("the table is missing in %q: want table NUMBER", text)
	case r.Priority == 0:
		return r, fmt.Errorf("the priority is missing in %q: want priority 1 to %d, so that the rule can be told from others", text, maxRulePriority)
	case !r.From.IsValid() && !r.To.IsValid() && r.In == "" && r.Out == "" && r.Mask == 0:
		return r, fmt.Errorf("%q would be for every packet; want from, to, iif, oif or fwmark", text)
	}
	return r, nil
}

// network is a network, or "all", which is none.
func (w words) network(word string) (netip.Prefix, error) {
	v, ok := w[word]
	if !ok || v == "all" {
		return netip.Prefix{}, nil
	}
	p, err := parseNetwork(v)
	if err == nil && p.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("%s is every address; leave %s out", p, word)
	}
	return p, err
}

// mark reads "0x1/0xff" or "1".
func (w words) mark() (mark, mask uint32, err error) {
	v, ok := w["fwmark"]
	if !ok {
		return 0, 0, nil
	}
	bad := fmt.Errorf("want MARK or MARK/MASK such as \"0x1/0xff\" behind fwmark, got %q", v)
	first, second, masked := strings.Cut(v, "/")
	m, err := strconv.ParseUint(first, 0, 32)
	if err != nil {
		return 0, 0, bad
	}
	mask = math.MaxUint32
	if masked {
		n, err := strconv.ParseUint(second, 0, 32)
		if err != nil || n == 0 {
			return 0, 0, bad
		}
		mask = uint32(n)
	}
	if mark = uint32(m); mark&^mask != 0 {
		return 0, 0, fmt.Errorf("fwmark %s can never be: the mark has bits that the mask leaves out", v)
	}
	return mark, mask, nil
}

// set reads one word into a variable.
func set[T any](to *T, read func(string) (T, error), word string) (err error) {
	*to, err = read(word)
	return err
}

// bounded is number for set.
func bounded(w words, low, high uint32) func(string) (uint32, error) {
	return func(word string) (uint32, error) { return w.number(word, low, high) }
}
