package healthcheck

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The defaults of a check whose author did not say.
const (
	// DefaultInterval separates the starts of two probes.
	DefaultInterval = 2 * time.Second
	// DefaultTimeout bounds one probe.
	DefaultTimeout = 1 * time.Second
	// DefaultRise is the number of successes in a row that make a server up.
	DefaultRise = 2
	// DefaultFall is the number of failures in a row that make a server down.
	DefaultFall = 3
)

// Check says how a server is probed and when a verdict changes. It is
// comparable: two services that say the same of one server share one probe.
type Check struct {
	// Ask is what is asked: the kind of check with its settings.
	Ask Question
	// Port is probed instead of the server's own; zero means the server's.
	Port uint16
	// Interval separates the starts of two probes; zero means DefaultInterval.
	Interval time.Duration
	// Timeout bounds one probe; zero means DefaultTimeout, and more than
	// Interval means Interval: a probe never overlaps itself.
	Timeout time.Duration
	// FastInterval takes the place of Interval while results contradict the state,
	// DownInterval while the server is down; zero means Interval.
	FastInterval, DownInterval time.Duration
	// Jitter delays each probe by a random part of it, so that many directors do
	// not probe in step.
	Jitter time.Duration
	// Rise successes in a row make a server up, Fall failures make it down; zero
	// means DefaultRise and DefaultFall.
	Rise, Fall int
	// Damping is for servers that come and go.
	Damping Damping
	// Weight is what the check counts for where a number is required of a server's
	// checks; zero means 1. It has nothing to do with the probe.
	Weight int
	// Through has the probe go the way of a client, through the service to the
	// server: Target.Path says how.
	Through bool
}

// Kind is the name of the kind of check.
func (c Check) Kind() string {
	if c.Ask == nil {
		return "nothing"
	}
	return c.Ask.Kind()
}

// String names what is probed, such as "http :8080 /healthz".
func (c Check) String() string {
	out := c.Kind()
	if c.Through {
		out += " through the service"
	}
	if c.Port != 0 {
		out += " :" + strconv.Itoa(int(c.Port))
	}
	if c.Ask != nil {
		if what := c.Ask.String(); what != "" {
			out += " " + what
		}
	}
	return out
}

// withDefaults fills what the author left out and bounds the timeout, so that
// the engine cannot be made to spin or to overlap a probe with itself.
func (c Check) withDefaults() Check {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	c.Timeout = min(c.Timeout, c.Interval)
	if c.FastInterval <= 0 {
		c.FastInterval = c.Interval
	}
	if c.DownInterval <= 0 {
		c.DownInterval = c.Interval
	}
	if c.Rise <= 0 {
		c.Rise = DefaultRise
	}
	if c.Fall <= 0 {
		c.Fall = DefaultFall
	}
	return c
}

// Patience is the longest time in which the check finds a death.
func (c Check) Patience() time.Duration {
	c = c.withDefaults()
	return c.Interval + c.Jitter + time.Duration(c.Fall-1)*max(c.FastInterval, c.Timeout) + c.Timeout
}

// Recovery is the longest time in which the check finds that a server is back.
func (c Check) Recovery() time.Duration {
	c = c.withDefaults()
	return max(c.Interval, c.DownInterval) + c.Jitter + time.Duration(c.Rise-1)*max(c.FastInterval, c.Timeout) + c.Timeout
}

// question is the check without its pace: what is asked, not how often and how
// many answers it takes.
func (c Check) question() Check {
	return Check{Ask: c.Ask, Port: c.Port, Through: c.Through}
}

// Target is one server under one check.
type Target struct {
	// Server is the server with the port that it is probed at.
	Server netip.AddrPort
	Check  Check
	// Path is the way that the probe takes; zero is the direct one.
	Path Path
}

// Canonical is the one way to write the target: the port that is probed stands
// in Server, Check.Port is zero and Server is not an IPv4-mapped address. Two
// services that probe port 8080 of one machine have one canonical target,
// whatever ports they balance. The Monitor speaks of canonical targets only.
func (t Target) Canonical() Target {
	port := t.Server.Port()
	if t.Check.Port != 0 {
		port = t.Check.Port
	}
	t.Server = netip.AddrPortFrom(t.Server.Addr().Unmap(), port)
	t.Check.Port, t.Check.Weight, t.Path.Port = 0, 0, 0
	return t
}

// identity is the target without what only says how it is asked: the pace of its
// check, and by which mark and from which address its path leads.
func (t Target) identity() Target {
	t.Check = t.Check.question()
	t.Path = Path{VIP: t.Path.VIP}
	return t
}

// String names the target, such as "192.0.2.21:80 http /healthz".
func (t Target) String() string { return t.Server.String() + " " + t.Check.String() }

// fill puts the server's address and port in place of {server} and {port}.
func (t Target) fill(text string) string {
	return strings.NewReplacer("{server}", t.Server.Addr().String(), "{port}", strconv.Itoa(int(t.Server.Port()))).Replace(text)
}

// For is the check as a service asks it: {vip} and {vport} in the command of an Exec
// stand for the service's address and port, or its mark and 0.
func (c Check) For(vip string, vport uint16) Check {
	if q, ok := c.Ask.(Exec); ok {
		q.Command = List(strings.NewReplacer("{vip}", vip, "{vport}", strconv.Itoa(int(vport))).Replace(string(q.Command)))
		c.Ask = q
	}
	return c
}
