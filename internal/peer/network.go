package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Network is where directors meet. NewNetwork has the real one.
type Network interface {
	// Listen binds an address, even one that the machine does not have yet.
	Listen(ctx context.Context, local netip.AddrPort) (net.Listener, error)
	// Dial connects from an address of this machine, and from a port below 1024 where
	// this process may.
	Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error)
}

// lively is a connection whose reads end when the other end has been silent for
// too long, and whose writes when it takes nothing.
type lively struct {
	net.Conn
	// heard is when something was read last, in nanoseconds of time.Now.
	heard atomic.Int64
}

// Read waits for deadAfter. A process that was itself stopped for that long reads
// what has arrived meanwhile before it believes that it was nothing.
func (c *lively) Read(b []byte) (n int, err error) {
	for _, patience := range []time.Duration{deadAfter, grace} {
		if err := c.Conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(b)
		if n > 0 {
			c.heard.Store(time.Now().UnixNano())
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
	return n, err
}

// Write gives each record of TLS, 16 KiB at most, its time.
func (c *lively) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// SetDeadline and its like are ours; TLS has nothing to say in it.
func (c *lively) SetDeadline(time.Time) error      { return nil }
func (c *lively) SetReadDeadline(time.Time) error  { return nil }
func (c *lively) SetWriteDeadline(time.Time) error { return nil }

// closeWrite lets the other end read what was sent, and then the end.
func closeWrite(conn net.Conn) {
	if l, ok := conn.(*lively); ok {
		conn = l.Conn
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// closeGently closes a connection so that the other end reads what was sent: what
// it has sent itself is read first, for a while.
func closeGently(l *lively) {
	defer l.Close()
	closeWrite(l)
	if err := l.Conn.SetReadDeadline(time.Now().Add(farewell)); err != nil {
		return
	}
	io.Copy(io.Discard, io.LimitReader(l.Conn, 64<<10))
}

// address is the other end of a connection.
func address(conn net.Conn) netip.AddrPort {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := tcp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// reason is an error of the network in a few words.
func reason(err error) string {
	var number syscall.Errno
	var operation *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &operation):
		return operation.Err.Error()
	}
	return err.Error()
}
