package healthcheck

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connector makes connections and closes them, any number at a time on one
// goroutine.
type connector struct {
	done func([]landing)

	// quiet has the connections that run waits for, crowd those that others poll: the
	// runtime's poller, which wakes up at each event of quiet, must not see them.
	quiet, crowd int
	// file is quiet, as the runtime's poller waits for it.
	file *os.File
	raw  syscall.RawConn

	// polled is whether somebody else than run calls poll, resumed tells run that
	// nobody does any more.
	polled  atomic.Bool
	resumed chan struct{}

	polling sync.Mutex // guards what follows
	events  [512]unix.EpollEvent
	landed  []landing
	over    bool // epoll is closed

	mu        sync.Mutex // guards what follows
	slots     []*flight
	free      []int32
	serial    int32
	deadlines deadlines
	// waiting is until when the goroutine waits.
	waiting time.Time
	// crowded counts those in crowd.
	crowded int
	closed  bool
}

// landing is how a connection ended.
type landing struct {
	*flight
	err error
	// took is how long it took; zero is until now.
	took time.Duration
}

// newConnector returns a connector that is not running yet. done is called with
// connections that ended, from the goroutine of run.
func newConnector(done func([]landing)) (*connector, error) {
	quiet, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	crowd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(quiet)
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Only what does not block is waited for by the runtime's poller.
	err = os.NewSyscallError("fcntl", unix.SetNonblock(quiet, true))
	c := &connector{done: done, resumed: make(chan struct{}, 1), quiet: quiet, crowd: crowd, file: os.NewFile(uintptr(quiet), "connections")}
	if err == nil {
		c.raw, err = c.file.SyscallConn()
	}
	if err != nil {
		c.file.Close()
		unix.Close(crowd)
		return nil, fmt.Errorf("watching connections: %w", err)
	}
	return c, nil
}

// start begins a connection. An error is the probe's result, and done is not called.
func (c *connector) start(e *entry, t Target, now time.Time) error {
	to := newRawAddress(t.Server)
	fd, err := syscall.Socket(to.family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := to.connect(fd); err != nil && !connecting(err) {
		rawClose(fd)
		return os.NewSyscallError("connect", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		rawClose(fd)
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
	epoll := c.quiet
	if f.polled = c.polled.Load(); f.polled {
		epoll = c.crowd
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		c.slots[f.slot] = nil
		c.free = append(c.free, f.slot)
		rawClose(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	heap.Push(&c.deadlines, f)
	if f.polled {
		c.crowded++
	}
	if !c.polled.Load() && f.deadline.Before(c.waiting) {
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
	for ctx.Err() == nil {
		if c.polled.Load() {
			select {
			case <-ctx.Done():
			case <-c.resumed:
			}
			continue
		}
		if err := c.wait(); err != nil {
			return err
		}
		if err := c.poll(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// theEnd is a time that is over: nothing is waited for any more.
var theEnd = time.Unix(1, 0)

// setPolled says whether somebody else calls poll often; run waits then.
func (c *connector) setPolled(polled bool) {
	if c.polled.Swap(polled) == polled {
		return
	}
	if polled {
		c.mu.Lock()
		if c.waiting != theEnd {
			c.until(time.Now()) // look at it
		}
		c.mu.Unlock()
		return
	}
	select {
	case c.resumed <- struct{}{}:
	default:
	}
}

// wait waits until a connection has ended or is late.
func (c *connector) wait() error {
	c.mu.Lock()
	switch {
	case c.waiting == theEnd:
	case c.crowded > 0: // nobody else polls them any more
		c.until(time.Now().Add(breath))
	case len(c.deadlines) > 0:
		c.until(c.deadlines[0].deadline)
	default:
		c.until(time.Now().Add(time.Hour))
	}
	c.mu.Unlock()
	var failed error
	err := c.raw.Read(func(uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(c.quiet), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			failed = os.NewSyscallError("poll", err)
		}
		return n > 0 || failed != nil
	})
	if err != nil && !isTimeout(err) {
		return fmt.Errorf("waiting for connections: %w", err)
	}
	return failed
}

// poll hands on the connections that ended or are late. It waits for none, and is for
// one goroutine at a time.
func (c *connector) poll(now time.Time) error {
	c.polling.Lock()
	defer c.polling.Unlock()
	if c.over {
		return nil
	}
	for _, epoll := range []int{c.crowd, c.quiet} {
		for n := len(c.events); n == len(c.events); {
			var err error
			if n, err = rawPoll(epoll, c.events[:]); err != nil {
				return os.NewSyscallError("epoll_wait", err)
			}
			if c.landed = c.land(c.landed[:0], c.events[:n]); len(c.landed) > 0 {
				c.done(c.landed)
			}
		}
	}
	// Not before: what was made in time is not late because nobody looked.
	if c.landed = c.expire(c.landed[:0], now); len(c.landed) > 0 {
		c.done(c.landed)
	}
	return nil
}

// land takes out the connections that are made or failed.
func (c *connector) land(out []landing, events []unix.EpollEvent) []landing {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		f := c.slots[e.Fd]
		if f == nil || f.serial != e.Pad {
			continue // it was late, and its place is another's
		}
		l := landing{flight: f, err: outcome(f)}
		if f.polled && l.err == nil {
			// It was made some time before somebody looked.
			l.took = rawRoundTrip(f.fd)
		}
		out = append(out, l)
		heap.Remove(&c.deadlines, f.at)
		c.clear(f)
	}
	return out
}

// expire takes out the connections that are late.
func (c *connector) expire(out []landing, now time.Time) []landing {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.deadlines) > 0 && !c.deadlines[0].deadline.After(now) {
		f := heap.Pop(&c.deadlines).(*flight)
		out = append(out, landing{flight: f, err: context.DeadlineExceeded})
		c.clear(f)
	}
	return out
}

// clear closes a connection and gives its place to another. The caller holds mu.
func (c *connector) clear(f *flight) {
	rawClose(f.fd) // an orderly end; there is nothing to lose
	c.slots[f.slot] = nil
	c.free = append(c.free, f.slot)
	if f.polled {
		c.crowded--
	}
}

// outcome asks the kernel how a connection went.
func outcome(f *flight) error {
	server := f.entry.target.Server
	switch errno := rawOutcome(f.fd); {
	case errno != 0:
		return os.NewSyscallError("connect", errno)
	case server.Port() >= 1024 && fromItself(f.fd, server):
		// Below that no port is given out.
		return os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	return nil
}

// close ends what is left, and returns it as inconclusive.
func (c *connector) close(why error) (left []landing) {
	c.polling.Lock()
	defer c.polling.Unlock()
	c.over = true
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.deadlines {
		rawClose(f.fd)
		left = append(left, landing{flight: f, err: fmt.Errorf("%w: %w", ErrInconclusive, why)})
	}
	c.deadlines, c.slots, c.closed = nil, nil, true
	c.file.Close()
	unix.Close(c.crowd)
	return left
}
