package connsync

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Memory is a kernel in memory that refuses what the real one refuses, with the
// same error numbers. It is safe for concurrent use, and closing it changes
// nothing.
type Memory struct {
	mu         sync.Mutex // guards everything below
	daemons    map[Role]Daemon
	interfaces map[string]int
	made       int // interfaces so far
	starts     int
	unloaded   bool
	loads      int // how often IPVS was unloaded
	fault      func(what string) error
}

var _ Kernel = (*Memory)(nil)

// NewMemory returns a kernel with the named interfaces and no daemon.
func NewMemory(interfaces ...string) *Memory {
	m := &Memory{daemons: make(map[Role]Daemon), interfaces: make(map[string]int)}
	for _, name := range interfaces {
		m.AddInterface(name)
	}
	return m
}

// AddInterface makes an interface, with a number that no other had before.
func (m *Memory) AddInterface(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	m.interfaces[name] = m.made
}

// RemoveInterface removes an interface. Daemons on it stay, as they do in the
// real kernel.
func (m *Memory) RemoveInterface(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.interfaces, name)
}

// Fail makes every operation ask fault first: "list", or a change in the words
// of a plan. What it returns is the operation's error, unless it is nil. A nil
// fault ends it.
func (m *Memory) Fail(fault func(what string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// Starts returns how often a daemon was started.
func (m *Memory) Starts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts
}

// Unload takes IPVS away from the kernel, with its daemons: Open finds none until Load,
// and what was opened before stays dead for good.
func (m *Memory) Unload() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.daemons)
	m.unloaded = true
	m.loads++
}

// Load brings IPVS back, without daemons.
func (m *Memory) Load() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unloaded = false
}

// Open connects to the kernel as Open does to the real one: the connection is dead, with
// ErrGone, once IPVS was unloaded. The Memory itself is a connection that is not.
func (m *Memory) Open() (Kernel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unloaded {
		return nil, ErrNoIPVS
	}
	return &memoryConn{m, m.loads}, nil
}

// memoryConn is a connection to the IPVS that was loaded when it was opened.
type memoryConn struct {
	*Memory
	opened int
}

func (c *memoryConn) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads != c.opened {
		return ErrGone
	}
	return nil
}

// List returns the daemons, the backup first.
func (c *memoryConn) List() ([]Daemon, error) {
	if err := c.alive(); err != nil {
		return nil, err
	}
	return c.Memory.List()
}

// Start starts a daemon.
func (c *memoryConn) Start(d Daemon) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.Memory.Start(d)
}

// Stop stops the daemon of a role.
func (c *memoryConn) Stop(r Role) error {
	if err := c.alive(); err != nil {
		return err
	}
	return c.Memory.Stop(r)
}

// List returns the daemons, the backup first.
func (m *Memory) List() ([]Daemon, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ask("list"); err != nil {
		return nil, err
	}
	return normalDaemons(slices.Collect(maps.Values(m.daemons))), nil
}

// Start starts a daemon.
func (m *Memory) Start(d Daemon) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ask(Change{Op: Start, Daemon: d}.String()); err != nil {
		return err
	}
	if _, running := m.daemons[d.Role]; running {
		return syscall.EEXIST
	}
	if Validate(d) != nil {
		return syscall.EINVAL
	}
	if _, exists := m.interfaces[d.Interface]; !exists {
		return syscall.ENODEV
	}
	d = d.normal()
	d.Index = 0
	m.daemons[d.Role] = d
	m.starts++
	return nil
}

// Stop stops the daemon of a role.
func (m *Memory) Stop(r Role) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.daemons[r]
	if err := m.ask(Change{Op: Stop, Daemon: d}.String()); err != nil {
		return err
	}
	if _, running := m.daemons[r]; !running {
		return syscall.ESRCH
	}
	delete(m.daemons, r)
	return nil
}

// InterfaceIndex returns the number of an interface.
func (m *Memory) InterfaceIndex(name string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	index, exists := m.interfaces[name]
	if !exists {
		return 0, syscall.ENODEV
	}
	return index, nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// String returns the daemons, one per line.
func (m *Memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, d := range normalDaemons(slices.Collect(maps.Values(m.daemons))) {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

func (m *Memory) ask(what string) error {
	if m.fault == nil {
		return nil
	}
	return m.fault(what)
}
