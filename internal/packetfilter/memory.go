package packetfilter

import (
	"reflect"
	"sync"
)

// Memory keeps tables in memory. It is safe for concurrent use, and closing it changes
// nothing.
type Memory struct {
	mu     sync.Mutex // guards everything below
	tables []Table
	fault  error
}

var _ Kernel = (*Memory)(nil)

// NewMemory returns one without tables.
func NewMemory() *Memory { return &Memory{} }

// Same compares.
func (m *Memory) Same(tables []Table) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(tables) == len(m.tables) && (len(tables) == 0 || reflect.DeepEqual(tables, m.tables)), m.fault
}

// Replace replaces.
func (m *Memory) Replace(tables []Table) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == nil {
		m.tables = tables
	}
	return m.fault
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// Fail makes everything fail with an error until it is nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// String returns the tables as nft(8) has them.
func (m *Memory) String() (out string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tables {
		out += t.String()
	}
	return out
}
