package config

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/track"
)

// maxWeight is what a condition can move a priority by, as in keepalived.
const maxWeight = 253

// condition is a [track.NAME].
type condition struct {
	track.Condition
	// weight is for those who use it without one of their own; 0 is a fault.
	weight int
}

// tracked is the use of a condition.
type tracked struct {
	track.Ref
	// at is where it was said.
	at *node
}

// conditions reads all [track.NAME].
func (r *report) conditions(n *node, services []Service) (out []condition) {
	named := r.named(n, "condition")
	if len(named) == 0 {
		return nil
	}
	known, types := trackKeys(), trackTypes() // they cost more than a condition does
	keys := slices.Sorted(maps.Keys(known))
	for _, c := range named {
		s, ok := r.section(c.node, keys)
		if !ok {
			continue
		}
		kind := ""
		if !s.missing("type", "want "+oneOf(types)) {
			if kind, ok = s.text("type"); ok && !slices.Contains(types, kind) {
				s.bad("type", "want %s, got %q%s", oneOf(types), kind, didYouMean(kind, types))
			}
		}
		if !slices.Contains(types, kind) {
			// It is wrong, but it is there.
			out = append(out, condition{Condition: track.Condition{Name: c.name}})
			continue
		}
		for _, name := range s.keys.names() {
			if only := known[name]; len(only) > 0 && !slices.Contains(only, kind) {
				s.bad(name, "is for conditions of type %s, and this one is %q", oneOf(only), kind)
			}
		}
		out = append(out, r.condition(s, c.name, kind, services))
	}
	return out
}

func (r *report) condition(s section, name, kind string, services []Service) condition {
	c := condition{weight: s.weight("weight")}
	c.Name = name
	c.Minimum = s.number("minimum", 1, 1, 10000)
	c.DownDelay = s.duration("down_delay", 0, time.Millisecond, maxDelay, 1)
	c.UpDelay = s.duration("up_delay", 0, time.Millisecond, maxDelay, 1)
	c.Interval = s.duration("interval", time.Second, minCheckInterval, maxCheckInterval, 1)
	switch kind {
	case "interface":
		c.Kind = track.Interface
		c.Interface = s.iface("interface", "the interface that has to be up")
	case "process":
		c.Kind = track.Process
		if !s.missing("process", "the name of the program such as \"haproxy\", or the path of its executable") {
			c.Process, _ = s.text("process")
			if strings.TrimSpace(c.Process) == "" {
				s.bad("process", "want the name of a program such as \"haproxy\", or the path of its executable")
			}
		}
	case "file":
		c.Kind = track.File
		if !s.missing("file", "the file that holds a number") {
			if c.File, _ = s.text("file"); !strings.HasPrefix(c.File, "/") {
				s.bad("file", "want an absolute path, got %q", c.File)
			}
		}
	case "service":
		c.Kind = track.Service
		if !s.missing("service", "the name of a service of this file") {
			c.Service, _ = s.text("service")
			var names []string
			for _, service := range services {
				names = append(names, service.Name)
			}
			if !slices.Contains(names, c.Service) {
				s.bad("service", "there is no [service.%s]%s", c.Service, didYouMean(c.Service, names))
			}
		}
	default:
		c.Kind = track.Probe
		c.Check = r.checkOf(s, kind)
		c.Server = r.probedAt(s, kind)
		c.Interval = 0 // the check has it
	}
	return c
}

// probedAt reads where a condition's probe goes.
func (r *report) probedAt(s section, kind string) netip.AddrPort {
	k, _ := healthcheck.KindOf(kind)
	switch k.Ports {
	case healthcheck.MayHavePort:
		return netip.AddrPort{}
	case healthcheck.NoPort:
		if s.missing("address", "the address that has to answer, such as a gateway's") {
			return netip.AddrPort{}
		}
		a, _ := r.address(s.keys["address"])
		return netip.AddrPortFrom(a, 0)
	}
	if s.missing("address", "the address and port that are probed, such as \"10.0.0.1:80\"") {
		return netip.AddrPort{}
	}
	v, ok := s.text("address")
	if !ok {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(v)
	if err != nil || a.Port() == 0 {
		s.bad("address", "want ADDRESS:PORT such as \"10.0.0.1:80\" or \"[2001:db8::1]:80\" (names are not looked up), got %q", v)
	}
	return a
}

// weight reads what a condition adds to the priority.
func (s section) weight(key string) int {
	w := s.number(key, 0, -maxWeight, maxWeight)
	if n, ok := s.keys[key]; ok && n.value == int64(0) {
		s.bad(key, "0 would do nothing; leave it out, and the virtual router is in fault while the condition does not hold")
	}
	return w
}

// tracks reads what a virtual router or a sync group depends on.
func (r *report) tracks(s section, conditions []condition) (out []tracked) {
	var names []string
	for _, c := range conditions {
		names = append(names, c.Name)
	}
	for _, n := range s.list("track") {
		name, isName := n.value.(string)
		weight := 0
		if _, isTable := n.value.(table); isTable {
			use, ok := r.section(n, trackUseKeys())
			if !ok || use.missing("name", "the name of a condition") {
				continue
			}
			name, isName = use.text("name")
			weight = use.weight("weight")
		}
		if !isName {
			r.at(n, "want the name of a condition, or a table such as { name = \"uplink\", weight = -20 }, got %s", typeName(n.value))
			continue
		}
		i := slices.Index(names, name)
		if i < 0 {
			r.at(n, "there is no [track.%s]%s", name, didYouMean(name, names))
			continue
		}
		if weight == 0 {
			weight = conditions[i].weight
		}
		if slices.ContainsFunc(out, func(t tracked) bool { return t.Condition == name }) {
			r.at(n, "%s is there twice", name)
			continue
		}
		out = append(out, tracked{track.Ref{
			Condition: name, Weight: weight, Fault: weight == 0, File: conditions[i].Kind == track.File,
		}, n})
	}
	return out
}

// ownersTrack holds that an owner's tracks are faults, as nothing moves its priority.
func (r *report) ownersTrack(rt router, tracks []tracked) {
	for _, t := range tracks {
		if rt.Priority == ownerPriority && !t.Fault {
			r.at(t.at, "%s has a weight, and priority 255 (on %s) does not change (RFC 9568 section 5.2.4)", t.Condition, rt.Name)
		}
	}
}

// trackRefs are what one virtual router depends on: its own conditions and its sync
// group's. All members of a group have the same, so that their priorities stay
// the same.
func trackRefs(rt router, d *draft) []track.Ref {
	var refs []track.Ref
	add := func(list []tracked) {
		for _, t := range list {
			if !slices.Contains(refs, t.Ref) {
				refs = append(refs, t.Ref)
			}
		}
	}
	add(rt.tracks)
	for _, g := range d.groups {
		if !slices.ContainsFunc(g.routers, func(i int) bool { return d.routers[i].Name == rt.Name }) {
			continue
		}
		add(g.tracks)
		for _, i := range g.routers {
			add(d.routers[i].tracks)
		}
	}
	return refs
}

// trackTypes are the types of conditions.
func trackTypes() []string {
	return slices.Sorted(slices.Values(append([]string{"file", "interface", "process", "service"}, trackProbes()...)))
}

// trackProbes are the kinds of check that can be conditions: those that look at
// something else than this machine, or run a program.
func trackProbes() []string {
	return slices.DeleteFunc(healthcheck.Kinds(), func(name string) bool {
		k, _ := healthcheck.KindOf(name)
		return k.Local && name != "exec" || k.Ports == healthcheck.NeedsOwnPort
	})
}

// trackKeys are the keys of a condition, with the types that have them; none
// means all types.
func trackKeys() map[string][]string {
	probes := trackProbes()
	settling := []string{"interface", "process", "service"}
	keys := map[string][]string{
		"type": nil, "weight": nil,
		"interface": {"interface"}, "process": {"process"}, "file": {"file"}, "service": {"service"},
		"minimum": {"process", "service"}, "down_delay": settling, "up_delay": settling,
		"interval": append([]string{"process", "file"}, probes...),
		"address":  slices.DeleteFunc(slices.Clone(probes), func(k string) bool { return k == "exec" }),
	}
	for name, only := range checkKeys() {
		if _, ours := keys[name]; !ours && name != "port" && name != "through" {
			if len(only) == 0 {
				only = probes
			}
			keys[name] = only
		}
	}
	return keys
}

func trackUseKeys() []string { return []string{"name", "weight"} }
