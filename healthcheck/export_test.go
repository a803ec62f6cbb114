package healthcheck

import (
	"context"
	"net"
	"regexp"
	"syscall"
	"time"
)

// Counter shows the counter to tests.
type Counter struct{ c counter }

// NewCounter starts in a state.
func NewCounter(s State) *Counter {
	c := &Counter{}
	c.c.adopt(time.Time{}, s, initialReason(s))
	return c
}

// Observe takes one result.
func (c *Counter) Observe(now time.Time, ok bool, reason string, rise, fall int) bool {
	return c.c.observe(now, finding{ok: ok, reason: reason}, Check{Rise: rise, Fall: fall})
}

// ObserveCheck takes one result under a check.
func (c *Counter) ObserveCheck(now time.Time, ok bool, reason string, check Check) bool {
	return c.c.observe(now, finding{ok: ok, reason: reason}, check)
}

// Verdict is what has been concluded.
func (c *Counter) Verdict() Verdict { return c.c.verdict }

// The pure parts of the schedule.
var (
	NextDue = nextDue
	Phase   = phase
)

// Contains is the search of a body.
var Contains = contains

// Printable is what is done to foreign text.
var Printable = printable

// OwnFault marks what this machine is to blame for.
var OwnFault = ownFault

// Silent is whether a failure came without a sign of life.
var Silent = silent

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h.add(d) }

// HealthStatus decodes an answer of the health service of gRPC.
func HealthStatus(b []byte) (string, error) {
	var out healthStatus
	err := healthCodec{}.Unmarshal(b, &out)
	return out.String(), err
}

// Dial is how kinds of check connect.
func (t Target) Dial(ctx context.Context, network string) (net.Conn, error) {
	return t.dial(ctx, network)
}

// SourcePorts gives out source ports.
type SourcePorts = ports

// Pick picks one.
func (p *ports) Pick(path Path, now time.Duration) uint16 { return p.pick(path, now) }

// Socket is that of a connection that Dial made.
func Socket(conn net.Conn) (syscall.RawConn, error) {
	return conn.(*boundConn).Conn.(syscall.Conn).SyscallConn()
}

// Hear reports whether what a TCP check expects is said on a connection.
func Hear(q TCP, conn net.Conn) bool {
	d := dialogue{text: payload(q.Expect, q.ExpectHex)}
	if q.ExpectRegex != "" {
		d.regex = regexp.MustCompile(q.ExpectRegex)
	}
	heard, _ := d.hear(conn)
	return d.met(heard)
}
