package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// childAttr makes a child its own process group, and lets it die with the
// host's thread.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Process is a program that runs on a host.
type Process struct {
	name   string
	cmd    *exec.Cmd
	out    *output
	done   chan struct{}
	result error // valid once done is closed
}

// Start starts a program on the host. It is killed when the network closes.
// Output is kept, both streams together, and copied to log unless that is nil.
func (h *Host) Start(log io.Writer, name string, args ...string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(name, args...), out: &output{copy: log}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = childAttr()
	// A grandchild that keeps the pipe open must not keep Wait waiting.
	p.cmd.WaitDelay = time.Second
	if err := h.Do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: starting %s: %w", h.Name, name, err)
	}
	h.mu.Lock()
	h.procs = append(h.procs, p)
	h.mu.Unlock()
	go func() {
		p.result = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process has printed so far.
func (p *Process) Output() string { return p.out.String() }

// Signal sends sig to the process itself.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// Kill kills the process and its whole group with SIGKILL and waits. A process
// that has already ended is fine.
func (p *Process) Kill() error {
	err := syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	return nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process, at most limit, and returns its exit
// code; a process killed by a signal has -1.
func (p *Process) Wait(limit time.Duration) (int, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s has not ended within %v; it printed:\n%s", p.name, limit, p.Output())
	}
}

// output keeps what a process prints; mu guards buf and the writes to copy.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	copy io.Writer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.copy != nil {
		o.copy.Write(b) // the copy is for people: an error of it is theirs
	}
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
