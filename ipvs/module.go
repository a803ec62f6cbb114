package ipvs

import "sync/atomic"

// Unload takes IPVS away from the kernel, with its table and timeouts: Open finds none
// until Load, and what was opened before stays dead for good.
func (m *Memory) Unload() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table, m.trash, m.timeouts = newState(nil), make(map[row]Destination), DefaultTimeouts()
	m.unloaded = true
	m.loads.Add(1)
}

// Load brings IPVS back, with an empty table.
func (m *Memory) Load() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unloaded = false
}

// Open connects to the table as Open does to the real one: the connection is dead, with
// ErrGone, once IPVS was unloaded. The Memory itself is a connection that is not.
func (m *Memory) Open() (Kernel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unloaded {
		return nil, ErrNoIPVS
	}
	return &memoryConn{m, m.loads.Load()}, nil
}

// module is the part of a Memory that its connections look at.
type module struct {
	unloaded bool          // guarded by Memory.mu
	loads    atomic.Uint64 // how often IPVS was unloaded
}

// memoryConn is a connection to the IPVS that was loaded when it was opened.
type memoryConn struct {
	m     *Memory
	loads uint64
}

func (c *memoryConn) alive() error {
	if c.m.loads.Load() != c.loads {
		return ErrGone
	}
	return nil
}

// unlessGone is an operation on a table that is still there.
func (c *memoryConn) unlessGone(do func() error) error {
	if err := c.alive(); err != nil {
		return err
	}
	return do()
}

func (c *memoryConn) List() ([]Service, error) {
	if err := c.alive(); err != nil {
		return nil, err
	}
	return c.m.List()
}

func (c *memoryConn) AddService(s Service) error {
	return c.unlessGone(func() error { return c.m.AddService(s) })
}

func (c *memoryConn) SetService(s Service) error {
	return c.unlessGone(func() error { return c.m.SetService(s) })
}

func (c *memoryConn) RemoveService(k ServiceKey) error {
	return c.unlessGone(func() error { return c.m.RemoveService(k) })
}

func (c *memoryConn) AddServer(k ServiceKey, d Destination) error {
	return c.unlessGone(func() error { return c.m.AddServer(k, d) })
}

func (c *memoryConn) SetServer(k ServiceKey, d Destination) error {
	return c.unlessGone(func() error { return c.m.SetServer(k, d) })
}

func (c *memoryConn) RemoveServer(k ServiceKey, d Destination) error {
	return c.unlessGone(func() error { return c.m.RemoveServer(k, d) })
}

func (c *memoryConn) Timeouts() (Timeouts, error) {
	if err := c.alive(); err != nil {
		return Timeouts{}, err
	}
	return c.m.Timeouts()
}

func (c *memoryConn) SetTimeouts(t Timeouts) error {
	return c.unlessGone(func() error { return c.m.SetTimeouts(t) })
}

// Close does nothing.
func (c *memoryConn) Close() error { return nil }
