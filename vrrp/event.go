package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// Event is what a virtual router is told.
type Event interface {
	fmt.Stringer
	event()
}

// Startup starts a virtual router that is in Initialize, or takes a Shutdown
// back that is still in Leaving.
type Startup struct {
	// Resume is what the last process left behind, nil if nothing.
	Resume *Resume
	// HoldOff is how long the router listens at least before silence makes it
	// Active, because the network around a machine that boots is not ready yet.
	// The owner and one that resumes do not wait.
	HoldOff time.Duration
}

// Resume is the record of a process that ended without giving its addresses
// away: a restart or a crash.
type Resume struct {
	// Active says that the router was Active, and so has addresses in the
	// kernel.
	Active bool
	// Age is the time since its last advertisement.
	Age time.Duration
	// Interval is the Advertisement_Interval it used; zero means the
	// configured one.
	Interval time.Duration
}

// Shutdown gives the addresses away and ends in Initialize.
type Shutdown struct{}

// Tick says that the Deadline may have come.
type Tick struct{}

// Received is a valid advertisement. It is passed by pointer, and the router
// keeps nothing of it.
type Received struct {
	// At is when the kernel received it, at or before now.
	At time.Time
	// Source is the sender's address.
	Source netip.Addr
	// Advertisement is the packet.
	Advertisement Advertisement
}

// Announced is a gratuitous ARP or an unsolicited neighbour advertisement for one
// of the virtual addresses, from a hardware address that is not ours.
type Announced struct {
	Address netip.Addr
	MAC     [6]byte
}

// LinkChange is the state of the virtual router's interface.
type LinkChange struct {
	// Problem says why the interface cannot be used; empty when it can.
	Problem string
	// Source is the address advertisements are sent from.
	Source netip.Addr
	// Speaks says of a problem that something can be sent all the same: then the others
	// are told before the addresses go.
	Speaks bool
}

// Reconfigure replaces the configuration. Its Key is the old one.
type Reconfigure struct{ Config Config }

// AddressLost says that somebody removed an address that we hold.
type AddressLost struct{ Address Address }

// InstallFailed says that not one of the addresses could be installed, for
// longer than is tolerable.
type InstallFailed struct{ Err error }

// Stalled says that the process did not run, or the machine was suspended.
type Stalled struct{ For time.Duration }

// Tracked is what the conditions that the router depends on add up to.
type Tracked struct {
	// Adjust is added to the configured priority; the sum stays within 1 and 254.
	// The owner's priority does not change (V3-OWN-01).
	Adjust int
	// Why says in words what makes the sum; empty when nothing does.
	Why string
	// Fault says why the router cannot serve; empty when it can.
	Fault string
	// Wait says why a living Active of lower priority is left where it is for now;
	// empty when it need not be. It keeps nobody from taking over from a dead one.
	Wait string
	// Alone reports that every other director has said that it gave up and left, so
	// that a release need not wait long for somebody who takes the addresses.
	Alone bool
}

// Yield gives the addresses to another director that is there to take them, and
// takes them from none until the yield has ended.
type Yield struct {
	// Until is when it ends; zero is not before an Unyield.
	Until time.Time
}

// Unyield ends a Yield.
type Unyield struct{}

// PeerDown says that the path to an Active is known to be dead, by other means
// than its silence (RFC 5880).
type PeerDown struct {
	Source netip.Addr
	At     time.Time
}

// GroupFault says that another member of the sync group cannot serve, or with an
// empty problem that all can.
type GroupFault struct{ Problem string }

// GroupPromote says that every member of the sync group is ready to be Active.
type GroupPromote struct{}

// GroupDemote says that another member of the sync group had to give way.
type GroupDemote struct{ Reason string }

func (Startup) event()       {}
func (Tracked) event()       {}
func (Yield) event()         {}
func (Unyield) event()       {}
func (PeerDown) event()      {}
func (GroupFault) event()    {}
func (GroupPromote) event()  {}
func (GroupDemote) event()   {}
func (Shutdown) event()      {}
func (Tick) event()          {}
func (*Received) event()     {}
func (Announced) event()     {}
func (LinkChange) event()    {}
func (Reconfigure) event()   {}
func (AddressLost) event()   {}
func (InstallFailed) event() {}
func (Stalled) event()       {}

func (e Startup) String() string {
	switch {
	case e.Resume == nil:
		return "startup"
	case !e.Resume.Active:
		return "startup, was not active"
	default:
		return fmt.Sprintf("startup, was active %s ago", e.Resume.Age)
	}
}
func (e Tracked) String() string {
	s := fmt.Sprintf("tracked: adjust %+d (%s), fault %q", e.Adjust, e.Why, e.Fault)
	if e.Wait != "" {
		s += fmt.Sprintf(", wait %q", e.Wait)
	}
	if e.Alone {
		s += ", alone"
	}
	return s
}
func (e Yield) String() string       { return "yield" }
func (Unyield) String() string       { return "unyield" }
func (e PeerDown) String() string    { return "peer down: " + e.Source.String() }
func (e GroupFault) String() string  { return fmt.Sprintf("group fault: %q", e.Problem) }
func (GroupPromote) String() string  { return "group promotes" }
func (e GroupDemote) String() string { return "group demotes: " + e.Reason }
func (Shutdown) String() string      { return "shutdown" }
func (Tick) String() string          { return "tick" }
func (e *Received) String() string {
	return fmt.Sprintf("received priority %d every %s from %s", e.Advertisement.Priority, e.Advertisement.Interval, e.Source)
}
func (e Announced) String() string { return fmt.Sprintf("heard %s announce %s", mac(e.MAC), e.Address) }
func (e LinkChange) String() string {
	if e.Problem != "" {
		return "link: " + e.Problem
	}
	return "link usable from " + e.Source.String()
}
func (e Reconfigure) String() string {
	return fmt.Sprintf("reconfigure: priority %d every %s, addresses %v", e.Config.Priority, e.Config.Interval, e.Config.Addresses)
}
func (e AddressLost) String() string   { return "address lost: " + e.Address.String() }
func (e InstallFailed) String() string { return fmt.Sprintf("install failed: %v", e.Err) }
func (e Stalled) String() string       { return fmt.Sprintf("stalled for %s", e.For) }

// mac prints a hardware address.
func mac(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
