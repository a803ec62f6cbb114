package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A request may take as long as what it asks for does, but a daemon that does not
// run at all must not keep its operator waiting. So the client asks beside each
// request whether anybody is there.

const (
	// silentAfter is for how long a daemon may leave the question unanswered.
	silentAfter = 5 * time.Second
	// askEvery is the pause between two questions.
	askEvery = 2 * time.Second
)

// How long what is asked for may take in a daemon that does run.
const (
	// lookWithin bounds what only looks: tens of thousands of servers take a second.
	lookWithin = 30 * time.Second
	// doWithin bounds what changes something: a yield waits for another director, a
	// reload for the kernel.
	doWithin = 3 * time.Minute
	// resyncWithin bounds the comparison of two whole connection tables.
	resyncWithin = 15 * time.Minute
	// forEver is for what has no end of its own.
	forEver = time.Duration(0)
)

// watch ends a request, by its cause, when the daemon does not answer.
func (c *Client) watch(ctx context.Context, end context.CancelCauseFunc) {
	for {
		if err := c.alive(ctx); err != nil {
			end(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
}

// alive asks whether the daemon runs. Only silence is an error: a connection that
// fails otherwise fails for the request itself as well.
func (c *Client) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lvsha"+pathAlive, nil)
	if err != nil {
		return fmt.Errorf("asking the daemon: %w", err)
	}
	answer, err := c.http.Do(request)
	if err == nil {
		// An older daemon does not know the question, and answers that.
		return answer.Body.Close()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return c.silent(fmt.Sprintf("does not answer within %v", c.patience))
	}
	return nil
}

// errSilent is wrapped by the errors about a daemon that does not answer.
var errSilent = errors.New("the daemon")

// silent is the error about a daemon that does not answer, with what to look at.
func (c *Client) silent(what string) error {
	pid := c.pid.Load()
	if pid == 0 {
		return fmt.Errorf("%w on %s %s: see systemctl status lvsha and journalctl -u lvsha", errSilent, c.path, what)
	}
	advice := "see systemctl status lvsha and journalctl -u lvsha"
	if stopped(int(pid)) {
		advice = fmt.Sprintf("it is stopped, by a signal or a debugger (kill -CONT %d lets it run)", pid)
	}
	return fmt.Errorf("%w (process %d) on %s %s: %s", errSilent, pid, c.path, what, advice)
}

// stopped reports whether a process is stopped (proc(5), state T or t).
func stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name
	return strings.HasPrefix(rest, "T") || strings.HasPrefix(rest, "t")
}

// dial connects, and notes whose socket it is.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	if u, ok := conn.(syscall.Conn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				// It is for an error's text alone, which does without.
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					c.pid.Store(cred.Pid)
				}
			})
		}
	}
	return conn, nil
}

// watched is the body of an answer, which ends with its request.
type watched struct {
	io.ReadCloser
	ctx  context.Context
	done func()
}

// Read says why the request was ended, if it was.
func (w watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, because(w.ctx, err)
	}
	return n, err
}

// Close ends the request and waits for what watched it.
func (w watched) Close() error {
	err := w.ReadCloser.Close()
	w.done()
	return err
}

// because is why a request was ended, for the error that it got from that.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
