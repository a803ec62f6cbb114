package healthcheck

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The kinds of check this version has.
const (
	// KindTCP is satisfied when the connection is established.
	KindTCP = "tcp"
	// KindHTTP wants an answer with an accepted status, and optionally a text in
	// its body.
	KindHTTP = "http"
	// KindHTTPS is KindHTTP over TLS, the certificate verified.
	KindHTTPS = "https"
	// KindExec runs a program and wants exit status 0.
	KindExec = "exec"
	// KindPing wants an answer to an ICMP echo request.
	KindPing = "ping"
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
	// DefaultMethod, DefaultPath and DefaultStatus are for http and https.
	DefaultMethod = "GET"
	DefaultPath   = "/"
	DefaultStatus = "200-299"
	// MaxBodyText is the longest text, in bytes, that Check.Body may hold.
	MaxBodyText = 4096
)

// Check says how a server is probed and when a verdict changes. It is
// comparable: two services that say the same of one server share one probe.
type Check struct {
	// Kind names the probe: "tcp", "http", "https", "exec" or "ping".
	Kind string
	// Port is probed instead of the server's own; zero means the server's.
	Port uint16
	// Interval separates the starts of two probes; zero means DefaultInterval.
	Interval time.Duration
	// Timeout bounds one probe; zero means DefaultTimeout, and more than
	// Interval means Interval: a probe never overlaps itself.
	Timeout time.Duration
	// Rise successes in a row make a server up, Fall failures make it down; zero
	// means DefaultRise and DefaultFall.
	Rise, Fall int

	// Method, Path, Host, Status and Body are for http and https. Method is GET or HEAD or
	// another; Host is the Host header (and the server name of TLS) and empty
	// means the server's address; Status lists the accepted codes as "200-299,304" and empty
	// means 200-299; Body must be contained in the answer's body, empty means
	// anything will do.
	Method, Path, Host, Status, Body string
	// Insecure accepts any certificate of an https server.
	Insecure bool

	// Command is for exec: the program and its arguments, joined with NUL so that the type
	// stays comparable. It is run without a shell; exit status 0 is success.
	Command string
	// User runs the command as that user; empty means the daemon's.
	User string
}

// JoinCommand makes a Check.Command of a program and its arguments.
func JoinCommand(argv []string) string { return strings.Join(argv, "\x00") }

// Argv is the program and its arguments that Command holds; nil when empty.
func (c Check) Argv() []string {
	if c.Command == "" {
		return nil
	}
	return strings.Split(c.Command, "\x00")
}

// String names what is probed, such as "http :8080 /healthz".
func (c Check) String() string {
	var b strings.Builder
	b.WriteString(c.Kind)
	if c.Port != 0 {
		b.WriteString(" :" + strconv.Itoa(int(c.Port)))
	}
	switch c.Kind {
	case KindHTTP, KindHTTPS:
		if c.Host != "" {
			b.WriteString(" " + c.Host)
		}
		b.WriteString(" " + c.path())
	case KindExec:
		b.WriteString(" " + strings.Join(c.Argv(), " "))
	}
	return b.String()
}

func (c Check) path() string {
	if c.Path == "" {
		return DefaultPath
	}
	return c.Path
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
	if c.Rise <= 0 {
		c.Rise = DefaultRise
	}
	if c.Fall <= 0 {
		c.Fall = DefaultFall
	}
	return c
}

// question is the check without its pace: what is asked, not how often and how
// many answers it takes.
func (c Check) question() Check {
	c.Interval, c.Timeout, c.Rise, c.Fall = 0, 0, 0, 0
	return c
}

// Target is one server under one check.
type Target struct {
	Server netip.AddrPort
	Check  Check
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
	t.Check.Port = 0
	return t
}

// String names the target, such as "192.0.2.21:80 http /healthz".
func (t Target) String() string { return t.Server.String() + " " + t.Check.String() }
