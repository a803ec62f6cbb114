package director

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/plain"
)

// keptEvents is how many events `lvsha events` can show of the past, of all kinds together.
const keptEvents = 2000

// longestEvent bounds, in octets, the text of an event, such as all that is wrong with a file.
const longestEvent = 4 << 10

// eventLog keeps the newest events of each kind. Where there is no room any more the kind
// that has the most events loses its oldest: a storm of one kind leaves the others theirs.
// Adding never waits for a reader.
type eventLog struct {
	mu sync.Mutex // guards all below
	// kinds are the events of each kind, oldest first, and kept counts all of them.
	kinds map[string][]control.Event
	kept  int
	seq   uint64
	newer chan struct{} // closed and replaced by add
}

func newEventLog() *eventLog {
	return &eventLog{kinds: make(map[string][]control.Event), newer: make(chan struct{})}
}

func (l *eventLog) add(at time.Time, kind, object, text string) {
	if len(text) > longestEvent {
		text = strings.ToValidUTF8(text[:longestEvent], "") + "…"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.kinds[kind] = append(l.kinds[kind], control.Event{Seq: l.seq, Time: at, Kind: kind, Object: object, Text: string(plain.Escape([]byte(text)))})
	if l.kept++; l.kept > keptEvents {
		l.forget()
	}
	close(l.newer)
	l.newer = make(chan struct{})
}

// forget drops the oldest event of the kind that has the most; of several, the oldest of
// all theirs. The caller holds mu.
func (l *eventLog) forget() {
	largest := ""
	for kind, events := range l.kinds {
		most := l.kinds[largest]
		if len(events) > len(most) || len(events) == len(most) && events[0].Seq < most[0].Seq {
			largest = kind
		}
	}
	most := l.kinds[largest]
	most[0] = control.Event{} // its texts are not held until the list moves
	l.kinds[largest] = most[1:]
	l.kept--
}

// after is control.Daemon's Events.
func (l *eventLog) after(seq uint64) ([]control.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []control.Event
	for _, events := range l.kinds {
		i, _ := slices.BinarySearchFunc(events, seq, func(e control.Event, seq uint64) int {
			return cmp.Or(cmp.Compare(e.Seq, seq), -1) // the first that is newer
		})
		out = append(out, events[i:]...)
	}
	slices.SortFunc(out, func(a, b control.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return out, l.newer
}
