package director

import (
	"strings"
	"testing"
	"time"
)

// TestLongEvent: what is told of something does not grow with it.
func TestLongEvent(t *testing.T) {
	l := newEventLog()
	l.add(time.Now(), "reload", "", "refused: "+strings.Repeat("ä problem\n", 100_000))
	l.add(time.Now(), "reload", "", "refused: "+strings.Repeat("x", longestEvent-len("refused: ")))
	events, _ := l.after(0)
	if n := len(events[0].Text); n > longestEvent+len("…") || !strings.HasSuffix(events[0].Text, "…") || strings.ContainsRune(events[0].Text, '\ufffd') {
		t.Errorf("%d octets: %.40q", n, events[0].Text)
	}
	if n := len(events[1].Text); n != longestEvent {
		t.Errorf("%d octets, want %d", n, longestEvent)
	}
}
