package connsync

import (
	"strings"
	"testing"
	"time"
)

// TestGate: when a director leaves a living one its addresses, and why not any more.
func TestGate(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	full := report{Conns: 10, Serves: 1}
	backup := report{Conns: 5}
	director := func(name string, r *report) *partner {
		p := &partner{name: name, connected: true}
		if r != nil {
			p.heard, p.told = true, *r
		}
		return p
	}
	whole := director("lvs2", &full)
	whole.whole = true
	due := director("lvs2", &backup)
	due.due = "connected"
	wholeBackup := director("lvs2", &backup)
	wholeBackup.whole = true
	gone := director("lvs2", &full)
	gone.connected = false
	tests := []struct {
		name     string
		after    time.Duration
		change   func(*situation)
		partners []*partner
		waits    bool
		text     string
	}{
		{"no other director in the file", 0, func(s *situation) { s.expected = 0 }, nil, false, "there is no other director"},
		{"nobody is connected yet", time.Second, nil, []*partner{gone}, true, "other directors to tell"},
		{"nobody is connected", DefaultGate, nil, []*partner{gone}, false, "it has waited 30s"},
		{"connected, nothing told", time.Second, nil, []*partner{director("lvs2", nil)}, true, "lvs2 to tell"},
		{"a table to take over", time.Second, nil, []*partner{director("lvs2", &full)}, true, "connections of lvs2 first"},
		{"it takes long", DefaultGate, nil, []*partner{director("lvs2", &full)}, false, "it has waited 30s"},
		{"taken over", time.Second, nil, []*partner{whole}, false, "it has the connections of lvs2"},
		{"there is none", time.Second, nil, []*partner{director("lvs2", &report{})}, false, "lvs2 has no other connections to give"},
		{"it waits itself", time.Second, nil, []*partner{director("lvs2", &report{Conns: 10, Waiting: true})}, false, "lvs2 has no other connections to give"},
		{"it cannot give", time.Second, nil, []*partner{director("lvs2", &report{Conns: 10, Problem: "off"})}, false, "lvs2 has no other connections"},
		{"this director serves other addresses", time.Second, func(s *situation) { s.serving = true }, []*partner{director("lvs2", &full)}, true, "connections of lvs2 first"},
		{"this director serves, and the other one nothing", time.Second, func(s *situation) { s.serving = true }, []*partner{director("lvs2", &backup)}, false, "lvs2 has no other"},
		{"a backup's table is due", time.Second, nil, []*partner{due}, true, "connections of lvs2 first"},
		{"it starts", time.Second, nil, []*partner{director("lvs2", &report{Conns: 10, Unready: true})}, true, "lvs2 to tell"},
		{"a backup is not enough", time.Second, func(s *situation) { s.expected = 2 }, []*partner{wholeBackup, director("lvs3", &full)}, true, "connections of lvs3 first"},
		{"off", time.Second, func(s *situation) { s.problem = "no [sync]" }, []*partner{director("lvs2", &full)}, false, "no [sync]"},
		{"services are not there", time.Second, func(s *situation) { s.unready = "not yet" }, []*partner{director("lvs2", &full)}, true, "not yet"},
		{"one of three is missing", time.Second, func(s *situation) { s.expected = 2 }, []*partner{director("lvs2", &report{})}, true, "other directors to tell"},
		{"one of three is enough", time.Second, func(s *situation) { s.expected = 2 }, []*partner{whole}, false, "it has the connections of lvs2"},
	}
	for _, tt := range tests {
		s := &situation{now: start.Add(tt.after), behind: start, gate: DefaultGate, expected: 1, partners: tt.partners}
		if tt.change != nil {
			tt.change(s)
		}
		wait, open := s.wait()
		if (wait != "") != tt.waits || !strings.Contains(wait+open, tt.text) || (wait == "") == (open == "") {
			t.Errorf("%s: wait %q, open %q; want waiting %t, %q", tt.name, wait, open, tt.waits, tt.text)
		}
	}
}

// TestNext: whose table is taken over, and when.
func TestNext(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := &partner{name: "few", connected: true, heard: true, told: report{Conns: 10}, due: "connected"}
	b := &partner{name: "many", connected: true, heard: true, told: report{Conns: 20}, due: "connected"}
	c := &partner{name: "serves", connected: true, heard: true, told: report{Conns: 5, Serves: 1}, due: "connected"}
	d := &partner{name: "leaves", connected: true, heard: true, told: report{Conns: 1}, due: "leaving", token: 1}
	s := &situation{now: now, partners: []*partner{a, b, c, d}}
	for _, want := range []*partner{d, c, b, a, nil} {
		if got := s.next(); got != want {
			t.Fatalf("next is %+v, want %+v", got, want)
		}
		if want != nil {
			want.due, want.token = "", 0
		}
	}
	// What failed is tried again later, and what went well is compared again.
	s.ended(c, Result{Problem: "lost", Why: "connected"}, 0)
	if s.next() != nil {
		t.Error("it is tried again at once")
	}
	s.now = now.Add(retryPull)
	if s.next() != c || c.due != "connected" {
		t.Error("it is not tried again")
	}
	c.due = ""
	s.ended(c, Result{}, 0)
	if s.now = s.now.Add(compareAll - 1); s.next() != nil {
		t.Error("it is compared again too soon")
	}
	if s.now = s.now.Add(1); s.next() != c {
		t.Error("it is not compared again")
	}
	c.due = ""
	s.ended(c, Result{Extra: 3}, 0)
	if s.now = s.now.Add(lookAgain); s.next() != c {
		t.Error("there is no second look")
	}
	// A director that serves takes no more from one that does not.
	s.serving, c.told.Serves, c.due = true, 0, ""
	if s.next() != nil {
		t.Error("a director that serves compares with one that does not")
	}
	s.taking = "few"
	a.due = "connected"
	if s.next() != nil {
		t.Error("two tables at once")
	}
}
