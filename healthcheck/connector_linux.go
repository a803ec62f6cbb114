package healthcheck

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connector makes connections and closes them, any number at a time on one
// goroutine.
type connector struct {
	done func([]landing)

	epoll int
	// file is the same as epoll, as the runtime's poller waits for it.
	file *os.File
	raw  syscall.RawConn

	mu        sync.Mutex // guards what follows
	slots     []*flight
	free      []int32
	serial    int32
	deadlines deadlines
	// waiting is until when the goroutine waits; zero while it does not.
	waiting time.Time
	closed  bool
}

// landing is how a connection ended.
type landing struct {
	*flight
	err error
}

// newConnector returns a connector that is not running yet. done is called with
// connections that ended, from the goroutine of run.
func newConnector(done func([]landing)) (*connector, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Only what does not block is waited for by the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	c := &connector{done: done, epoll: fd, file: os.NewFile(uintptr(fd), "connections")}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("watching connections: %w", err)
	}
	return c, nil
}

// start begins a connection. An error is the probe's result, and done is not called.
func (c *connector) start(e *entry, t Target, now time.Time) error {
	domain, to := sockaddr(t.Server)
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := syscall.Connect(fd, to); err != nil && !connecting(err) {
		syscall.Close(fd)
		return os.NewSyscallError("connect", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		syscall.Close(fd)
		return fmt.Errorf("%w: nobody watches connections any more", ErrInconclusive)
	}
	f := &flight{entry: e, fd: fd, start: now, deadline: now.Add(t.Check.Timeout), serial: c.serial}
	c.serial++
	if n := len(c.free); n > 0 {
		f.slot, c.free = c.free[n-1], c.free[:n-1]
		c.slots[f.slot] = f
	} else {
		f.slot = int32(len(c.slots))
		c.slots = append(c.slots, f)
	}
	// A connection that is made already is ready at once.
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: f.slot, Pad: f.serial}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.slots[f.slot] = nil
		c.free = append(c.free, f.slot)
		syscall.Close(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	heap.Push(&c.deadlines, f)
	if !c.waiting.IsZero() && f.deadline.Before(c.waiting) {
		c.until(f.deadline)
	}
	return nil
}

// until has the goroutine wake up at a time. The caller holds mu.
func (c *connector) until(t time.Time) {
	c.waiting = t
	c.file.SetReadDeadline(t) // fails on a closed file only, whose goroutine has ended
}

// run watches connections until ctx ends. Those that are left then are closed without
// a word; at another end they are inconclusive.
func (c *connector) run(ctx context.Context) (err error) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.until(theEnd)
	})
	defer stop()
	defer func() {
		if left := c.close(err); ctx.Err() == nil {
			c.done(left)
		}
	}()
	events := make([]unix.EpollEvent, 512)
	var landed []landing
	for {
		n, err := c.wait(events)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		landed = c.land(landed[:0], events[:n], time.Now())
		if len(landed) > 0 {
			c.done(landed)
		}
	}
}

// theEnd is a time that is over: nothing is waited for any more.
var theEnd = time.Unix(1, 0)

// wait waits for connections that ended or are late, and says how many of the first.
func (c *connector) wait(events []unix.EpollEvent) (n int, err error) {
	poll := func() bool {
		n, err = unix.EpollWait(c.epoll, events, 0)
		if errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		return n > 0 || err != nil
	}
	if c.rest() > busy {
		// So many are under way that more of them end in a breath.
		time.Sleep(breath)
		poll()
	} else if late := c.raw.Read(func(uintptr) bool { return poll() }); late != nil && !isTimeout(late) {
		return 0, fmt.Errorf("waiting for connections: %w", late)
	}
	return max(n, 0), os.NewSyscallError("epoll_wait", err)
}

// rest says how many connections are under way, and has the next wait end in time.
func (c *connector) rest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	under := len(c.deadlines)
	switch {
	case c.waiting == theEnd:
	case under > busy:
		c.waiting = time.Time{}
	case under > 0:
		c.until(c.deadlines[0].deadline)
	default:
		c.until(time.Now().Add(time.Hour))
	}
	return under
}

// land takes out the connections that are made, failed or late.
func (c *connector) land(out []landing, events []unix.EpollEvent, now time.Time) []landing {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		f := c.slots[e.Fd]
		if f == nil || f.serial != e.Pad {
			continue // it was late, and its place is another's
		}
		out = append(out, landing{f, outcome(f)})
		heap.Remove(&c.deadlines, f.at)
		c.clear(f)
	}
	for len(c.deadlines) > 0 && !c.deadlines[0].deadline.After(now) {
		f := heap.Pop(&c.deadlines).(*flight)
		out = append(out, landing{f, context.DeadlineExceeded})
		c.clear(f)
	}
	return out
}

// clear closes a connection and gives its place to another. The caller holds mu.
func (c *connector) clear(f *flight) {
	syscall.Close(f.fd) // an orderly end; there is nothing to lose
	c.slots[f.slot] = nil
	c.free = append(c.free, f.slot)
}

// outcome asks the kernel how a connection went.
func outcome(f *flight) error {
	errno, err := syscall.GetsockoptInt(f.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	server := f.entry.target.Server
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case errno != 0:
		return os.NewSyscallError("connect", syscall.Errno(errno))
	case server.Port() >= 1024 && fromItself(f.fd, server):
		// Below that no port is given out.
		return os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	return nil
}

// close ends what is left, and returns it as inconclusive.
func (c *connector) close(why error) (left []landing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.deadlines {
		syscall.Close(f.fd)
		left = append(left, landing{f, fmt.Errorf("%w: %w", ErrInconclusive, why)})
	}
	c.deadlines, c.slots, c.closed = nil, nil, true
	c.file.Close()
	return left
}
