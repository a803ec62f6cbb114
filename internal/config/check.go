package config

import (
	"maps"
	"slices"
	"time"

	"lvsha/healthcheck"
)

// The bounds of a check's pace.
const (
	minCheckInterval = 100 * time.Millisecond
	maxCheckInterval = time.Hour
	minCheckTimeout  = 10 * time.Millisecond
	maxCheckCount    = 100
)

// checks reads check of a service or a server: a table or an array of tables.
func (r *report) checks(s section) []healthcheck.Check {
	var out []healthcheck.Check
	for _, n := range s.list("check") {
		before := len(r.problems)
		c, ok := r.check(n)
		if !ok {
			continue
		}
		if len(r.problems) == before && slices.Contains(out, c) {
			r.at(n, "is the same as a check before it")
			continue
		}
		out = append(out, c)
	}
	return out
}

func (r *report) check(n *node) (healthcheck.Check, bool) {
	if r.checkable.names == nil {
		r.checkable = newKeysOfChecks()
	}
	known := r.checkable.kinds
	s, ok := r.section(n, r.checkable.names)
	if !ok {
		return healthcheck.Check{}, false
	}
	types := r.checkable.types
	if s.keys["type"] == nil { // the words cost more than all the rest
		s.missing("type", "want "+oneOf(types))
		return healthcheck.Check{}, false
	}
	kind, ok := s.text("type")
	if !ok {
		return healthcheck.Check{}, false
	}
	if !slices.Contains(types, kind) {
		s.bad("type", "want %s, got %q%s", oneOf(types), kind, didYouMean(kind, types))
		return healthcheck.Check{}, false
	}
	for _, name := range s.keys.names() {
		if only := known[name]; len(only) > 0 && !slices.Contains(only, kind) {
			s.bad(name, "is for checks of type %s, and this one is %q", oneOf(only), kind)
		}
	}
	c := r.checkOf(s, kind)
	c.Through = s.word("through", "server", "service") == "service"
	if q, ok := c.Ask.(healthcheck.Mute); ok && q.Mute() && c.Through {
		s.bad("through", "this check would pass without the server; say what it has to answer, or reply = true")
	}
	c.Weight = s.number("weight", 0, 1, maxCheckCount)
	return c, true
}

// checkOf reads the keys of a check of a kind.
func (r *report) checkOf(s section, kind string) healthcheck.Check {
	c := healthcheck.Check{
		Port: uint16(s.number("port", 0, 1, 65535)),
		Rise: s.number("rise", healthcheck.DefaultRise, 1, maxCheckCount),
		Fall: s.number("fall", healthcheck.DefaultFall, 1, maxCheckCount),
	}
	c.Interval = s.duration("interval", healthcheck.DefaultInterval, minCheckInterval, maxCheckInterval, 1)
	c.Timeout = s.duration("timeout", min(healthcheck.DefaultTimeout, c.Interval), minCheckTimeout, maxCheckInterval, 1)
	c.FastInterval = s.duration("fast_interval", 0, minCheckInterval, maxCheckInterval, 1)
	if c.FastInterval > c.Interval {
		s.bad("fast_interval", "%s is longer than the interval of %s", brief(c.FastInterval), brief(c.Interval))
	}
	c.DownInterval = s.duration("down_interval", 0, minCheckInterval, maxCheckInterval, 1)
	c.Jitter = s.duration("jitter", 0, time.Millisecond, maxCheckInterval, 1)
	c.Damping = r.damping(s)
	if c.Jitter > c.Interval {
		s.bad("jitter", "%s is longer than the interval of %s", brief(c.Jitter), brief(c.Interval))
	}
	if c.Timeout > c.Interval {
		s.bad("timeout", "%s is longer than the interval of %s, and a probe never overlaps the next", brief(c.Timeout), brief(c.Interval))
	}
	k, _ := healthcheck.KindOf(kind)
	c.Ask = r.question(s, k.Default)
	s.asksHere(c.Ask)
	if k.Ports == healthcheck.NeedsOwnPort {
		s.missing("port", "the port of the "+kind+" on the server")
	}
	return c
}

// keysOfChecks are the keys of all checks, sorted, with the kinds that have each, and
// the kinds.
type keysOfChecks struct {
	names, types []string
	kinds        map[string][]string
}

func newKeysOfChecks() keysOfChecks {
	kinds := checkKeys()
	return keysOfChecks{names: slices.Sorted(maps.Keys(kinds)), types: healthcheck.Kinds(), kinds: kinds}
}

// checkKeys are the keys of a check, with the types that have them; none means
// all types.
func checkKeys() map[string][]string {
	keys := make(map[string][]string)
	for _, key := range []string{
		"damping", "down_interval", "fall", "fast_interval", "interval", "jitter", "rise", "timeout", "type", "weight",
	} {
		keys[key] = nil
	}
	for _, name := range healthcheck.Kinds() {
		k, _ := healthcheck.KindOf(name)
		if k.Ports != healthcheck.NoPort {
			keys["port"] = append(keys["port"], name)
		}
		// A program would have to mark its packets itself, and one that does not
		// would be answered by any server; ICMP is of no service.
		if k.Ports == healthcheck.NeedsPort && !k.Local {
			keys["through"] = append(keys["through"], name)
		}
		for _, f := range questionFields(k.Default) {
			for _, key := range f.keys() {
				keys[key] = append(keys[key], name)
			}
		}
	}
	return keys
}
