package vrrp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Action is what a virtual router wants done, in the order given.
type Action interface {
	fmt.Stringer
	action()
}

// Send is an advertisement to be sent now.
type Send struct{ Priority uint8 }

// Install puts addresses on their interfaces; one that is there is fine.
type Install struct{ Addresses []Address }

// Remove takes addresses off their interfaces; one that is not there is fine.
type Remove struct{ Addresses []Address }

// Disown leaves addresses on their interfaces, and keeps watch over them no longer.
type Disown struct{ Addresses []Address }

// InstallPaths puts routes and rules in place, once the addresses are.
type InstallPaths struct {
	Routes []Route
	Rules  []Rule
}

// RemovePaths takes routes and rules away, before the addresses.
type RemovePaths struct {
	Routes []Route
	Rules  []Rule
}

// Announce sends rounds of gratuitous ARP or of unsolicited neighbour
// advertisements for addresses, back to back.
type Announce struct {
	Addresses []Address
	Rounds    int
}

// Transition is a change of state, the last action of the step that made it.
type Transition struct {
	Name     string
	Key      Key
	From, To State
	// Reason is for operators, and does not repeat the state.
	Reason string
	At     time.Time
	// Priority is the one in force.
	Priority uint8
}

// NoticeKind tells notices apart.
type NoticeKind string

// The notices.
const (
	// NoticeRestored is an address that somebody removed and we put back.
	NoticeRestored NoticeKind = "address-restored"
	// NoticeContested is an address that somebody removes again and again.
	NoticeContested NoticeKind = "address-contested"
	// NoticeYield is what became of an operator's yield.
	NoticeYield NoticeKind = "yield"
	// NoticeConflict is somebody else announcing an address of an Active.
	NoticeConflict NoticeKind = "conflict"
	// NoticeStall is a process that did not run when it should have.
	NoticeStall NoticeKind = "stall"
	// NoticeRival is another Active that we outrank.
	NoticeRival NoticeKind = "another-active"
	// NoticeDeaf is another Active that we outrank and that goes on: it does
	// not hear us.
	NoticeDeaf NoticeKind = "peer-does-not-hear"
	// NoticeTwin is a sender with our own priority and address.
	NoticeTwin NoticeKind = "duplicate-router"
	// NoticeStranger is other routers on the segment that have our VRID.
	NoticeStranger NoticeKind = "foreign-vrid"
	// NoticeMismatch is a packet that differs from the configuration.
	NoticeMismatch NoticeKind = "mismatch"
	// NoticeDropped is a packet that is not acceptable: one a minute for each
	// sender and reason.
	NoticeDropped NoticeKind = "packet-dropped"
	// NoticeClock is a peer whose clock is off by more than half of what
	// authentication tolerates.
	NoticeClock NoticeKind = "clock-offset"
	// NoticeOperation is an operation on the kernel that fails or works again.
	NoticeOperation NoticeKind = "operation"
)

// Notice is something an operator may want to know that is no transition.
type Notice struct {
	// Router is the configured name.
	Router string
	Key    Key
	Kind   NoticeKind
	Text   string
	At     time.Time
}

func (Send) action()         {}
func (Install) action()      {}
func (Remove) action()       {}
func (Disown) action()       {}
func (Announce) action()     {}
func (InstallPaths) action() {}
func (RemovePaths) action()  {}
func (Transition) action()   {}
func (Notice) action()       {}

func (a Send) String() string         { return fmt.Sprintf("send advertisement, priority %d", a.Priority) }
func (a Install) String() string      { return "install " + join(a.Addresses) }
func (a Remove) String() string       { return "remove " + join(a.Addresses) }
func (a Disown) String() string       { return "leave " + join(a.Addresses) }
func (a InstallPaths) String() string { return "install " + joinPaths(a.Routes, a.Rules) }
func (a RemovePaths) String() string  { return "remove " + joinPaths(a.Routes, a.Rules) }
func (a Announce) String() string {
	return fmt.Sprintf("announce %s, rounds: %d", join(a.Addresses), a.Rounds)
}
func (a Transition) String() string { return fmt.Sprintf("%s -> %s: %s", a.From, a.To, a.Reason) }
func (a Notice) String() string     { return fmt.Sprintf("notice %s: %s", a.Kind, a.Text) }

func join(addresses []Address) string {
	words := make([]string, len(addresses))
	for i, a := range addresses {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func joinPaths(routes []Route, rules []Rule) string {
	var words []string
	for _, r := range routes {
		words = append(words, "route "+r.String())
	}
	for _, r := range rules {
		words = append(words, "rule "+r.String())
	}
	return strings.Join(words, ", ")
}

// addrs are the bare addresses, as they stand in a packet.
func addrs(addresses []Address) []netip.Addr {
	out := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		out[i] = a.Prefix.Addr()
	}
	return out
}
