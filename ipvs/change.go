package ipvs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Op is what a change does.
type Op uint8

// The operations, each one command of the kernel's netlink family.
const (
	_ Op = iota
	// AddService makes Change.Service, without destinations.
	AddService
	// SetService turns Change.OldService into Change.Service, in place.
	SetService
	// RemoveService removes Change.Service with its destinations.
	RemoveService
	// AddServer adds Change.Destination to Change.Service.
	AddServer
	// SetServer turns Change.OldDestination into Change.Destination, in place.
	SetServer
	// RemoveServer takes Change.Destination from Change.Service.
	RemoveServer
	// MoveServer takes Change.Destination from Change.Service and adds it again at once,
	// which makes it the one that was added last. Its connections stay with it: the
	// kernel keeps a removed server for as long as it has any, and finds it again. Only
	// with net.ipv4.vs.expire_nodest_conn = 1 a connection of which a packet comes between
	// the two is ended (ip_vs_in_hook, net/netfilter/ipvs/ip_vs_core.c).
	MoveServer
)

// Change is one step of a plan, one command to the kernel.
type Change struct {
	Op Op
	// Service is the service the change is about, with the settings it has
	// after the change and no destinations.
	Service Service
	// OldService has the settings before a SetService.
	OldService Service
	// Destination is the server of AddServer, SetServer and RemoveServer.
	Destination Destination
	// OldDestination is the server before a SetServer.
	OldDestination Destination
}

// String returns the change as one line, the same in log, plan and golden file.
func (c Change) String() string {
	key, server := c.Service.Key, c.Destination.Addr
	switch c.Op {
	case AddService:
		s := fmt.Sprintf("add service %s scheduler %s", key, c.Service.Scheduler)
		return s + extras(c.Service)
	case SetService:
		return edits("service "+key.String(), c.edits())
	case RemoveService:
		return fmt.Sprintf("remove service %s", key)
	case AddServer:
		return fmt.Sprintf("add server %s to %s weight %d forward %s%s", server, key, c.Destination.Weight, c.Destination.way(), thresholds(c.Destination))
	case SetServer:
		return edits(fmt.Sprintf("server %s of %s", server, key), c.edits())
	case RemoveServer:
		return fmt.Sprintf("remove server %s from %s", server, key)
	case MoveServer:
		return fmt.Sprintf("move server %s of %s to its place", server, key)
	default:
		return fmt.Sprintf("change %d", c.Op)
	}
}

// edits are the values that a SetService or SetServer changes.
func (c Change) edits() (parts []edit) {
	switch c.Op {
	case SetService:
		if o, n := c.OldService.Scheduler, c.Service.Scheduler; o != n {
			parts = append(parts, edit{"scheduler", o, n})
		}
		if o, n := flags(c.OldService), flags(c.Service); o != n {
			parts = append(parts, edit{"flags", o, n})
		}
		if o, n := c.OldService.OnePacket, c.Service.OnePacket; o != n {
			parts = append(parts, edit{"one-packet", onOff(o), onOff(n)})
		}
		if o, n := persistence(c.OldService), persistence(c.Service); o != n {
			parts = append(parts, edit{"persistence", o, n})
		}
		if o, n := c.OldService.Engine, c.Service.Engine; o != n {
			parts = append(parts, edit{"persistence engine", orNone(o), orNone(n)})
		}
	case SetServer:
		if o, n := c.OldDestination.Weight, c.Destination.Weight; o != n {
			parts = append(parts, edit{"weight", fmt.Sprint(o), fmt.Sprint(n)})
		}
		if o, n := c.OldDestination.way(), c.Destination.way(); o != n {
			parts = append(parts, edit{"forward", o, n})
		}
		if o, n := c.OldDestination.UpperThreshold, c.Destination.UpperThreshold; o != n {
			parts = append(parts, edit{"upper threshold", threshold(o), threshold(n)})
		}
		if o, n := c.OldDestination.LowerThreshold, c.Destination.LowerThreshold; o != n {
			parts = append(parts, edit{"lower threshold", threshold(o), threshold(n)})
		}
		if o, n := c.OldDestination.Extra, c.Destination.Extra; o != n {
			parts = append(parts, edit{"extra", orNone(o), orNone(n)})
		}
	}
	return parts
}

// Plan is the changes that turn one table into another, in the order they are
// to be made.
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

// split returns what takes connections from a server, apart from the rest, both in the
// order of the plan.
func (p Plan) split() (gives, takes Plan) {
	n := 0
	for i := range p {
		if p[i].takes() {
			n++
		}
	}
	if n == 0 {
		return p, nil // a change is large, and plans may be
	}
	gives, takes = make(Plan, 0, len(p)-n), make(Plan, 0, n)
	for i := range p {
		if p[i].takes() {
			takes = append(takes, p[i])
		} else {
			gives = append(gives, p[i])
		}
	}
	return gives, takes
}

// takes reports whether a change leaves its server, or all of its service, without
// new connections.
func (c *Change) takes() bool {
	return c.Op == RemoveService || c.Op == RemoveServer || c.Op == SetServer && c.Destination.Weight == 0
}

// edit is one value that changes.
type edit struct{ name, from, to string }

// edits words the values that change of what: "set weight of WHAT from 2 to 0,
// forward from dr to nat".
func edits(what string, parts []edit) string {
	if len(parts) == 0 {
		return "set nothing of " + what
	}
	var b strings.Builder
	fmt.Fprintf(&b, "set %s of %s from %s to %s", parts[0].name, what, parts[0].from, parts[0].to)
	for _, p := range parts[1:] {
		fmt.Fprintf(&b, ", %s from %s to %s", p.name, p.from, p.to)
	}
	return b.String()
}

// extras words what a service has beyond its scheduler.
func extras(s Service) (out string) {
	if s.Flags != 0 {
		out += " flags " + flags(s)
	}
	if s.OnePacket {
		out += " one-packet"
	}
	if s.Persistence != 0 {
		out += " persistence " + persistence(s)
	}
	if s.Engine != "" {
		out += " engine " + s.Engine
	}
	return out
}

func flags(s Service) string { return orNone(strings.Join(s.Flags.Names(s.Scheduler), " ")) }

func onOff(on bool) string { return map[bool]string{false: "off", true: "on"}[on] }

// way words how packets get to a destination: "dr", "tun", "tun gue port 6080".
func (d Destination) way() string {
	if d.Forward != TUN || d.Tunnel == (Tunnel{}) {
		return d.Forward.String()
	}
	return d.Forward.String() + " " + d.Tunnel.String()
}

func thresholds(d Destination) (out string) {
	if d.UpperThreshold != 0 {
		out += fmt.Sprintf(" upper threshold %d", d.UpperThreshold)
	}
	if d.LowerThreshold != 0 {
		out += fmt.Sprintf(" lower threshold %d", d.LowerThreshold)
	}
	return out
}

func threshold(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func persistence(s Service) string {
	s = s.normal()
	switch {
	case s.Persistence == 0:
		return "none"
	case s.PersistenceMask == 0:
		return fmt.Sprintf("%ds", s.Persistence/time.Second)
	default:
		return fmt.Sprintf("%ds mask %d", s.Persistence/time.Second, s.PersistenceMask)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Do makes the change on a kernel. The error says what was being done and, in
// words, why the kernel refused; the kernel's own error is wrapped in it.
func (c Change) Do(k Kernel) error {
	if err := c.do(k); err != nil {
		return fmt.Errorf("%s: %w", c, c.explain(err))
	}
	return nil
}

// doAll is Do of several changes, as few requests as the kernel can take them in.
func doAll(k Kernel, changes []Change) []error {
	many, can := k.(batcher)
	if !can || len(changes) < 2 && !slices.ContainsFunc(changes, func(c Change) bool { return c.Op == MoveServer }) {
		errs := make([]error, len(changes))
		for i, c := range changes {
			errs[i] = c.Do(k)
		}
		return errs
	}
	errs := many.doAll(changes)
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", changes[i], changes[i].explain(err))
		}
	}
	return errs
}

func (c Change) do(k Kernel) error {
	switch c.Op {
	case AddService:
		return k.AddService(c.Service)
	case SetService:
		return k.SetService(c.Service)
	case RemoveService:
		return k.RemoveService(c.Service.Key)
	case AddServer:
		return k.AddServer(c.Service.Key, c.Destination)
	case SetServer:
		return k.SetServer(c.Service.Key, c.Destination)
	case RemoveServer:
		return k.RemoveServer(c.Service.Key, c.Destination)
	case MoveServer:
		if err := k.RemoveServer(c.Service.Key, c.Destination); err != nil {
			return err
		}
		return k.AddServer(c.Service.Key, c.Destination)
	default:
		panic("ipvs: change without an operation")
	}
}
