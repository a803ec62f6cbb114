package vrrp

import "time"

// State is the state of a virtual router: the three of RFC 9568 section 6.4,
// and two that an implementation on a real machine needs.
type State uint8

// The states.
const (
	// Initialize is a virtual router that was not started or was shut down.
	Initialize State = iota
	// Backup watches the Active.
	Backup
	// Active holds the addresses.
	Active
	// Leaving goes on serving the addresses, without advertising, until the
	// next Active has announced them.
	Leaving
	// Fault cannot take part: the interface is missing, down or without an
	// address to send from, or the addresses cannot be installed.
	Fault
)

// String is the state as status and events print it.
func (s State) String() string {
	switch s {
	case Initialize:
		return "initialize"
	case Backup:
		return "backup"
	case Active:
		return "active"
	case Leaving:
		return "leaving"
	case Fault:
		return "fault"
	default:
		return "unknown"
	}
}

// skewTime is Skew_Time for the interval learned from the Active. It is not
// truncated to centiseconds: at short intervals that would lose the order
// among backups (V3-TMR-04).
func skewTime(version, priority uint8, interval time.Duration) time.Duration {
	if version == 2 {
		// Whatever the interval is (RFC 3768 section 6.1).
		interval = time.Second
	}
	return time.Duration(256-int(priority)) * interval / 256
}

// activeDownInterval is Active_Down_Interval (RFC 9568 section 6.1), and
// Master_Down_Interval in version 2.
func activeDownInterval(version, priority uint8, interval time.Duration) time.Duration {
	return 3*interval + skewTime(version, priority, interval)
}

// earliest is the earlier of two times of which zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// due says whether a time that is not zero has come.
func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// lateAfter is how late a timer may run before the process counts as stalled:
// one interval, but nothing below what an ordinary scheduler does to a process.
func lateAfter(interval time.Duration) time.Duration { return max(interval, 20*time.Millisecond) }
