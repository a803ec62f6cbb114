package program

import (
	"os/exec"
	"sync"
	"syscall"
)

// children are those of this process that Run waits for. The kernel has one list for a
// process, so there is one here.
var children = registry{started: make(map[int]int), again: make(chan struct{}, 1)}

type registry struct {
	// starting is held for reading from before a child exists until it is known, and for
	// writing while one that nobody knows is buried.
	starting sync.RWMutex
	mu       sync.Mutex // guards started
	// started counts those that are waited for by PID: one that was just waited for may
	// share its PID with the next.
	started map[int]int
	// again has room for one: it is worth while to look for the dead again.
	again chan struct{}
}

// child is one that was started and has not been waited for.
type child struct {
	cmd *exec.Cmd

	mu sync.Mutex // guards waited
	// waited says that its PID may be somebody else's by now.
	waited bool
}

// begin is called before a child exists, and what it returns when that is known or could
// not be started.
func (r *registry) begin() (end func()) {
	r.starting.RLock()
	return func() {
		r.starting.RUnlock()
		r.lookAgain()
	}
}

// start starts a child.
func (r *registry) start(cmd *exec.Cmd) (*child, error) {
	defer r.begin()()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started[cmd.Process.Pid]++
	return &child{cmd: cmd}, nil
}

// wait is the end of a child that has ended: from here on the kernel does not know it.
func (r *registry) wait(c *child) error {
	c.mu.Lock()
	c.waited = true
	c.mu.Unlock()
	err := c.cmd.Wait()
	r.mu.Lock()
	defer r.lookAgain()
	defer r.mu.Unlock()
	pid := c.cmd.Process.Pid
	if r.started[pid]--; r.started[pid] == 0 {
		delete(r.started, pid)
	}
	return err
}

// knows reports whether somebody waits for a child.
func (r *registry) knows(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started[pid] > 0
}

func (r *registry) lookAgain() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// kill kills a child and all of its own that stayed in its group. The group keeps its
// number until the child was waited for, also when that has ended.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waited {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // ESRCH: all gone already
	}
}

// ended waits until a child has ended, and leaves it to be waited for.
func (c *child) ended() { awaitEnd(c.cmd.Process.Pid) }
