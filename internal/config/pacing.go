package config

import (
	"slices"
	"strings"
	"time"

	"lvsha/vrrp"
)

const (
	// minGap is beyond what a process keeps to, and maxGap keepalived's.
	minGap = 100 * time.Microsecond
	maxGap = time.Second
)

// pacing reads all [pacing.NAME], sorted by name.
func (r *report) pacing(n *node, routers []router) []vrrp.Pacing {
	used := carriers(routers)
	taken := make(map[string]claim)
	var out []vrrp.Pacing
	for _, c := range r.named(n, "pacing") {
		s, ok := r.section(c.node, pacingKeys())
		if !ok {
			continue
		}
		p := vrrp.Pacing{Name: c.name}
		if !s.missing("interfaces", "the interfaces whose announcements are spaced together") && len(s.list("interfaces")) == 0 {
			s.bad("interfaces", "want one interface or more")
		}
		for _, item := range s.list("interfaces") {
			name, ok := r.textOf(item)
			if !ok {
				continue
			}
			switch first, is := taken[name]; {
			case !validInterface(name):
				r.at(item, "want the name of an interface such as \"eth0\", got %q", name)
			case is && first.name == c.name:
				r.at(item, "%s is listed twice", name)
			case is:
				r.at(item, "%s is already in [pacing.%s] on line %d", name, first.name, first.line)
			case !slices.Contains(used, name):
				r.at(item, "no virtual router has addresses on %s%s", name, didYouMean(name, used))
			default:
				p.Interfaces = append(p.Interfaces, name)
			}
			taken[name] = claim{c.name, item.line}
		}
		if !s.missing("gap", "the least time between two packets, such as \"1ms\"") {
			p.Gap = s.duration("gap", 0, minGap, maxGap, 1)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b vrrp.Pacing) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// carriers are the interfaces of the file on which addresses are announced. A virtual
// router's own one goes by the one below it.
func carriers(routers []router) (out []string) {
	for _, rt := range routers {
		out = append(out, rt.Interface)
		for _, a := range slices.Concat(rt.Addresses, rt.Excluded) {
			if a.Interface != "" {
				out = append(out, a.Interface)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
