package director

import (
	"slices"
	"sync"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/plain"
)

// keptEvents is how many events `lvsha events` can show of the past.
const keptEvents = 2000

// eventLog keeps the newest events. Adding never waits for a reader.
type eventLog struct {
	mu     sync.Mutex // guards all below
	events []control.Event
	seq    uint64
	newer  chan struct{} // closed and replaced by add
}

func newEventLog() *eventLog { return &eventLog{newer: make(chan struct{})} }

func (l *eventLog) add(at time.Time, kind, object, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	if len(l.events) >= keptEvents {
		l.events = slices.Delete(l.events, 0, keptEvents/10)
	}
	l.events = append(l.events, control.Event{Seq: l.seq, Time: at, Kind: kind, Object: object, Text: string(plain.Escape([]byte(text)))})
	close(l.newer)
	l.newer = make(chan struct{})
}

// after is control.Daemon's Events.
func (l *eventLog) after(seq uint64) ([]control.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.events, seq+1, func(e control.Event, seq uint64) int {
		return int(int64(e.Seq) - int64(seq))
	})
	return slices.Clone(l.events[i:]), l.newer
}
