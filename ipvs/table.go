package ipvs

import (
	"net/netip"
	"time"
)

// Protocol is the transport protocol of a virtual service.
type Protocol uint8

// The protocols, with their IP protocol number as value.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// ServiceKey is what the kernel knows a virtual service by.
type ServiceKey struct {
	Protocol Protocol
	Addr     netip.AddrPort
}

// Forward is the forwarding method of a destination.
type Forward uint8

// The forwarding methods. Zero is not one.
const (
	_ Forward = iota
	// DR is direct routing: the frame is readdressed, the packet is not.
	DR
	// NAT rewrites the destination; answers come back through the director.
	NAT
	// TUN wraps the packet in IPIP.
	TUN
)

// Service is a virtual service with its destinations.
type Service struct {
	Key ServiceKey
	// Scheduler is the kernel's name of it, such as "wlc".
	Scheduler string
	// Persistence keeps a client on its server this long after its last
	// connection, in whole seconds; zero is none.
	Persistence time.Duration
	// PersistenceMask is the prefix length by which clients are grouped, 1 to
	// 32; zero means 32.
	PersistenceMask uint8
	Destinations    []Destination
}

// Destination is a real server of a service.
type Destination struct {
	Addr    netip.AddrPort
	Forward Forward
	// Weight is 0 to 65535; a server of weight 0 gets no new connections.
	Weight int
	// Active and Inactive count connections. They are read from the kernel and
	// take no part in any comparison.
	Active, Inactive int
}
