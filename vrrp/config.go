package vrrp

import (
	"errors"
	"fmt"
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

// String writes the key as operators read it: "eth0 IPv4 VRID 51".
func (k Key) String() string {
	return fmt.Sprintf("%s IPv%d VRID %d", k.Interface, k.Family, k.VRID)
}

// Address is one virtual address.
type Address struct {
	// Prefix is the address with the length it is installed with.
	Prefix netip.Prefix
	// Interface carries the address; empty means the virtual router's own.
	Interface string
}

// String writes the address as the file does: "192.0.2.10/24 dev eth0".
func (a Address) String() string {
	if a.Interface == "" {
		return a.Prefix.String()
	}
	return a.Prefix.String() + " dev " + a.Interface
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
	// Addresses are the virtual addresses, all of one family, at least one. In
	// IPv6 the first is the virtual router's link-local address (RFC 9568
	// section 5.2.9).
	Addresses []Address
	// NoPreempt leaves a living Active of lower priority where it is.
	NoPreempt bool
	// Checksum is the form of the version 3 checksum over IPv4.
	Checksum Checksum
	// Source is the address to send from where the interface has it. Unless it
	// is set, and has it, the interface's first own address is taken: in IPv6
	// the first link-local one (RFC 9568 section 5.1.2.1), among unicast peers
	// the first of the scope of the first of them.
	Source netip.Addr
	// Unicast lists the peers advertisements are sent to, each on its own, and
	// accepted from; empty means multicast.
	Unicast []netip.Addr
	// Peers are the other directors of the file.
	Peers []Peer
}

// Family is the family of the virtual addresses; zero when there are none.
func (c Config) Family() Family {
	switch {
	case len(c.Addresses) == 0:
		return 0
	case c.Addresses[0].Prefix.Addr().Is4():
		return IPv4
	default:
		return IPv6
	}
}

// Key is what the virtual router's continuity goes by.
func (c Config) Key() Key {
	return Key{Interface: c.Interface, Family: c.Family(), VRID: c.VRID}
}

// The limits of a configuration.
const (
	// priorityOwner is the priority of the router that owns the addresses
	// (RFC 9568 section 5.2.4).
	priorityOwner = 255
	// maxAddresses is what the count octet of a packet can say.
	maxAddresses = 255
	// minInterval and maxInterval are one and 4095 centiseconds (RFC 9568
	// section 5.2.7 and erratum 8301).
	minInterval = 10 * time.Millisecond
	maxInterval = 4095 * minInterval
	// maxIntervalV2 is 255 seconds (RFC 3768 section 5.3.7).
	maxIntervalV2 = 255 * time.Second
)

// Validate reports every value that RFC 9568 (or RFC 3768 for version 2) does
// not allow.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Interface == "" {
		bad("interface is missing")
	}
	if c.VRID == 0 {
		bad("vrid 0 is outside 1 to 255")
	}
	if c.Priority == 0 {
		bad("priority 0 is outside 1 to 255")
	}
	switch c.Version {
	case 2:
		if c.Interval < time.Second || c.Interval > maxIntervalV2 || c.Interval%time.Second != 0 {
			bad("advertisement interval %s is not a whole number of seconds from 1s to 255s (version 2)", c.Interval)
		}
	case 3:
		if c.Interval < minInterval || c.Interval > maxInterval || c.Interval%minInterval != 0 {
			bad("advertisement interval %s is not a multiple of 10ms from 10ms to 40.95s", c.Interval)
		}
	default:
		bad("version %d is neither 2 nor 3", c.Version)
	}
	if n := len(c.Addresses); n < 1 || n > maxAddresses {
		bad("%d virtual addresses are outside 1 to %d", n, maxAddresses)
	}
	family := c.Family()
	if family == IPv6 {
		if c.Version == 2 {
			bad("version 2 is for IPv4 only")
		}
		if !c.Addresses[0].Prefix.Addr().IsLinkLocalUnicast() {
			bad("the first virtual address %s is not link-local", c.Addresses[0])
		}
	}
	for _, a := range c.Addresses {
		if !a.Prefix.IsValid() || a.Prefix.Addr().Is4() != (family == IPv4) {
			bad("virtual address %s is not of the family of the first one", a)
		}
	}
	if c.Source.IsValid() && c.Source.Is4() != (family == IPv4) {
		bad("source %s is not of the family of the addresses", c.Source)
	}
	for _, p := range c.Unicast {
		if !p.IsValid() || p.Is4() != (family == IPv4) {
			bad("unicast peer %s is not of the family of the addresses", p)
		}
	}
	return errors.Join(errs...)
}

// canSendFrom says whether advertisements may come from an address of this
// family and scope.
func (c *Config) canSendFrom(a netip.Addr) bool {
	if a.Is4() || c.Family() == IPv4 {
		return a.Is4() == (c.Family() == IPv4)
	}
	return a.IsLinkLocalUnicast() == c.linkLocalSource()
}

// linkLocalSource says whether an IPv6 router sends from a link-local address:
// always to the group, and to unicast peers if that is where they are.
func (c *Config) linkLocalSource() bool {
	switch {
	case len(c.Unicast) == 0:
		return true
	case c.Source.IsValid():
		return c.Source.IsLinkLocalUnicast()
	default:
		return c.Unicast[0].IsLinkLocalUnicast()
	}
}

// sourceKind says in words what canSendFrom wants.
func (c *Config) sourceKind() string {
	switch {
	case c.Family() == IPv4:
		return "IPv4 address"
	case c.linkLocalSource():
		return "usable IPv6 link-local address"
	default:
		return "usable IPv6 address"
	}
}

// resolved returns a copy that shares nothing with the caller and in which
// every address names its interface.
func (c Config) resolved() Config {
	addresses := make([]Address, len(c.Addresses))
	for i, a := range c.Addresses {
		if a.Interface == "" {
			a.Interface = c.Interface
		}
		addresses[i] = a
	}
	c.Addresses = addresses
	c.Unicast = append([]netip.Addr(nil), c.Unicast...)
	c.Peers = append([]Peer(nil), c.Peers...)
	return c
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
