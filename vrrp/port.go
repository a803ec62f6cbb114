package vrrp

import (
	"context"
	"net/netip"
	"time"
)

// MaxBatch is how many packets one Receive returns at most. Fewer mean that
// nothing more was queued.
const MaxBatch = 256

// Port is the network as the loop sees it. Only Wake may be called from other
// goroutines than the loop's.
type Port interface {
	// Open starts hearing one family's advertisements and announcements of
	// addresses (gratuitous ARP, unsolicited neighbour advertisements) on an
	// interface, and makes it ready for Send. The index tells it from a later
	// interface of the same name.
	Open(iface string, index int, family Family) error
	// Close ends Open. An interface that is not open is fine.
	Close(iface string, family Family)
	// Send transmits one VRRP packet with TTL (hop limit) 255, through what was
	// opened for the family of src. A hardware address that is not zero is the
	// sender's in the frame, and then dst is the multicast group. It never blocks.
	Send(iface string, mac [6]byte, src, dst netip.Addr, payload []byte) error
	// Receive appends what was heard, in order of arrival, and waits for it
	// until the time given, or for ever when that is zero. It returns early
	// and empty after a Wake. Payloads are valid until the next Receive.
	Receive(buf []Packet, until time.Time) ([]Packet, error)
	// Wake makes the present or the next Receive return.
	Wake()
	// Shutdown frees everything. The Port cannot be used again.
	Shutdown() error
}

// Link is a network interface as it is now.
type Link struct {
	Name string
	// Index is the kernel's, and never used twice.
	Index int
	// Up says that the interface is switched on and has a carrier.
	Up bool
	// MAC is the hardware address, all zero where there is none.
	MAC [6]byte
	// Addresses are in the kernel's order, primary ones first. An IPv6 address
	// that is not known to be unique yet is not among them: the kernel does not
	// send from it.
	Addresses []netip.Prefix
}

// Links is the kernel's interfaces with what is on them. Its methods may block;
// they are called from goroutines of their own and never from the loop. What is
// to be added may be there, what is to be removed may be gone, and an interface
// that does not exist has nothing to be removed.
type Links interface {
	Paths
	// Watch calls update with every interface there is, at once and after
	// changes, until ctx ends. It deals with errors of the kernel itself.
	Watch(ctx context.Context, update func([]Link)) error
	// Missing are those of some addresses that are not on an interface, or cannot be used
	// because a duplicate of them was, or may yet be, found.
	Missing(iface string, addresses []netip.Prefix) ([]netip.Prefix, error)
	// Add installs an address on an interface, whatever a names. One that is
	// there with another scope or label, or that cannot be used, is replaced, and one
	// that would run out does not any more.
	Add(iface string, a Address) error
	// Remove takes an address away, whatever its scope and label.
	Remove(iface string, prefix netip.Prefix) error
	// MakeVirtual makes an interface, switches it on, and has hosts hear of no
	// other hardware address for what is on it. RemoveVirtual removes it and puts
	// back what the interface below was changed for; another one's of the same
	// name stays.
	MakeVirtual(v Virtual) error
	RemoveVirtual(v Virtual) error
	// Refuse has packets to an address dropped, but not ARP and neighbour
	// discovery, wherever they come in, unless the address is link-local. Permit
	// ends that, when it was done for every interface that Refuse was: an address
	// may be about to move.
	Refuse(iface string, addr netip.Addr) error
	Permit(iface string, addr netip.Addr) error
	// Announce sends one round of announcements: for each IPv4 address a
	// gratuitous ARP request and reply, for each IPv6 address an unsolicited
	// neighbour advertisement.
	Announce(iface string, addrs []netip.Addr) error
}

// Paths are the kernel's routes and rules. Those of others are left alone, and
// in the way of ours they are an error.
type Paths interface {
	AddRoute(r Route) error
	RemoveRoute(r Route) error
	AddRule(r Rule) error
	RemoveRule(r Rule) error
	// MissingPaths are those of ours that are not there.
	MissingPaths(routes []Route, rules []Rule) ([]Route, []Rule, error)
}
