package notify_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/notify"
)

// real is a Notifier that runs real programs.
type real struct {
	testing.TB
	*notify.Notifier
	dir      string
	results  chan notify.Result
	problems chan string
}

func newReal(t *testing.T) *real {
	r := &real{TB: t, dir: t.TempDir(), results: make(chan notify.Result, 100), problems: make(chan string, 100)}
	r.Notifier = notify.New(notify.Options{
		OnResult: func(result notify.Result) { r.results <- result }, OnProblem: func(text string) { r.problems <- text },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// script writes a shell script and returns it as a command.
func (r *real) script(body string) notify.Command {
	r.Helper()
	path := filepath.Join(r.dir, "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		r.Fatal(err)
	}
	return notify.Command{path}
}

func (r *real) result() notify.Result {
	r.Helper()
	return receive(r.TB, r.results)
}

func receive[T any](t testing.TB, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
	}
	return v
}

// TestProgram: arguments, standard input, working directory, output and status.
func TestProgram(t *testing.T) {
	r := newReal(t)
	seen := filepath.Join(r.dir, "seen")
	r.Set(notify.Config{
		Common:  append(r.script(fmt.Sprintf(`{ echo "$@"; pwd; cat; } > %s; echo "  told"; echo; echo "$(printf 'bell\007')" >&2; exit 3`, seen)), "own"),
		Timeout: 10 * time.Second,
	})
	e := web(notify.Active)
	e.Reason, e.Director, e.Addresses, e.Time = "no advertisement for 3.4s", "lvs1", []string{"192.0.2.10/24"}, time.Unix(1e9, 0).UTC()
	r.Tell(e)
	result := r.result()
	if result.Err == nil || result.Err.Error() != "exit status 3" || result.Output != "told | bell?" {
		t.Errorf("%v, %q", result.Err, result.Output)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(text), "\n", 3)
	if lines[0] != "own INSTANCE web MASTER 150" || lines[1] != "/" {
		t.Errorf("%q", lines)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[2]), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"object": "router", "name": "web", "from": "initialize", "to": "active", "reason": "no advertisement for 3.4s",
		"priority": 150.0, "time": "2001-09-09T01:46:40Z", "director": "lvs1", "addresses": []any{"192.0.2.10/24"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestProgramLeavesChild: a child that holds the output is not waited for, and
// goes on.
func TestProgramLeavesChild(t *testing.T) {
	r := newReal(t)
	pids := filepath.Join(r.dir, "pids")
	r.Set(notify.Config{Common: r.script(fmt.Sprintf("sleep 1000 & echo $! > %s", pids)), Timeout: time.Minute})
	r.Tell(web(notify.Active))
	if result := r.result(); result.Err != nil || result.Took > 30*time.Second {
		t.Errorf("%v after %s", result.Err, result.Took)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
}

func TestProgramUser(t *testing.T) {
	r := newReal(t)
	r.Set(notify.Config{Common: notify.Command{"/usr/bin/id", "-un", "--"}, User: "nobody", Timeout: 10 * time.Second})
	// id takes the four arguments for users that it does not find.
	r.Tell(web(notify.Active))
	if result := r.result(); !strings.Contains(result.Output, "INSTANCE") {
		t.Errorf("%q", result.Output)
	}
	r.Set(notify.Config{
		Hooks:   map[notify.Object]notify.Hooks{web(0).Object: {On: map[notify.State]notify.Command{notify.Active: {"/usr/bin/id", "-un"}}}},
		User:    "nobody",
		Timeout: 10 * time.Second,
	})
	r.Tell(web(notify.Active))
	if result := r.result(); result.Err != nil || result.Output != "nobody" {
		t.Errorf("%v, %q", result.Err, result.Output)
	}
	for _, cfg := range []notify.Config{
		{Common: notify.Command{"/bin/true"}, User: "no-such-user"},
		{Common: notify.Command{"/no/such/program"}},
	} {
		cfg.Timeout = 10 * time.Second
		r.Set(cfg)
		r.Tell(web(notify.Active))
		if result := r.result(); result.Err == nil {
			t.Errorf("%+v ran", cfg)
		}
	}
}

// TestFIFO: made with mode 0600, kept when it is there, and every state in it.
func TestFIFO(t *testing.T) {
	r := newReal(t)
	path := filepath.Join(r.dir, "fifo")
	r.Set(notify.Config{FIFO: path})
	eventually(t, "fifo", func() bool { return mode(path) == os.ModeNamedPipe|0o600 })
	// Written before anybody reads, and not coalesced.
	for _, to := range []notify.State{notify.Backup, notify.Active, notify.Fault, notify.Stopped} {
		r.Tell(web(to))
	}
	r.Tell(notify.Event{Object: notify.Object{Kind: notify.Group, Name: "all"}, To: notify.Active})
	lines := readFIFO(t, path)
	for _, want := range []string{
		`INSTANCE "web" BACKUP 150`, `INSTANCE "web" MASTER 150`, `INSTANCE "web" FAULT 150`, `INSTANCE "web" STOP 150`, `GROUP "all" MASTER 0`,
	} {
		if got := receive(t, lines); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}

	// One that somebody made again, with a mode of his own.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	lines = readFIFO(t, path)
	r.Tell(web(notify.Active))
	if got := receive(t, lines); got != `INSTANCE "web" MASTER 150` {
		t.Errorf("%q", got)
	}
	if got := mode(path); got != os.ModeNamedPipe|0o640 {
		t.Errorf("mode %v", got)
	}
	select {
	case problem := <-r.problems:
		t.Errorf("problem %q", problem)
	default:
	}
}

// TestFIFONobodyReads: nothing waits, the oldest lines go, and that is told.
func TestFIFONobodyReads(t *testing.T) {
	r := newReal(t)
	path := filepath.Join(r.dir, "fifo")
	r.Set(notify.Config{FIFO: path})
	const many = 20000
	for i := range many {
		e := web(notify.Active)
		e.Object.Name = strconv.Itoa(i)
		r.Tell(e)
	}
	lines := readFIFO(t, path)
	last, n := -1, 0
	for last < many-1 {
		fields := strings.Split(receive(t, lines), `"`)
		i, err := strconv.Atoi(fields[1])
		if err != nil || i <= last {
			t.Fatalf("%q after %d", fields, last)
		}
		last = i
		n++
	}
	// What is missing is accounted for.
	for dropped := 0; dropped < many-n; {
		first, second := receive(t, r.problems), receive(t, r.problems)
		if !strings.Contains(first, "nobody reads it") {
			t.Fatalf("problem %q", first)
		}
		count := 0
		if _, err := fmt.Sscanf(second, "fifo "+path+": it is read again, %d lines were dropped", &count); err != nil {
			t.Fatalf("problem %q: %v", second, err)
		}
		dropped += count
		if dropped > many-n {
			t.Errorf("%d lines dropped, %d missing", dropped, many-n)
		}
	}
	if n == many {
		t.Error("nothing was dropped")
	}
}

// TestFIFOProblems: what is no FIFO is left alone, and told once.
func TestFIFOProblems(t *testing.T) {
	r := newReal(t)
	path := filepath.Join(r.dir, "file")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Set(notify.Config{FIFO: path})
	if problem := receive(t, r.problems); !strings.Contains(problem, "is no fifo") {
		t.Errorf("problem %q", problem)
	}
	r.Tell(web(notify.Active))
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	// It is made as soon as it can be, and what waited is in it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fifo", func() bool { return mode(path)&os.ModeNamedPipe != 0 })
	if got := receive(t, readFIFO(t, path)); got != `INSTANCE "web" MASTER 150` {
		t.Errorf("%q", got)
	}
}

func mode(path string) os.FileMode {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Mode()
}

// readFIFO reads lines until the test ends.
func readFIFO(t *testing.T, path string) <-chan string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0) // without a writer reading alone is at its end
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	done := make(chan struct{})
	go func() {
		s := bufio.NewScanner(f)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		f.Close()
	})
	return lines
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
