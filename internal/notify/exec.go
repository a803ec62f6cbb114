package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// outputLimit is how much of a program's output is kept; the rest is read
	// and thrown away, so that the program never blocks on it.
	outputLimit = 4 << 10
	// outputLines is how many lines of it are shown, and lineLimit bounds each.
	outputLines = 3
	lineLimit   = 200
	// pipeGrace is how long after the program's end its output is waited for
	// when a child it left behind holds the other end.
	pipeGrace = 100 * time.Millisecond
)

// searchPath is the PATH of a program; the daemon's own depends on who started it.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Program is what a Runner runs.
type Program struct {
	Command Command
	User    string
	// Input is what it finds on its standard input.
	Input []byte
}

// Runner runs a program until it or ctx ends. The error is nil for exit status 0.
type Runner func(ctx context.Context, p Program) (output string, err error)

// runProgram runs a program in a process group of its own, without a shell. When
// ctx ends the whole group is killed; a child that the program leaves behind at
// its own end goes on.
func runProgram(ctx context.Context, p Program) (string, error) {
	var out head
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.Env = []string{"PATH=" + searchPath}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.Input), &out, &out
	cmd.WaitDelay = pipeGrace
	if err := isolate(cmd, p.User); err != nil {
		return "", err
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	switch {
	case ctx.Err() != nil && err != nil:
		err = errors.New("it did not end in time and was killed")
	case err != nil && cmd.ProcessState == nil:
		err = fmt.Errorf("start: %w", err)
	}
	return out.lines(), err
}

// head keeps the first outputLimit bytes written to it. Standard output and
// error are one stream to exec.Cmd, but a child left behind may still write.
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

// lines are the first lines with something on them, fit for a log.
func (h *head) lines() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for line := range strings.Lines(string(h.buf)) {
		if line = strings.TrimSpace(line); line != "" && len(out) < outputLines {
			out = append(out, printable(line))
		}
	}
	return strings.Join(out, " | ")
}

// printable makes foreign text fit for a log: no control characters, valid
// UTF-8, at most lineLimit characters.
func printable(s string) string {
	runes := []rune(strings.ToValidUTF8(s, "?"))
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	if len(runes) > lineLimit {
		return string(runes[:lineLimit]) + "…"
	}
	return string(runes)
}
