package track

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/healthcheck"
	"lvsha/vrrp"
)

func TestSum(t *testing.T) {
	known := func(name string) Report {
		return map[string]Report{
			"up":    {Known: true, Holds: true, Reason: "eth1 is up"},
			"down":  {Known: true, Reason: "eth2 is down"},
			"three": {Known: true, Value: 3, Reason: "/f says 3"},
			"zero":  {Known: true, Holds: true, Reason: "/f says 0"},
			"huge":  {Known: true, Value: 1 << 40, Reason: "/f says much"},
		}[name]
	}
	for _, c := range []struct {
		name   string
		refs   []Ref
		adjust int
		why    string
		fault  string
	}{
		{"nothing", nil, 0, "", ""},
		{"a fault that holds", []Ref{{Condition: "up", Fault: true}}, 0, "", ""},
		{"a fault", []Ref{{Condition: "down", Fault: true}}, 0, "", "down: eth2 is down"},
		{"the first of two faults", []Ref{{Condition: "down", Fault: true}, {Condition: "three", Fault: true, File: true}}, 0, "", "down: eth2 is down"},
		{"positive weights count while it holds", []Ref{{Condition: "up", Weight: 20}, {Condition: "down", Weight: 30}}, 20, "+20 because of up (eth1 is up)", ""},
		{"negative weights count while it does not", []Ref{{Condition: "up", Weight: -20}, {Condition: "down", Weight: -30}}, -30, "-30 because of down (eth2 is down)", ""},
		{"the sum", []Ref{{Condition: "up", Weight: 20}, {Condition: "down", Weight: -30}}, -10, "+20 because of up (eth1 is up), -30 because of down (eth2 is down)", ""},
		{"a file's number times the weight", []Ref{{Condition: "three", Weight: -5, File: true}, {Condition: "zero", Weight: -5, File: true}}, -15, "-15 because of three (/f says 3)", ""},
		{"a file without a weight", []Ref{{Condition: "three", Fault: true, File: true}}, 0, "", "three: /f says 3"},
		{"a file beyond what a priority can fall by", []Ref{{Condition: "three", Weight: -100, File: true}}, -300, "-300 because of three (/f says 3)", "three: /f says 3, times -100"},
		{"a number that would overflow", []Ref{{Condition: "huge", Weight: 2, File: true}}, 2000, "+2000 because of huge (/f says much)", ""},
		{"what nobody knows means nothing", []Ref{{Condition: "unknown", Fault: true}, {Condition: "unknown", Weight: -5}}, 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			adjust, why, fault := Sum(c.refs, known)
			if adjust != c.adjust || why != c.why || fault != c.fault {
				t.Errorf("got %d, %q, %q, want %d, %q, %q", adjust, why, fault, c.adjust, c.why, c.fault)
			}
		})
	}
}

// TestDelays: what is seen first counts at once, and a change when it has lasted.
func TestDelays(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	c := Condition{Name: "uplink", Kind: Interface, DownDelay: 2 * time.Second, UpDelay: 5 * time.Second}
	var l level
	for i, step := range []struct {
		at      int
		sees    bool
		changed bool
		holds   bool
		wakes   int // when it wants to be asked again, 0 is never
	}{
		{0, true, true, true, 0},
		{1, false, false, true, 3},
		{2, true, false, true, 0}, // a flap
		{3, false, false, true, 5},
		{5, false, true, false, 0},
		{6, true, false, false, 11},
		{10, true, false, false, 11},
		{11, true, true, true, 0},
	} {
		now := start.Add(time.Duration(step.at) * time.Second)
		changed := l.see(now, c, Report{Holds: step.sees})
		wakes := 0
		if d := l.deadline(c); !d.IsZero() {
			wakes = int(d.Sub(start) / time.Second)
		}
		if changed != step.changed || l.report.Holds != step.holds || wakes != step.wakes {
			t.Errorf("step %d: changed %t, holds %t, wakes %d, want %+v", i, changed, l.report.Holds, wakes, step)
		}
	}
}

func TestReadNumber(t *testing.T) {
	file := filepath.Join(t.TempDir(), "number")
	for text, want := range map[string]string{
		"": "0", "7\n": "7", " -12 \nrest": "-12", "+3": "3", "seven": "error", strings.Repeat("9", 40): "error",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n, _, err := healthcheck.ReadNumber(file)
		got := fmt.Sprint(n)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
	none := file + ".none"
	if got := seeFile(Condition{File: none}); !got.Holds || got.Value != 0 || got.Reason != none+" is missing, which counts as 0" {
		t.Errorf("a file that is not there is %+v", got)
	}
	if _, _, err := healthcheck.ReadNumber(t.TempDir()); err == nil {
		t.Error("a directory has a number")
	}
}

// seen collects what a tracker tells.
type seen struct {
	mu   sync.Mutex // guards last
	last map[string]Report
}

// changed takes in what a tracker tells.
func (s *seen) changed(changed []Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range changed {
		s.last[r.Name] = r
	}
}

// start runs a tracker until the test ends. Links come from the channel.
func start(t *testing.T, links <-chan []vrrp.Link) (*Tracker, *seen) {
	t.Helper()
	s := &seen{last: make(map[string]Report)}
	tracker := New(Options{
		Watch: func(ctx context.Context, update func([]vrrp.Link)) error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case l := <-links:
					update(l)
				}
			}
		},
		OnChange: s.changed,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tracker, s
}

// wait waits for a report.
func (s *seen) wait(t *testing.T, name string, holds bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		s.mu.Lock()
		r := s.last[name]
		s.mu.Unlock()
		if r.Known && r.Holds == holds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %+v, want it to hold: %t", name, r, holds)
		}
		timer := time.NewTimer(2 * time.Millisecond)
		<-timer.C
	}
}

func TestInterfaceAndService(t *testing.T) {
	links := make(chan []vrrp.Link)
	tracker, s := start(t, links)
	tracker.Set([]Condition{
		{Name: "uplink", Kind: Interface, Interface: "eth1"},
		{Name: "web", Kind: Service, Service: "web", Minimum: 2},
	})
	links <- []vrrp.Link{{Name: "eth1", Up: true}}
	s.wait(t, "uplink", true)
	links <- []vrrp.Link{{Name: "eth1"}}
	s.wait(t, "uplink", false)
	if r := tracker.Report("uplink"); r.Reason != "eth1 is down" {
		t.Errorf("reason %q", r.Reason)
	}
	links <- nil
	if r := tracker.Report("web"); r.Known {
		t.Errorf("known before anything was told: %+v", r)
	}
	tracker.SetServices(map[string]Health{"web": {Up: 1, Unknown: 1}})
	links <- []vrrp.Link{{Name: "eth1", Up: true}}
	s.wait(t, "uplink", true)
	if r := tracker.Report("web"); r.Known {
		t.Errorf("a server nobody knows yet counted as down: %+v", r)
	}
	tracker.SetServices(map[string]Health{"web": {Up: 2}})
	s.wait(t, "web", true)
	tracker.SetServices(map[string]Health{"web": {Up: 1}})
	s.wait(t, "web", false)
	if r := tracker.Report("web"); r.Reason != "1 servers of web are up, want 2" {
		t.Errorf("reason %q", r.Reason)
	}
	if n := len(tracker.Snapshot()); n != 2 {
		t.Errorf("%d conditions", n)
	}
	tracker.Set(nil)
	if n := len(tracker.Snapshot()); n != 0 {
		t.Errorf("%d conditions after all were removed", n)
	}
}

// TestProcess: the end of a process is noticed at once, long before the next look.
func TestProcess(t *testing.T) {
	program := filepath.Join(t.TempDir(), "tracked")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tracker, s := start(t, nil)
	tracker.Set([]Condition{
		{Name: "path", Kind: Process, Process: program, Minimum: 1, Interval: time.Hour},
		{Name: "two", Kind: Process, Process: program, Minimum: 2, Interval: time.Hour},
		{Name: "name", Kind: Process, Process: "tracked", Minimum: 1, Interval: time.Hour},
	})
	s.wait(t, "path", true)
	s.wait(t, "name", true)
	s.wait(t, "two", false)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	// Not waited for yet: a zombie does not run.
	s.wait(t, "path", false)
	s.wait(t, "name", false)
	_ = cmd.Wait()
}

func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "switch")
	tracker, s := start(t, nil)
	tracker.Set([]Condition{{Name: "switch", Kind: File, File: file, Interval: 10 * time.Millisecond}})
	s.wait(t, "switch", true)
	if err := os.WriteFile(file, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "switch", false)
	if r := tracker.Report("switch"); r.Value != 1 {
		t.Errorf("value %d", r.Value)
	}
}

// TestFileHangs: a file whose opening hangs is told as what it is, and holds neither
// another condition up nor the end.
func TestFileHangs(t *testing.T) {
	dir := t.TempDir()
	hanging, other := filepath.Join(dir, "hanging"), filepath.Join(dir, "other")
	for _, name := range []string{hanging, other} {
		if err := os.WriteFile(name, []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(hanging, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // ends the lease
	// Whoever opens it waits until the lease is given up, for 45 seconds at most.
	signal.Ignore(syscall.SIGIO)
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	s := &seen{last: make(map[string]Report)}
	tracker := New(Options{
		Watch:    func(ctx context.Context, _ func([]vrrp.Link)) error { <-ctx.Done(); return nil },
		OnChange: s.changed,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tracker.Run(ctx) }()
	tracker.Set([]Condition{
		{Name: "hanging", Kind: File, File: hanging, Interval: 10 * time.Millisecond},
		{Name: "other", Kind: File, File: other, Interval: 10 * time.Millisecond},
	})
	s.wait(t, "other", true)
	if err := os.WriteFile(other, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "other", false)
	s.wait(t, "hanging", false)
	if r := tracker.Report("hanging"); !strings.Contains(r.Reason, "reading "+hanging+" has not ended since ") {
		t.Errorf("reason %q", r.Reason)
	}
	began := time.Now()
	cancel()
	if err := <-ended; err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("the end: %v after %v", err, time.Since(began))
	}
}

// TestProcessHidden: where other users' processes cannot be seen, none is said to be
// missing.
func TestProcessHidden(t *testing.T) {
	c := Condition{Process: "haproxy", Minimum: 1}
	for _, tt := range []struct {
		processes []process
		want      string
	}{
		{[]process{{1, "systemd"}, {7, "lvsha"}}, "process haproxy is not running"},
		{[]process{{7, "lvsha"}}, "process haproxy cannot be seen: /proc is mounted with hidepid; add the group of its gid= to SupplementaryGroups= of the unit"},
		{[]process{{7, "lvsha"}, {8, "haproxy"}}, "process haproxy is running (1, want 1)"},
	} {
		if got := seeProcess(c, tt.processes, make(map[int]bool)).Reason; got != tt.want {
			t.Errorf("%v: %q, want %q", tt.processes, got, tt.want)
		}
	}
}
