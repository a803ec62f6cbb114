package director

import "sync"

// inbox carries what happened in the rooms to the director's goroutine. Adding
// never waits, so the VRRP loop may do it.
type inbox struct {
	mu    sync.Mutex // guards items
	items []any
	wake  chan struct{} // capacity 1: there may be items
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) add(item any) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns all items in the order in which they were added.
func (b *inbox) take() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
