package ipvs

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Memory is an IPVS table in memory that refuses what the kernel refuses, with
// the same error numbers. It is safe for concurrent use, and closing it changes
// nothing, so that one table outlives the reconcilers that are tried on it.
type Memory struct {
	logw io.Writer

	mu         sync.Mutex // guards everything below
	table      *state
	trash      map[row]Destination // removed servers, with the connections that they have
	schedulers map[string]bool
	engines    map[string]bool
	timeouts   Timeouts
	module
	fault func(what string) error
}

var _ Kernel = (*Memory)(nil)

// NewMemory returns an empty table. Each change that is accepted is written to
// logw as a line of the monotonic clock (CLOCK_MONOTONIC, seconds since boot
// with nine decimals), a space and the change in the words of a plan; a nil logw
// takes none.
func NewMemory(logw io.Writer) *Memory {
	m := &Memory{
		logw: logw, table: newState(nil), timeouts: DefaultTimeouts(), trash: make(map[row]Destination), schedulers: make(map[string]bool), engines: make(map[string]bool),
	}
	for _, name := range SchedulerNames() {
		m.schedulers[name] = true
	}
	for _, name := range EngineNames() {
		m.engines[name] = true
	}
	return m
}

// List returns the table.
func (m *Memory) List() ([]Service, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		if err := m.fault("list"); err != nil {
			return nil, err
		}
	}
	return slices.Clone(m.table.list()), nil
}

// AddService adds a service, without destinations.
func (m *Memory) AddService(s Service) error {
	return m.change(Change{Op: AddService, Service: s})
}

// SetService edits a service in place.
func (m *Memory) SetService(s Service) error {
	return m.change(Change{Op: SetService, Service: s})
}

// RemoveService removes a service with its destinations.
func (m *Memory) RemoveService(k ServiceKey) error {
	return m.change(Change{Op: RemoveService, Service: Service{Key: k}})
}

// AddServer adds a destination.
func (m *Memory) AddServer(k ServiceKey, d Destination) error {
	return m.change(Change{Op: AddServer, Service: Service{Key: k}, Destination: d})
}

// SetServer edits a destination in place.
func (m *Memory) SetServer(k ServiceKey, d Destination) error {
	return m.change(Change{Op: SetServer, Service: Service{Key: k}, Destination: d})
}

// RemoveServer removes a destination.
func (m *Memory) RemoveServer(k ServiceKey, d Destination) error {
	return m.change(Change{Op: RemoveServer, Service: Service{Key: k}, Destination: d})
}

// Timeouts returns the timeouts, which nothing happens after.
func (m *Memory) Timeouts() (Timeouts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.timeouts, nil
}

// SetTimeouts sets those that are not zero.
func (m *Memory) SetTimeouts(t Timeouts) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		if err := m.fault("set timeouts " + t.String()); err != nil {
			return err
		}
	}
	each(func(v []*time.Duration) {
		if *v[1] != 0 {
			*v[0] = *v[1]
		}
	}, &m.timeouts, &t)
	return nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// RemoveScheduler makes the kernel one that was built without a scheduler.
func (m *Memory) RemoveScheduler(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.schedulers, name)
}

// RemoveEngine makes the kernel one that was built without a persistence engine.
func (m *Memory) RemoveEngine(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.engines, name)
}

// Fail makes every operation ask fault first: "list", or a change in the words
// of a plan. What it returns is the operation's error, unless it is nil. A nil
// fault ends it.
func (m *Memory) Fail(fault func(what string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// SetConnections sets the connection counters of a server, and reports whether
// there is such a server.
func (m *Memory) SetConnections(k ServiceKey, server netip.AddrPort, active, inactive, templates int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, _ := m.table.get(k)
	for i, d := range s.Destinations {
		if d.Addr == server {
			next := make([]Destination, len(s.Destinations))
			copy(next, s.Destinations)
			next[i].Active, next[i].Inactive, next[i].Templates = active, inactive, templates
			s.Destinations = next
			m.table.put(s)
			return true
		}
	}
	return false
}

// String returns the table, one line per service and one per server.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return tableString(m.table.list())
}

func (m *Memory) change(c Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Service.Key = c.Service.Key.normal()
	c.Service = c.Service.normal().settings()
	old, _ := m.table.get(c.Service.Key)
	c.OldService = old.settings()
	for _, d := range old.Destinations {
		if d.Addr == c.Destination.Addr {
			c.OldDestination = d
		}
	}
	if m.fault != nil {
		if err := m.fault(c.String()); err != nil {
			return err
		}
	}
	if err := m.refuse(c); err != nil {
		return err
	}
	c.Destination.Active, c.Destination.Inactive, c.Destination.Templates = 0, 0, 0
	if c.Op == AddServer {
		// It finds its connections again, as in the kernel.
		was := m.trash[c.row()]
		c.Destination.Active, c.Destination.Inactive, c.Destination.Templates = was.Active, was.Inactive, was.Templates
	}
	if err := m.table.apply(c); err != nil {
		return err
	}
	switch c.Op {
	case AddServer:
		delete(m.trash, c.row())
	case RemoveServer:
		if d := c.OldDestination; d.Active+d.Inactive+d.Templates > 0 {
			m.trash[c.row()] = d
		}
	}
	if m.logw != nil {
		now := monotonic()
		// A log that cannot be written must not look like a kernel that refuses.
		_, _ = fmt.Fprintf(m.logw, "%d.%09d %s\n", now/time.Second, now%time.Second, c)
	}
	return nil
}

// refuse returns the errors of the kernel that depend on more than what is in
// the table (ip_vs_add_service, ip_vs_edit_service, ip_vs_add_dest,
// ip_vs_genl_parse_dest in net/netfilter/ipvs/ip_vs_ctl.c).
func (m *Memory) refuse(c Change) error {
	exists := m.table.has(c.Service.Key)
	switch c.Op {
	case AddService, SetService:
		// Existence is looked at before the scheduler.
		if exists == (c.Op == SetService) && !m.schedulers[c.Service.Scheduler] && c.Service.Scheduler != noScheduler {
			return syscall.ENOENT
		}
		if exists == (c.Op == SetService) && c.Service.Engine != "" && !m.engines[c.Service.Engine] {
			return syscall.ENOENT
		}
		if int(c.Service.PersistenceMask) > c.Service.Key.Addr.Addr().BitLen() && c.Service.Key.Addr.Addr().Is6() {
			return syscall.EINVAL
		}
	case AddServer, SetServer:
		switch {
		case !exists:
			return syscall.ESRCH
		case c.Destination.Weight < 0 || c.Destination.Weight > mostWeight:
			return syscall.ERANGE
		case c.Destination.LowerThreshold > c.Destination.UpperThreshold:
			return syscall.ERANGE
		case c.Destination.Tunnel.Type == GUE && c.Destination.Tunnel.Port == 0:
			return syscall.EINVAL
		case c.Destination.Forward < DR || c.Destination.Forward > Local:
			return syscall.EINVAL
		case c.Op == AddServer && !unicast(c.Destination.Addr.Addr()):
			return syscall.EINVAL
		case c.Op == AddServer && c.Destination.Addr.Addr().Is6() && c.Destination.Addr.Addr().IsLinkLocalUnicast():
			return syscall.EINVAL
		case c.Destination.Forward != TUN && c.Destination.Addr.Addr().Is4() != c.Service.Key.Addr.Addr().Is4():
			return syscall.EINVAL
		}
	}
	return nil
}

// tableString renders a table in the manner of ipvsadm -Sn.
func tableString(table []Service) string {
	var b strings.Builder
	for _, s := range table {
		fmt.Fprintf(&b, "%s %s", s.Key, s.Scheduler)
		fmt.Fprintf(&b, "%s\n", extras(s))
		for _, d := range s.Destinations {
			fmt.Fprintf(&b, "  %s %s weight %d%s active %d inactive %d", d.Addr, d.way(), d.Weight, thresholds(d), d.Active, d.Inactive)
			if d.Extra != "" {
				fmt.Fprintf(&b, " (%s)", d.Extra)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
