package vrrp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
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
	// Excluded are further virtual addresses that come and go with the others but
	// are not advertised: any number, and of either family.
	Excluded []Address
	// Routes and Rules are there while the addresses are.
	Routes []Route
	Rules  []Rule
	// NoPreempt leaves a living Active of lower priority where it is: for ever, or with
	// PreemptLowered as long as it advertises the priority that Peers has of it. One that
	// advertises less says itself that its conditions do not hold.
	NoPreempt, PreemptLowered bool
	// PreemptAfter is how long a living Active of lower priority is left where
	// it is, counted from its first advertisement; 0 is not at all.
	PreemptAfter time.Duration
	// StartDelay and BootDelay hold the first takeover of a process off: for this
	// long after its start, and until the machine is up for so long. The owner
	// and a process that resumes do not wait.
	StartDelay, BootDelay time.Duration
	// Virtual is the name of a macvlan interface with the virtual router's MAC
	// address (RFC 9568 section 7.3) that carries those addresses which are on
	// Interface; empty leaves them there, with the interface's own MAC.
	Virtual string
	// NoAccept refuses packets to the addresses unless this router owns them
	// (Accept_Mode of RFC 9568 section 6.1, which is true by default here,
	// because IPVS sees only what is accepted).
	NoAccept bool
	// Announce is how often hosts are told; the zero value is the default.
	Announce Announcing
	// Checksum is the form of the version 3 checksum over IPv4.
	Checksum Checksum
	// Source is the address to send from to unicast peers, whichever interface it is on:
	// they accept no other one. Unless it is set, and to the group, the interface's first
	// own address is taken: in IPv6 the first link-local one (RFC 9568 section 5.1.2.1),
	// among unicast peers the first of the scope of the first of them.
	Source netip.Addr
	// Absence is how long the address to send from may be missing before that is a
	// problem: somebody may be about to put it back. 0 stands for 100 ms, less than 0 is
	// not at all.
	Absence time.Duration
	// Unicast lists the peers advertisements are sent to, each on its own, and
	// accepted from; empty means multicast.
	Unicast []netip.Addr
	// MinTTL is the least TTL (hop limit) accepted from a unicast peer, for peers
	// behind routers; 0 stands for 255. Multicast always wants 255.
	MinTTL uint8
	// PeerChecksum is the form to and from single unicast peers, where it
	// differs from Checksum.
	PeerChecksum map[netip.Addr]Checksum
	// Auth is how advertisements are signed and checked; nil is not at all.
	Auth *Auth
	// Peers are the other directors of the file.
	Peers []Peer
}

// Announcing says how often hosts are told of the addresses.
type Announcing struct {
	// Count is the number of rounds at once, 1 to 60; 0 stands for 5.
	Count int
	// Again is when as many come once more; 0 stands for 5 s, less than 0 is
	// never.
	Again time.Duration
	// Refresh repeats one round for as long as the router is Active; 0 stands for
	// 10 s, less than 0 is never.
	Refresh time.Duration
}

// Auth is the authentication of a virtual router's advertisements. Version 2
// may have a Password, and either version Keys; not both.
type Auth struct {
	// Password is version 2's simple text password, 1 to 8 octets (RFC 2338
	// section 5.3.6.2). It travels in clear.
	Password string
	// Keys are those that are accepted for the HMAC trailer, at least one unless
	// there is a Password (draft-cassen-vrrp-auth-hmac, keepalived's auth_hmac).
	Keys []AuthKey
	// Send is the ID of the key that signs.
	Send uint8
	// Mode says what is signed and what is refused.
	Mode AuthMode
	// Window bounds how far a sender's clock may be from ours, 1 s to 300 s;
	// 0 stands for the longer of 3 advertisement intervals and 5 s.
	Window time.Duration
	// Monotonic accepts any time that grows, for machines without a true clock.
	Monotonic bool
}

// AuthKey is a key for the HMAC trailer.
type AuthKey struct {
	// ID is 1 to 255, and the same on all directors.
	ID uint8
	// Secret has 32 to 64 octets.
	Secret string
}

// AuthMode is one of the three steps in which a pair takes authentication up.
type AuthMode uint8

// The modes. A trailer that is present and wrong is refused in each.
const (
	// AuthEnforce signs, and refuses what is not signed.
	AuthEnforce AuthMode = iota
	// AuthPermissive signs, and accepts what is not signed.
	AuthPermissive
	// AuthReceiveOnly does not sign, and accepts what is not signed.
	AuthReceiveOnly
)

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

// held are all addresses that come and go together.
func (c Config) held() []Address { return slices.Concat(c.Addresses, c.Excluded) }

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
	c.validateUnicast(bad)
	c.validateAuth(bad)
	return errors.Join(errs...)
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

// sourceKind says senderKind in words.
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
	c.Excluded = append([]Address(nil), c.Excluded...)
	for i := range c.Excluded {
		if c.Excluded[i].Interface == "" {
			c.Excluded[i].Interface = c.Interface
		}
	}
	c.Routes = append([]Route(nil), c.Routes...)
	c.Rules = append([]Rule(nil), c.Rules...)
	c.Peers = append([]Peer(nil), c.Peers...)
	c.PeerChecksum = maps.Clone(c.PeerChecksum)
	if c.Auth != nil {
		auth := *c.Auth
		auth.Keys = append([]AuthKey(nil), auth.Keys...)
		c.Auth = &auth
	}
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
