package vrrp

import (
	"net/netip"
	"time"
)

// Family is the address family of a virtual router: one of IPv4 and IPv6. The
// IPv4 and the IPv6 router of one VRID are two instances (RFC 9568 section 1).
type Family uint8

// The families, with the number of the Internet protocol as value.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Key is what a virtual router is to the wire, and so what its continuity goes
// by: names may change, the key may not.
type Key struct {
	Interface string
	Family    Family
	VRID      uint8
}

// Address is one virtual address.
type Address struct {
	// Prefix is the address with the length it is installed with.
	Prefix netip.Prefix
	// Interface carries the address; empty means the virtual router's own.
	Interface string
}

// Peer is another director as the file names it. It takes no part in the
// election; it gives names to addresses heard and to the status.
type Peer struct {
	Name     string
	Address  netip.Addr
	Priority uint8
}

// Config describes one virtual router (RFC 9568 section 6.1).
type Config struct {
	// Name is the operator's word for it; nothing on the wire.
	Name string
	// Interface is where advertisements are sent and heard.
	Interface string
	// VRID is the virtual router identifier, 1 to 255.
	VRID uint8
	// Version is the protocol spoken, 2 or 3.
	Version uint8
	// Priority is 1 to 254, or 255 for the owner of the addresses.
	Priority uint8
	// Interval is the Advertisement_Interval: version 3 has 10 ms to 40.95 s in
	// steps of 10 ms, version 2 has 1 s to 255 s in whole seconds.
	Interval time.Duration
	// Addresses are the virtual addresses, all of one family, at least one.
	Addresses []Address
	// NoPreempt leaves a living Active of lower priority where it is.
	NoPreempt bool
	// Checksum is the form of the version 3 checksum over IPv4.
	Checksum Checksum
	// Unicast lists the peers advertisements are sent to, each on its own, and
	// accepted from; empty means multicast.
	Unicast []netip.Addr
	// Peers are the other directors of the file.
	Peers []Peer
}

// Checksum is the form of the version 3 checksum over IPv4: implementations
// disagree on whether RFC 5798 wanted the pseudo-header.
type Checksum uint8

const (
	// ChecksumAuto accepts both forms and sends the one with pseudo-header,
	// which keepalived and FRR expect.
	ChecksumAuto Checksum = iota
	// ChecksumPseudo sends and accepts the form with pseudo-header.
	ChecksumPseudo
	// ChecksumRFC9568 sends and accepts the form without (RFC 9568 5.2.8).
	ChecksumRFC9568
)
