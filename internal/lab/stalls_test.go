package lab

import (
	"strings"
	"testing"
	"time"
)

// TestStallsBetween: what a stall has in common with the time asked for counts.
func TestStallsBetween(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	s := &Stalls{seen: []stall{{at(10), at(20)}, {at(100), at(150)}, {at(300), at(310)}}}
	for _, c := range []struct{ from, to, want int }{
		{0, 400, 70}, {15, 120, 25}, {20, 100, 0}, {110, 120, 10}, {400, 500, 0},
	} {
		if got := s.Between(at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d: %s, want %d ms", c.from, c.to, got, c.want)
		}
	}
}

// TestLostRuns: probes that were lost in a row are told as one.
func TestLostRuns(t *testing.T) {
	event := time.Unix(100, 0)
	var probes []Probe
	for i, answered := range []bool{true, false, false, false, true, false} {
		p := Probe{Sent: event.Add(time.Duration(i-2) * time.Millisecond)}
		if answered {
			p.Answered = p.Sent.Add(time.Millisecond)
		}
		probes = append(probes, p)
	}
	want := "3 sent from -1.0 ms on, for 2.0 ms; 1 sent from +3.0 ms on, for 0.0 ms"
	if got := strings.Join(LostRuns(probes, event), "; "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
