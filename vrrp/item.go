package vrrp

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// item is one thing that a worker puts into the kernel: exactly one of its
// fields is set.
type item struct {
	// virtual is the interface that carries the addresses.
	virtual Virtual
	// prefix is an address on the worker's interface.
	prefix netip.Prefix
	route  Route
	rule   Rule
}

// itemOf is the item of an address: its scope and label are not what tells it
// from others.
func itemOf(a Address) item { return item{prefix: a.Prefix} }

// pathItems are the items of routes and rules.
func pathItems(routes []Route, rules []Rule) []item {
	items := make([]item, 0, len(routes)+len(rules))
	for _, r := range routes {
		items = append(items, item{route: r})
	}
	for _, r := range rules {
		items = append(items, item{rule: r})
	}
	return items
}

// path says whether the item is a route or a rule.
func (it item) path() bool { return it.rank() >= 2 }

// rank is the order in which items are put in place.
func (it item) rank() int {
	switch {
	case it.virtual.Name != "":
		return 0
	case it.prefix.IsValid():
		return 1
	case it.route.Destination.IsValid():
		return 2
	default:
		return 3
	}
}

// on writes the item, which the worker of an interface has.
func (it item) on(iface string) string {
	switch it.rank() {
	case 0:
		return "interface " + it.virtual.Name
	case 1:
		return "address " + Address{Prefix: it.prefix, Interface: iface}.String()
	case 2:
		return "route " + it.route.String()
	default:
		return "rule " + it.rule.String()
	}
}

// compareItems orders items as they are put in place, and otherwise so that two
// runs do the same: addresses as numbers, routes from the nearest, since one may
// need another to reach its gateway.
func compareItems(a, b item) int {
	if c := cmp.Or(a.rank()-b.rank(), a.prefix.Addr().Compare(b.prefix.Addr()), a.prefix.Bits()-b.prefix.Bits()); c != 0 || !a.path() {
		return c
	}
	return cmp.Or(
		cmp.Compare(nearness(a.route), nearness(b.route)),
		strings.Compare(a.route.String(), b.route.String()),
		cmp.Compare(a.rule.Priority, b.rule.Priority),
		strings.Compare(a.rule.String(), b.rule.String()),
	)
}

// nearness is 0 for a route that needs no gateway.
func nearness(r Route) int {
	if r.Via.IsValid() {
		return 1
	}
	return 0
}

// claim is how a virtual router wants an address. Other items have none.
type claim struct {
	// address has no interface: that is the worker's.
	address Address
	refuse  bool
}

func claimOf(a Address, refuse bool) claim {
	a.Interface = ""
	return claim{a, refuse}
}

// entry is what a worker knows about one item.
type entry struct {
	owners    map[Key]claim
	installed bool
	// removed says that the kernel was told to remove it.
	removed bool
	// refused says that packets to the address are, or may be, refused.
	refused bool
	// announce says that an announcement is owed since an error.
	announce bool
	// announced says that hosts were told since it was installed.
	announced bool
	failures  int
	retryAt   time.Time
	err       error
	// lost says that somebody removed it, and restored is when it was last put
	// back. Both are of routes and rules: a router knows about its addresses.
	lost     bool
	restored time.Time
}

// again has the kernel told anew.
func (e *entry) again() {
	e.removed, e.announce, e.announced = false, false, false
	e.failures, e.retryAt = 0, time.Time{}
}

// claim is how the address is installed. Where virtual routers share it and
// differ, the first of them decides, and one that accepts packets does.
func (e *entry) claim() claim {
	keys := slices.SortedFunc(maps.Keys(e.owners), compareKeys)
	c := e.owners[keys[0]]
	for _, k := range keys {
		c.refuse = c.refuse && e.owners[k].refuse
	}
	return c
}

// wanted reports whether one of some virtual routers wants the item.
func (e *entry) wanted(keys map[Key]bool) bool {
	for key := range e.owners {
		if keys[key] {
			return true
		}
	}
	return false
}

// compareKeys orders virtual routers.
func compareKeys(a, b Key) int {
	return cmp.Or(strings.Compare(a.Interface, b.Interface), int(a.Family)-int(b.Family), int(a.VRID)-int(b.VRID))
}

// verifyPaths puts the routes and rules of virtual routers back that somebody
// removed, but not in a race.
func (w *worker) verifyPaths(now time.Time, keys map[Key]bool) {
	var routes []Route
	var rules []Rule
	for it, e := range w.entries {
		if !it.path() || !e.installed || !e.wanted(keys) {
			continue
		}
		if it.rank() == 2 {
			routes = append(routes, it.route)
		} else {
			rules = append(rules, it.rule)
		}
	}
	if len(routes)+len(rules) == 0 {
		return
	}
	gone, goneRules, err := w.links.MissingPaths(routes, rules)
	items := pathItems(gone, goneRules)
	if err != nil {
		items = pathItems(routes, rules)
	}
	slices.SortFunc(items, compareItems)
	for _, it := range items {
		e := w.entries[it]
		if err != nil {
			e.installed = false
			w.outcome(now, it, e, fmt.Errorf("looking for %s: %w", it.on(w.iface), err))
			continue
		}
		e.installed, e.lost = false, true
		if at := e.restored.Add(restoreEvery); now.Before(at) {
			e.retryAt = at
			continue
		}
		w.install(now, it, e)
	}
}
