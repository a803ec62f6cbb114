package config

import (
	"slices"
	"strings"
	"time"

	"lvsha/vrrp"
)

const (
	// maxDelay bounds the delays of takeovers and starts.
	maxDelay = time.Hour
	// maxAnnouncePause bounds the pauses between announcements.
	maxAnnouncePause = 24 * time.Hour
)

// takeover reads when the router takes over from a living one of lower priority.
func (s section) takeover(rt *router) {
	v, ok := s.text("takeover")
	if !ok {
		return
	}
	switch after, isDelay := strings.CutPrefix(v, "after "); {
	case v == "always":
	case v == "never":
		rt.NoPreempt, rt.PreemptLowered = true, true
	case v == "nopreempt":
		rt.NoPreempt = true
	case isDelay:
		d, err := time.ParseDuration(after)
		if err != nil || d <= 0 || d > maxDelay {
			s.bad("takeover", "want \"after\" and a duration of up to %s such as \"after 30s\", got %q", brief(maxDelay), v)
			return
		}
		rt.PreemptAfter = d
	default:
		s.bad("takeover", "want \"always\", \"never\", \"nopreempt\" or \"after\" with a duration such as \"after 30s\", got %q%s", v, didYouMean(v, []string{"always", "never", "nopreempt"}))
	}
	if (rt.NoPreempt || rt.PreemptAfter > 0) && rt.Priority == ownerPriority {
		s.bad("takeover", "priority 255 owns the addresses and always takes over at once (RFC 9568 section 6.1)")
	}
}

// delays reads how long a fresh daemon holds back, and what an own address that is missing
// means.
func (s section) delays(rt *router) {
	rt.Absence = s.pause("absence", 10*time.Second)
	rt.StartDelay = s.duration("start_delay", 0, time.Millisecond, maxDelay, 1)
	rt.BootDelay = s.duration("boot_delay", 0, time.Millisecond, maxDelay, 1)
}

// announcing reads how often hosts are told of the addresses.
func (s section) announcing() (out vrrp.Announcing) {
	n := s.keys["announce"]
	if n == nil {
		return out
	}
	a, ok := s.section(n, announceKeys())
	if !ok {
		return out
	}
	out.Count = a.number("count", 0, 1, 60)
	out.Again = a.pause("again", maxAnnouncePause)
	out.Refresh = a.pause("refresh", maxAnnouncePause)
	return out
}

// pause is a duration that "0s" turns off, which vrrp wants as less than zero.
func (s section) pause(key string, most time.Duration) time.Duration {
	n := s.keys[key]
	if n == nil {
		return 0
	}
	if v, ok := n.value.(string); ok && (v == "0s" || v == "0") {
		return -1
	}
	return s.duration(key, 0, 10*time.Millisecond, most, 1)
}

// group is a [group.NAME].
type group struct {
	vrrp.GroupConfig
	node *node
	// routers are its members, by their place in the draft.
	routers []int
	tracks  []tracked
}

// groups reads all [group.NAME].
func (r *report) groups(n *node, routers []router, conditions []condition) (out []group) {
	taken := make(map[string]string)
	var names []string
	for _, rt := range routers {
		names = append(names, rt.Name)
	}
	for _, c := range r.named(n, "sync group") {
		s, ok := r.section(c.node, groupKeys())
		if !ok {
			continue
		}
		g := group{node: c.node}
		g.Name = c.name
		if s.missing("routers", "the names of two or more virtual routers that move together") {
			continue
		}
		for _, item := range s.list("routers") {
			name, ok := r.textOf(item)
			if !ok {
				continue
			}
			i := slices.Index(names, name)
			switch other, is := taken[name]; {
			case i < 0:
				r.at(item, "there is no [vrrp.%s]%s", name, didYouMean(name, names))
				continue
			case is:
				r.at(item, "virtual router %s is already in sync group %s", name, other)
				continue
			}
			taken[name] = g.Name
			g.routers = append(g.routers, i)
			g.Members = append(g.Members, routers[i].Key())
		}
		if len(s.list("routers")) < 2 {
			s.bad("routers", "want two or more virtual routers")
		}
		g.tracks = r.tracks(s, conditions)
		for _, i := range g.routers {
			first := routers[g.routers[0]]
			if rt := routers[i]; rt.Priority != first.Priority || rt.NoPreempt != first.NoPreempt || rt.PreemptLowered != first.PreemptLowered || rt.PreemptAfter != first.PreemptAfter {
				s.bad("routers", "the members of a sync group have the same priority and takeover, and %s differs from %s", rt.Name, first.Name)
				break
			}
		}
		out = append(out, g)
	}
	return out
}

// rivals holds that the directors differ in the priority of a sync group: a tie
// would go by address on each segment, and could go to different directors.
func (r *report) rivals(directors []director, drafts []*draft) {
	type claim struct {
		group    string
		priority uint8
	}
	first := make(map[claim]string)
	for i, d := range directors {
		for _, g := range drafts[i].groups {
			if len(g.routers) == 0 {
				continue
			}
			c := claim{g.Name, drafts[i].routers[g.routers[0]].Priority}
			if other, tie := first[c]; tie {
				r.at(g.node, "directors %s and %s have the same priority %d in this sync group: a tie goes by address on each segment, and not to the same director everywhere", other, d.Name, c.priority)
			}
			first[c] = d.Name
		}
	}
}
