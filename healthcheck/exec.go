package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// outputLimit is how much of a program's output is kept; the rest is read
	// and thrown away, so that the program never blocks on it.
	outputLimit = 4 << 10
	// pipeGrace is how long after the program's end its output is waited for
	// when a child it left behind holds the other end.
	pipeGrace = 100 * time.Millisecond
)

// execPath is the PATH of a check; the daemon's own depends on who started it.
const execPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Exec runs a program and wants exit status 0.
type Exec struct {
	// Command is the program and its arguments. It is run without a shell. {server},
	// {port}, {vip} and {vport} in it stand for what they say.
	Command List `key:"command" required:"the program and its arguments, such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]" want:"a list of the program and its arguments such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]; there is no shell"`
	// User runs the command as that user; empty means the daemon's.
	User string `key:"user"`
	// Dynamic takes an exit status of 2 to 255 for success, with a weight of the
	// status less 2 (keepalived's misc_dynamic).
	Dynamic bool `key:"dynamic"`
}

var (
	_ Question  = Exec{}
	_ Validator = Exec{}
)

// Kind is "exec".
func (Exec) Kind() string { return "exec" }

// String is the command.
func (q Exec) String() string { return strings.Join(q.Command.Items(), " ") }

// Validate is part of Validator.
func (q Exec) Validate() (out []Problem) {
	argv := q.Command.Items()
	if len(argv) > 0 && !strings.HasPrefix(argv[0], "/") {
		out = append(out, Problem{Key: "command", Item: 1, Message: fmt.Sprintf("want the program's absolute path, got %q", argv[0])})
	}
	if strings.ContainsFunc(q.User, func(r rune) bool { return r <= ' ' || r == ':' }) {
		out = append(out, Problem{Key: "user", Message: fmt.Sprintf("want the name of a user, got %q", q.User)})
	}
	return out
}

// Prepare is part of Question.
func (q Exec) Prepare() (ProbeFunc, error) { return q.probe, nil }

// probe runs a program in a process group of its own, without a shell and
// with nothing on its standard input. It finds the server in LVSHA_SERVER and
// LVSHA_PORT. At the timeout the whole group is killed.
func (q Exec) probe(ctx context.Context, t Target) (Answer, error) {
	argv := List(t.fill(string(q.Command))).Items()
	if len(argv) == 0 {
		return Answer{}, errors.New("no command")
	}
	var out head
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{
		"PATH=" + execPath,
		"LVSHA_SERVER=" + t.Server.Addr().String(),
		"LVSHA_PORT=" + strconv.Itoa(int(t.Server.Port())),
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = pipeGrace
	if err := isolate(cmd, q.User); err != nil {
		return Answer{}, err
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		// The program is gone, a child of it holds the output; its group exists as
		// long as the child does, so this cannot hit anybody else.
		killGroup(cmd)
		err = nil
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return Answer{}, &timeoutError{after: t.Check.Timeout, doing: "running " + argv[0]}
	case err == nil:
		return Answer{Detail: withLine("exit status 0", out.firstLine())}, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if n := exit.ExitCode(); q.Dynamic && n >= 2 {
			return Answer{Detail: withLine(exit.Error(), out.firstLine()), Advice: Advice{Unit: Instead, Weight: n - 2}}, nil
		}
		return Answer{}, errors.New(withLine(exit.Error(), out.firstLine()))
	}
	return Answer{}, ownFault(fmt.Errorf("start: %w", err))
}

func withLine(s, line string) string {
	if line == "" {
		return s
	}
	return s + ": " + line
}

// head keeps the first outputLimit bytes written to it. Standard output and
// error are one stream to exec.Cmd, but the mutex makes it safe to read while a
// child left behind still writes.
type head struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p[:min(len(p), outputLimit-len(h.buf))]...)
	return len(p), nil
}

// firstLine is the first line with something on it, fit for a log.
func (h *head) firstLine() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for line := range strings.Lines(string(h.buf)) {
		if line = strings.TrimSpace(line); line != "" {
			return printable(line)
		}
	}
	return ""
}
