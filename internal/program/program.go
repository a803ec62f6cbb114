package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// path is the PATH of a program; the daemon's own depends on who started it.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// outputGrace is how long after the program's end its output is waited for when a child
// that it left behind holds the other end.
const outputGrace = 100 * time.Millisecond

// Program is what to run.
type Program struct {
	// Command is the program by its absolute path, and its arguments. There is no shell.
	Command []string
	// User runs it; empty is the daemon's own.
	User string
	// Env is its environment beside PATH, as "NAME=value"; the daemon's own is not in it.
	Env []string
	// Input is what it finds on its standard input.
	Input []byte
	// Bounded has a child that it leaves behind, and that still holds its output, killed at
	// its own end. Without it such a child goes on.
	Bounded bool
}

// ExitError is the error of a program that ended by itself, and not with exit status 0.
type ExitError = exec.ExitError

// ErrKilled is the error of a program that had not ended when its time was over.
var ErrKilled = errors.New("it did not end in time and was killed")

// Run runs a program in a process group of its own, in the directory "/", until it ends.
// When ctx ends first the whole group is killed. The error is nil for exit status 0, and
// otherwise a *StartError, an *ExitError or ErrKilled. One that is ErrMachine says nothing
// about what the program was to find out.
func Run(ctx context.Context, p Program) (Output, error) {
	if len(p.Command) == 0 {
		return "", &StartError{Err: errors.New("no command")}
	}
	if ctx.Err() != nil {
		return "", ErrKilled
	}
	cmd := exec.Command(p.Command[0], p.Command[1:]...)
	cmd.Env = append([]string{"PATH=" + path}, p.Env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace // for input that a child left behind does not read
	if len(p.Input) > 0 {
		cmd.Stdin = bytes.NewReader(p.Input)
	}
	if p.User != "" {
		cred, err := credential(p.User)
		if err != nil {
			return "", &StartError{Err: err}
		}
		cmd.SysProcAttr.Credential = cred
	}
	out, err := newCapture()
	if err != nil {
		return "", &StartError{Program: p, Err: err}
	}
	defer out.close()
	cmd.Stdout, cmd.Stderr = out.in, out.in
	refused := refusals()
	c, err := children.start(cmd)
	if err != nil {
		return "", &StartError{Program: p, Err: err}
	}
	out.begin()
	defer context.AfterFunc(ctx, c.kill)()
	c.ended()
	if !out.ended(outputGrace) && p.Bounded {
		c.kill()
		out.ended(outputGrace)
	}
	err = children.wait(c)
	output := out.kept()
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return output, nil
	case ctx.Err() != nil:
		return output, ErrKilled
	case refusals() > refused:
		return output, fmt.Errorf("%w: no process was left while it ran (pids.max): %w", ErrMachine, err)
	}
	return output, err
}
