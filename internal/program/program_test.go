package program_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/program"
)

// TestRun: what a program finds, and how what it says and how it ends is told.
func TestRun(t *testing.T) {
	t.Setenv("LVSHA_TEST_LEAK", "leaked")
	as := func(user string, p program.Program) program.Program {
		p.User = user
		return p
	}
	const short = time.Second // and enough to say something
	tests := []struct {
		name    string
		program program.Program
		out     string // the first three lines
		err     string
	}{
		{"well", shell("exit 0"), "", ""},
		{"well and talkative", shell("echo; echo ' one '; echo two >&2; echo; echo three; echo four"), "one|two|three", ""},
		{"ill", shell("echo 'disk is full' >&2; exit 2"), "disk is full", "exit status 2"},
		{"killed", shell("kill -9 $$"), "", "signal: killed"},
		{"environment", program.Program{Command: []string{"/bin/sh", "-c", `echo "$A ${LVSHA_TEST_LEAK-none} $PATH $PWD"`}, Env: []string{"A=b"}},
			"b none /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /", ""},
		{"arguments as they are", program.Program{Command: []string{"/bin/echo", "$HOME", "a  b", "*"}}, "$HOME a  b *", ""},
		{"nothing to read", shell("cat; echo done"), "done", ""},
		{"input", program.Program{Command: []string{"/bin/cat"}, Input: []byte("read\n")}, "read", ""},
		{"input that nobody reads", program.Program{Command: []string{"/bin/true"}, Input: make([]byte, 1<<20)}, "", ""},
		{"input that a child does not read", program.Program{Command: []string{"/bin/sh", "-c", "sleep 2 >/dev/null 2>&1 <&0 &"}, Input: make([]byte, 1<<20)}, "", ""},
		{"control characters", shell(`printf '\033[31mred\007'; exit 1`), "?[31mred?", "exit status 1"},
		{"megabytes", shell("head -c 20000000 /dev/zero | tr '\\0' x; exit 3"), strings.Repeat("x", 199) + "…", "exit status 3"},
		{"output without end", shell("yes"), "y|y|y", program.ErrKilled.Error()},
		{"hangs", shell("sleep 100"), "", program.ErrKilled.Error()},
		{"hangs and ignores signals", shell("trap '' TERM INT HUP; sleep 100; sleep 100"), "", program.ErrKilled.Error()},
		{"a child that left the group", shell("setsid sleep 2 & echo fine"), "fine", ""},
		{"another user", as("nobody", shell("id -un; id -Gn")), "nobody|nogroup", ""},
		{"no such user", as("no-such-user", shell("true")), "", `user "no-such-user": user: unknown user no-such-user`},
		{"no program", program.Program{}, "", "no command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := time.Minute
			if tt.err == program.ErrKilled.Error() {
				limit = short
			}
			for _, bounded := range []bool{false, true} {
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				defer cancel()
				p := tt.program
				p.Bounded = bounded
				begin := time.Now()
				out, err := program.Run(ctx, p)
				if took := time.Since(begin); took > 30*time.Second {
					t.Errorf("took %v", took)
				}
				if got := strings.Join(out.Lines(3), "|"); got != tt.out || text(err) != tt.err {
					t.Errorf("got  %q, %v\nwant %q, %s", got, err, tt.out, tt.err)
				}
				if errors.Is(err, program.ErrMachine) {
					t.Errorf("%v is this machine's fault", err)
				}
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestRunTooLate: what begins when its time is over does not begin.
func TestRunTooLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "file")
	if _, err := program.Run(ctx, shell("echo > "+file)); !errors.Is(err, program.ErrKilled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it ran")
	}
}

// TestGroup: at the timeout a program goes with all its children; at its own end a child
// that holds its output goes when it is bounded, and else goes on, without being waited
// for. All of them hold a pipe open, whose reader sees the end when the last one is gone.
func TestGroup(t *testing.T) {
	tests := []struct {
		name    string
		script  string
		bounded bool
		stays   bool
		err     error
	}{
		{"at the timeout", "sleep 100 & (sleep 100 & sleep 100) & sleep 100", true, false, program.ErrKilled},
		{"at the timeout, not bounded", "sleep 100 & (sleep 100 & sleep 100) & sleep 100", false, false, program.ErrKilled},
		{"left behind, holding the output", "sleep 100 & echo $!", true, false, nil},
		{"left behind, not bounded", "sleep 100 & echo $!", false, true, nil},
		{"left behind without the output", "sleep 100 >/dev/null 2>&1 & echo $!", true, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			gone := make(chan error, 1)
			go func() {
				f, err := os.Open(fifo)
				if err == nil {
					defer f.Close()
					_, err = io.Copy(io.Discard, f)
				}
				gone <- err
			}()
			limit := 10 * time.Second
			if tt.err != nil {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			p := shell("exec 3>'" + fifo + "'; " + tt.script)
			p.Bounded = tt.bounded
			out, err := program.Run(ctx, p)
			if !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}
			if ctx.Err() != nil && tt.err == nil {
				t.Error("a child was waited for")
			}
			if tt.stays {
				pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
				if err != nil {
					t.Fatal(err)
				}
				if _, alive := state(pid); !alive {
					t.Error("the child is gone")
				}
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
			select {
			case err := <-gone:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("a child is still there")
			}
		})
	}
}

// TestNoThreads: programs that run do not cost a thread each, of which there are as many
// as there may be processes.
func TestNoThreads(t *testing.T) {
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	const many = 100
	before := threads()
	for range many {
		go func() {
			_, err := program.Run(ctx, shell("echo > /dev/null; sleep 100"))
			ended <- err
		}()
	}
	running := func() bool {
		list, err := filepath.Glob("/proc/self/task/*/children")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, file := range list {
			text, _ := os.ReadFile(file) // of a thread that is no more
			n += len(strings.Fields(string(text)))
		}
		return n >= many
	}
	if err := until("all run", running); err != nil {
		t.Error(err)
	}
	if more := threads() - before; more > many/2 {
		t.Errorf("%d threads more for %d programs", more, many)
	}
	cancel()
	for range many {
		if err := <-ended; !errors.Is(err, program.ErrKilled) {
			t.Errorf("%v", err)
		}
	}
}

// TestStartError: why a program was not started, in words that lead to the cause, and
// whether that is the program's or this machine's.
func TestStartError(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	busy := file("busy", "#!/bin/sh\n", 0o755)
	writer, err := os.OpenFile(busy, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	tests := []struct {
		path, user string
		want       string
		short      bool
	}{
		{dir + "/missing", "", "no such file or directory", false},
		{file("interpreter", "#!/no/such/shell\n", 0o755), "", "it is there, and the interpreter that it names is not: no such file or directory", false},
		{file("mode", "#!/bin/sh\n", 0o644), "", "it is not executable: permission denied", false},
		{file("owner", "#!/bin/sh\n", 0o700), "nobody", "user nobody may not execute it: permission denied", false},
		{file("text", "echo\n", 0o755), "", `it is no program of this machine, and no script, which begins with "#!": exec format error`, false},
		{busy, "", "it is being written: text file busy", true},
	}
	for _, tt := range tests {
		_, err := program.Run(t.Context(), program.Program{Command: []string{tt.path}, User: tt.user})
		if want := fmt.Sprintf("start: %s: %s", tt.path, tt.want); text(err) != want || errors.Is(err, program.ErrMachine) != tt.short {
			t.Errorf("got  %v (short: %v)\nwant %s", err, errors.Is(err, program.ErrMachine), want)
		}
		var failed *program.StartError
		if !errors.As(err, &failed) {
			t.Errorf("%v is a %T", err, err)
		}
	}
}

// TestKeptUnread: what a program has said before it ended is kept although nobody has had
// the time to read it.
func TestKeptUnread(t *testing.T) {
	long := strings.Repeat("x", 8<<10)
	for said, want := range map[string]string{"": "", "all is well\n": "all is well\n", long: long[:4<<10]} {
		if got, err := program.KeptUnread(said); err != nil || string(got) != want {
			t.Errorf("%d octets: kept %d, %v", len(said), len(got), err)
		}
	}
}
