package healthcheck

import (
	"net/netip"
	"time"
)

// Check says how a server is probed and when a verdict changes. It is
// comparable: two services that say the same of one server share one probe.
type Check struct {
	// Kind names the probe: "tcp", "http", "https" or "exec".
	Kind string
	// Port is probed instead of the server's own; zero means the server's.
	Port uint16
	// Interval separates the starts of two probes.
	Interval time.Duration
	// Timeout bounds one probe.
	Timeout time.Duration
	// Rise successes in a row make a server up, Fall failures make it down.
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

// Target is one server under one check.
type Target struct {
	Server netip.AddrPort
	Check  Check
}
