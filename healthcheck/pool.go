package healthcheck

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// PoolRules say how the servers of a service share its traffic.
type PoolRules struct {
	// Quorum is the sum of the weights of the servers that are up which makes a
	// service whole, and Hysteresis what it takes more to gain it, and less to lose
	// it (keepalived's arithmetic). A Quorum of 0 means 1.
	Quorum, Hysteresis int
	// Sorry says that there is a sorry server, which gets the traffic without a
	// quorum.
	Sorry bool
	// SlowStart is how long the share of a server that comes back grows; 0 is not
	// at all.
	SlowStart time.Duration
	// Scale multiplies all weights, so that a share can grow in steps, as far as the
	// largest of them leaves room for it; 0 means 1.
	Scale int
	// MaxDown is how many of a hundred servers checks may take out, and one at least; 0
	// means all. Those that are drained or disabled do not count, here and for Panic.
	MaxDown int
	// Panic is a percentage: when fewer of the servers are up, what checks say is
	// disregarded and all are used; 0 never does.
	Panic int
	// MostWeight is the largest weight there is.
	MostWeight int
}

// Member is a server of a pool, as it is judged.
type Member struct {
	Server netip.AddrPort
	// Weight is the configured one.
	Weight int
	Verdict
	// Advice is what its checks advise.
	Advice []Advice
	// Doubted says that it was lost while nothing was heard from any server (see
	// Doubt): it is kept.
	Doubted bool
	// Awaited says that the server is new, and that its first verdict is still to come;
	// Leaving, that it is no longer wanted. Until there is none that is awaited those that
	// leave stay as far as the quorum, or one server in use, needs them; one that is not
	// Used then is not needed any more.
	Awaited, Leaving bool
}

// Share is what a member gets.
type Share struct {
	// Used is whether it is in the pool.
	Used bool
	// Weight is the kernel's.
	Weight int
	// Admin is what the server asks to be treated as.
	Admin Admin
	// Why says why the share is not what verdict and configured weight make one
	// think; empty when it is.
	Why string
}

// Outcome is how a pool stands.
type Outcome struct {
	// Shares are those of the members, in their order. Without a quorum and with a
	// sorry server none is used.
	Shares []Share
	// Scale is by how much the weights of the shares were multiplied.
	Scale int
	// Quorum is whether the service is whole, Decided whether enough is known to say
	// so, and Changed whether that changed now.
	Quorum, Decided, Changed bool
	// Up and Known count the servers that are up and those that are up or down;
	// Sum is the weight of those that are up, and Open of those that are neither. Those
	// that are doubted count as up.
	Up, Known, Sum, Open int
	// Why words what is out of the ordinary; empty is nothing.
	Why string
	// Next is when to look again although nothing happened; zero is never.
	Next time.Time
	// awaits is whether there are members whose first verdict is awaited, and awaited the
	// sum of their weights.
	awaits  bool
	awaited int
}

// Pool decides what share each server of a service gets. It keeps what a decision
// needs to know of those before. The zero value is ready.
type Pool struct {
	// decided is whether quorum means anything yet.
	decided, quorum bool
	members         map[netip.AddrPort]member
}

// member is what a pool remembers of a server.
type member struct {
	// down is whether it was down when last seen decided, and ramp when it came up
	// from that; zero is never.
	down bool
	ramp time.Time
}

// slowSteps is in how many steps a share grows, at most one a second.
const slowSteps = 20

// Judge decides.
func (p *Pool) Judge(now time.Time, rules PoolRules, members []Member) Outcome {
	out := Outcome{Shares: make([]Share, len(members))}
	fresh := p.remember(now, members)
	most := 1
	for i, m := range members {
		share := &out.Shares[i]
		share.Weight, share.Admin = Weigh(m.Weight, rules.MostWeight, m.Advice)
		most = max(most, share.Weight)
	}
	// Operators and checks may ask for more than the file does.
	out.Scale = max(1, min(rules.Scale, rules.MostWeight/most))
	for i, m := range members {
		share := &out.Shares[i]
		if share.Weight != m.Weight {
			share.Why = fmt.Sprintf("weight %d instead of %d, as it was advised", share.Weight, m.Weight)
		}
		if m.Leaving {
			share.Weight *= out.Scale
			continue
		}
		if m.Awaited {
			out.awaits = true
			out.awaited += share.Weight
		}
		switch {
		case m.State == Up || m.Doubted:
			share.Used = share.Admin != Maint
			out.Up++
			out.Known++
			if share.Used && share.Admin != Drain {
				out.Sum += share.Weight
			}
		case m.State == Down:
			out.Known++
		default:
			out.Open += share.Weight
		}
		share.Weight *= out.Scale
		switch share.Admin {
		case Drain:
			share.Weight, share.Why = 0, "asks to be drained"
		case Maint:
			share.Why = "asks for maintenance"
		}
		p.grow(now, rules.SlowStart, m, share, &out)
	}
	p.retain(rules, members, &out)
	p.count(rules, &out)
	p.spare(rules, members, &out)
	p.retainOne(members, &out)
	for i, m := range members {
		if m.State == Down && out.Shares[i].Used && p.members[m.Server] != (member{}) {
			if !fresh {
				p.members, fresh = maps.Clone(p.members), true
			}
			p.members[m.Server] = member{} // it had all of its share, and keeps it
		}
	}
	if rules.Sorry && !out.Quorum {
		for i := range out.Shares {
			out.Shares[i].Used = false
		}
	}
	return out
}

// remember takes notice of what went down and came back. It does not write to what the
// pool remembers, which a copy of the pool has too, and returns whether it has made it
// anew.
func (p *Pool) remember(now time.Time, members []Member) (fresh bool) {
	same := len(p.members) == len(members)
	for i := 0; same && i < len(members); i++ {
		was, there := p.members[members[i].Server]
		same = there && was.after(now, members[i]) == was
	}
	if same {
		return false
	}
	next := make(map[netip.AddrPort]member, len(members))
	for _, m := range members {
		next[m.Server] = p.members[m.Server].after(now, m)
	}
	p.members = next
	return true
}

// after is what is remembered of a server once it has been judged.
func (m member) after(now time.Time, judged Member) member {
	switch {
	case judged.Doubted:
		return member{} // it has all of its share, and keeps it
	case judged.State == Down:
		return member{down: true}
	case judged.State == Up && m.down:
		return member{ramp: now}
	}
	return m
}

// grow makes the share of a server that came back grow. A server that was never
// seen down, as at the start of this process, gets all of it at once.
func (p *Pool) grow(now time.Time, over time.Duration, m Member, share *Share, out *Outcome) {
	ramp := p.members[m.Server].ramp
	if over <= 0 || ramp.IsZero() || !share.Used || share.Weight == 0 {
		return
	}
	passed := now.Sub(ramp)
	if passed >= over {
		return
	}
	full := share.Weight
	share.Weight = max(1, int(int64(full)*int64(passed)/int64(over)))
	share.Why = fmt.Sprintf("slow start: %d %% of its share, all of it in %v", 100*share.Weight/full, (over - passed).Round(time.Second))
	step := now.Add(min(max(over/slowSteps, time.Second), over-passed))
	if out.Next.IsZero() || step.Before(out.Next) {
		out.Next = step
	}
}

// count decides about the quorum.
func (p *Pool) count(rules PoolRules, out *Outcome) {
	quorum := max(rules.Quorum, 1)
	was := p.quorum
	switch {
	case !p.decided:
		p.quorum = out.Sum >= quorum+rules.Hysteresis
		// Those that nobody has looked at yet may still make one.
		p.decided = p.quorum || out.Sum+out.Open < quorum+rules.Hysteresis
		was = p.quorum
		out.Changed = p.decided
	case p.quorum:
		// Those that are new are given the time to say what they make of it.
		p.quorum = out.Sum > 0 && out.Sum+out.awaited >= quorum-rules.Hysteresis
	default:
		p.quorum = out.Sum >= quorum+rules.Hysteresis
	}
	out.Quorum, out.Decided = p.quorum, p.decided
	out.Changed = out.Changed || was != p.quorum
	if !out.Quorum && quorum > 1 {
		out.Why = fmt.Sprintf("no quorum: the weights of the servers that are up add up to %d, want %d", out.Sum, quorum+rules.Hysteresis)
	}
}

// spare keeps servers in the pool although their checks fail.
func (p *Pool) spare(rules PoolRules, members []Member, out *Outcome) {
	var down, drained []int
	up, known := 0, 0
	for i, m := range members {
		if m.Leaving {
			continue
		}
		if out.Shares[i].Admin == AsIs && m.State != Unknown {
			known++
			if m.State == Up || m.Doubted {
				up++
			}
		}
		if m.State != Down || out.Shares[i].Admin == Maint {
			continue
		}
		if m.Doubted {
			out.Shares[i].Why = "kept: nothing is heard from any server, so this director is doubted"
			continue
		}
		if out.Shares[i].Admin == Drain {
			drained = append(drained, i)
			continue
		}
		down = append(down, i)
	}
	if rules.Panic > 0 && known > 0 && 100*up < rules.Panic*known {
		out.Why = fmt.Sprintf("panic: %d of %d servers are up, fewer than %d %%: all are used", up, known, rules.Panic)
		for _, i := range drained {
			out.Shares[i].Used = true // for its connections
		}
		for _, i := range down {
			out.Shares[i].Used, out.Shares[i].Why = true, "kept: fewer servers are up than panic wants"
		}
		return
	}
	if rules.MaxDown <= 0 || rules.MaxDown >= 100 {
		return
	}
	// Those that have been down for the longest go first.
	slices.SortStableFunc(down, func(a, b int) int {
		return cmp.Or(members[a].Since.Compare(members[b].Since), members[a].Server.Compare(members[b].Server))
	})
	// One may go at least, or a small pool would keep a dead server for ever.
	allowed := max(rules.MaxDown*known/100, 1)
	for _, i := range down[min(allowed, len(down)):] {
		out.Shares[i].Used = true
		out.Shares[i].Why = fmt.Sprintf("kept: checks may take out %d of %d servers (max_down), and have", allowed, known)
	}
	if kept := len(down) - allowed; kept > 0 {
		out.Why = fmt.Sprintf("%d of %d servers are down, and %d of them are kept (max_down)", len(down), known, kept)
	}
}
