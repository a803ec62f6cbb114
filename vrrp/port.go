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
	// opened for the family of src. It never blocks.
	Send(iface string, src, dst netip.Addr, payload []byte) error
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

// Links is the kernel's interfaces and addresses. Its methods may block; they
// are called from goroutines of their own and never from the loop.
type Links interface {
	// Watch calls update with every interface there is, at once and after
	// changes, until ctx ends. It deals with errors of the kernel itself.
	Watch(ctx context.Context, update func([]Link)) error
	// Addresses lists an interface's addresses, whatever their state.
	Addresses(iface string) ([]netip.Prefix, error)
	// Add installs an address. One that is there is fine.
	Add(iface string, prefix netip.Prefix) error
	// Remove takes an address away. One that is not there is fine, and so is
	// an interface that does not exist.
	Remove(iface string, prefix netip.Prefix) error
	// Announce sends one round of announcements: for each IPv4 address a
	// gratuitous ARP request and reply, for each IPv6 address an unsolicited
	// neighbour advertisement.
	Announce(iface string, addrs []netip.Addr) error
}
