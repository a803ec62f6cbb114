package connsync

import (
	"fmt"
	"strings"
)

// Op is what a change does.
type Op uint8

// The operations, each one command of the kernel's netlink family.
const (
	_ Op = iota
	// Start starts Change.Daemon.
	Start
	// Stop stops Change.Daemon.
	Stop
)

// Change is one step of a plan.
type Change struct {
	Op     Op
	Daemon Daemon
	// Reason says why a daemon that runs is stopped: what is wanted instead.
	Reason string
}

// String returns the change as one line, the same in log, plan and golden file.
func (c Change) String() string {
	s := fmt.Sprintf("stop sync daemon %s", c.Daemon)
	if c.Op == Start {
		s = fmt.Sprintf("start sync daemon %s", c.Daemon)
	}
	if c.Reason != "" {
		s += ": " + c.Reason
	}
	return s
}

// Plan is the changes that turn one set of daemons into another, in order.
type Plan []Change

// String returns one line per change, each ended by a newline.
func (p Plan) String() string {
	var b strings.Builder
	for _, c := range p {
		b.WriteString(c.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Diff returns the plan that turns the daemons that run into the wanted ones,
// empty when they agree. Each role's daemon is stopped at most once and started
// at most once, the backup before the master. The kernel has no edit: a daemon
// that differs is stopped and started. Everything in have that is not wanted is
// stopped; leave out what is not to be touched.
func Diff(have, want []Daemon) Plan {
	have, want = normalDaemons(have), normalDaemons(want)
	var p Plan
	for _, role := range []Role{Backup, Master} {
		h, running := find(have, role)
		w, wanted := find(want, role)
		switch {
		case running && wanted && h.same(w):
			continue
		case running && wanted:
			p = append(p, Change{Op: Stop, Daemon: h, Reason: difference(h, w)}, Change{Op: Start, Daemon: w})
		case running:
			p = append(p, Change{Op: Stop, Daemon: h, Reason: "not wanted"})
		case wanted:
			p = append(p, Change{Op: Start, Daemon: w})
		}
	}
	return p
}

func find(daemons []Daemon, role Role) (Daemon, bool) {
	for _, d := range daemons {
		if d.Role == role {
			return d, true
		}
	}
	return Daemon{}, false
}

// difference words what is wanted of a daemon that runs otherwise.
func difference(have, want Daemon) string {
	var parts []string
	if have.Interface != want.Interface {
		parts = append(parts, "interface "+want.Interface+" wanted")
	} else if have.Index != want.Index && have.Index != 0 && want.Index != 0 {
		parts = append(parts, fmt.Sprintf("interface %s was made anew", want.Interface))
	}
	if have.ID != want.ID {
		parts = append(parts, fmt.Sprintf("id %d wanted", want.ID))
	}
	if have.Group != want.Group {
		parts = append(parts, fmt.Sprintf("group %s wanted", want.Group))
	}
	if have.TTL != want.TTL {
		parts = append(parts, fmt.Sprintf("ttl %d wanted", want.TTL))
	}
	if want.MaxLen != 0 && have.MaxLen != want.MaxLen {
		parts = append(parts, fmt.Sprintf("maximum length %d wanted", want.MaxLen))
	}
	return strings.Join(parts, ", ")
}
