package vrrp

import (
	"fmt"
	"time"
)

// GroupConfig names virtual routers that move together: keepalived's sync group.
// The members should have the same priority on each director, and different
// ones on different directors: a tie would go by address on each segment.
type GroupConfig struct {
	// Name is the operator's word for it; nothing on the wire.
	Name string
	// Members are two or more virtual routers. One is in one group at most.
	Members []Key
}

// Group moves virtual routers together. It decides as keepalived does: when one
// cannot serve none does, one that has to give way takes all along, and they
// become Active only when each of them would. The owner of addresses goes ahead,
// as RFC 9568 lets it be nothing but Active.
type Group struct {
	name    string
	members []*Router
}

// membership is what a router knows of its group.
type membership struct {
	// name is empty outside a group.
	name string
	// problem is why another member cannot serve.
	problem string
	// ready is why the router would be Active by now; empty when it would not.
	ready    string
	handover bool
}

// NewGroup joins routers. They leave it by becoming members of another, or by
// Leave.
func NewGroup(name string, members []*Router) *Group {
	for _, r := range members {
		r.group.name = name
	}
	return &Group{name: name, members: members}
}

// Leave ends a router's membership. A GroupFault without a problem has to follow.
func (r *Router) Leave() { r.group = membership{problem: r.group.problem} }

// Next is what a member has to be told now; ok is false when all agree. To be
// asked after each Step of a member, until there is nothing more.
func (g *Group) Next() (r *Router, ev Event, ok bool) {
	for _, r := range g.members {
		if want := g.problemFor(r); r.group.problem != want {
			return r, GroupFault{Problem: want}, true
		}
	}
	if r := g.ready(); r != nil {
		return r, GroupPromote{}, true
	}
	if gone := g.leaving(); gone != nil {
		for _, r := range g.members {
			if r.state == Active && r.cfg.Priority != priorityOwner {
				return r, GroupDemote{Reason: fmt.Sprintf("%s gives way in sync group %s", gone.cfg.Name, g.name)}, true
			}
		}
	}
	return nil, nil, false
}

// problemFor is why one of the others cannot serve.
func (g *Group) problemFor(r *Router) string {
	for _, other := range g.members {
		if other == r || other.state == Initialize {
			continue
		}
		if p := other.ownProblem(); p != "" {
			return fmt.Sprintf("%s in sync group %s: %s", other.cfg.Name, g.name, p)
		}
	}
	return ""
}

// leaving is a member that is giving its addresses up.
func (g *Group) leaving() *Router {
	for _, r := range g.members {
		if r.state == Leaving {
			return r
		}
	}
	return nil
}

// ready is the first member to be promoted; nil unless each of them is Active
// or would be.
func (g *Group) ready() *Router {
	var first *Router
	for _, r := range g.members {
		switch {
		case r.state == Active:
		case r.group.ready == "":
			return nil
		case first == nil:
			first = r
		}
	}
	return first
}

// promote makes the router Active with its group.
func (r *Router) promote(now time.Time) {
	if r.group.ready != "" && (r.state == Backup || r.state == Leaving) {
		if r.leave.yielding {
			r.yield = yield{}
		}
		r.becomeActive(now, r.group.handover, r.group.ready)
	}
}

// demote gives the addresses away with the group.
func (r *Router) demote(now time.Time, reason string) {
	if r.state == Active {
		r.release(now, leave{to: Backup}, reason)
	}
}
