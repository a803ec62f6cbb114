package peer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// fabric is a network in memory for synctest: connections have buffers of a size,
// and can be cut.
type fabric struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*fakeListener
	cut       bool
	pipes     []*pipe
	buffer    int
	port      uint16
	dials     int
}

func newFabric() *fabric {
	return &fabric{listeners: make(map[netip.AddrPort]*fakeListener), buffer: 64 << 10, port: 20000}
}

// setCut lets nothing pass, silently, or everything again.
func (f *fabric) setCut(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	for _, p := range f.pipes {
		p.setCut(cut)
	}
}

func (f *fabric) Listen(_ context.Context, at netip.AddrPort) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &fakeListener{fabric: f, at: at, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	f.listeners[at] = l
	return l, nil
}

// Dial is that of any user of a machine.
func (f *fabric) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	f.port++
	from := netip.AddrPortFrom(local, f.port)
	f.mu.Unlock()
	return f.dialFrom(ctx, from, remote)
}

// directors are the machines as directors use them, from a privileged port.
type directors struct{ *fabric }

func (d directors) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	return d.dialFrom(ctx, netip.AddrPortFrom(local, 820), remote)
}

func (f *fabric) dialFrom(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	l, cut := f.listeners[remote], f.cut
	if cut {
		f.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	defer f.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	there, back := newPipe(f.buffer), newPipe(f.buffer)
	f.pipes = append(f.pipes, there, back)
	source := net.TCPAddrFromAddrPort(local)
	target := net.TCPAddrFromAddrPort(remote)
	select {
	case l.conns <- &fakeConn{in: there, out: back, local: target, remote: source}:
	default:
		return nil, syscall.ECONNREFUSED
	}
	return &fakeConn{in: back, out: there, local: source, remote: target}, nil
}

type fakeListener struct {
	fabric *fabric
	at     netip.AddrPort
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.fabric.mu.Lock()
		delete(l.fabric.listeners, l.at)
		l.fabric.mu.Unlock()
	})
	return nil
}

func (l *fakeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// pipe is one direction of a connection.
type pipe struct {
	mu      sync.Mutex
	data    []byte
	limit   int
	closed  bool // by the writer, or both
	aborted bool // by the reader
	cut     bool
	changed chan struct{}
}

func newPipe(limit int) *pipe { return &pipe{limit: limit, changed: make(chan struct{})} }

func (p *pipe) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.change()
}

func (p *pipe) close(aborted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.aborted = p.aborted || aborted
	p.change()
}

func wait(changed <-chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-changed
		return nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-changed:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

type fakeConn struct {
	in, out       *pipe
	local, remote net.Addr
	mu            sync.Mutex
	read, write   time.Time
	closed        bool
}

func (c *fakeConn) deadlines() (read, write time.Time, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read, c.write, c.closed
}

func (c *fakeConn) Read(b []byte) (int, error) {
	for {
		deadline, _, closed := c.deadlines()
		p := c.in
		p.mu.Lock()
		switch {
		case closed:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case len(p.data) > 0 && !p.cut:
			n := copy(b, p.data)
			p.data = p.data[n:]
			p.change()
			p.mu.Unlock()
			return n, nil
		case p.closed && !p.cut:
			p.mu.Unlock()
			return 0, io.EOF
		}
		changed := p.changed
		p.mu.Unlock()
		if err := wait(changed, deadline); err != nil {
			return 0, err
		}
	}
}

func (c *fakeConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		_, deadline, closed := c.deadlines()
		p := c.out
		p.mu.Lock()
		if closed || p.closed || (p.aborted && !p.cut) {
			p.mu.Unlock()
			return n, errors.New("broken pipe")
		}
		if room := p.limit - len(p.data); room > 0 {
			m := min(room, len(b))
			p.data = append(p.data, b[:m]...)
			b, n = b[m:], n+m
			p.change()
			p.mu.Unlock()
			continue
		}
		changed := p.changed
		p.mu.Unlock()
		if err := wait(changed, deadline); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *fakeConn) CloseWrite() error {
	c.out.close(false)
	return nil
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.close(false)
	c.in.mu.Lock()
	c.in.aborted = true
	c.in.change()
	c.in.mu.Unlock()
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr  { return c.local }
func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }
func (c *fakeConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *fakeConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	return nil
}

func (c *fakeConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	return nil
}
