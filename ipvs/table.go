package ipvs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Protocol is the transport protocol of a virtual service, as the Internet
// protocol number. Others than the constants are met in foreign services only.
type Protocol uint8

// The protocols, with their IP protocol number as value.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns "tcp", "udp", "sctp" or the number.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	default:
		return strconv.Itoa(int(p))
	}
}

// ServiceKey is what the kernel knows a virtual service by: protocol, address
// and port, or a firewall mark.
type ServiceKey struct {
	// Protocol is the transport protocol; zero for a mark.
	Protocol Protocol
	// Addr is the virtual address and port; port zero is every port. For a mark
	// it is the unspecified address of the family with port zero.
	Addr netip.AddrPort
	// Mark is the firewall mark of a service that goes by one, zero otherwise.
	Mark uint32
}

// MarkKey is the key of the service that gets the packets of a firewall mark and
// an address family, whatever their protocol, address and port.
func MarkKey(mark uint32, ipv6 bool) ServiceKey {
	if ipv6 {
		return ServiceKey{Mark: mark, Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}
	}
	return ServiceKey{Mark: mark, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
}

// normal returns the key with nothing but what the kernel looks at.
func (k ServiceKey) normal() ServiceKey {
	if k.Mark == 0 {
		return k
	}
	return MarkKey(k.Mark, !k.Addr.Addr().Unmap().Is4())
}

// String returns the key as the configuration and ParseServiceKey have it:
// "192.0.2.10:80/tcp", "mark 5" or, for IPv6, "mark 5 ipv6".
func (k ServiceKey) String() string {
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("mark %d ipv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("mark %d", k.Mark)
	default:
		return k.Addr.String() + "/" + k.Protocol.String()
	}
}

// ParseProtocol returns the protocol that "tcp", "udp" or "sctp" names.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range []Protocol{TCP, UDP, SCTP} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q is none of tcp, udp, sctp", s)
}

// ParseServiceKey parses what ServiceKey.String returns, of TCP, UDP and SCTP services
// and of firewall marks ("192.0.2.10:80/tcp", "[2001:db8::1]:53/udp", "mark 5",
// "mark 5 ipv6"). Its use is the record of what lvsha made, so keys that
// Validate would refuse are still parsed, and keys that lvsha never makes (other
// protocols) are not.
func ParseServiceKey(s string) (ServiceKey, error) {
	if mark, found := strings.CutPrefix(s, "mark "); found {
		return parseMark(s, mark)
	}
	// The words of earlier versions' records.
	if mark, found := strings.CutPrefix(s, "fwmark "); found {
		if four, found := strings.CutSuffix(mark, " inet6"); found {
			mark = four + " ipv6"
		}
		return parseMark(s, mark)
	}
	addr, proto, found := strings.Cut(s, "/")
	if !found {
		return ServiceKey{}, fmt.Errorf("parsing service %q: want ADDRESS:PORT/tcp, /udp or /sctp", s)
	}
	p, err := ParseProtocol(proto)
	if err != nil {
		return ServiceKey{}, fmt.Errorf("parsing service %q: %w", s, err)
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return ServiceKey{}, fmt.Errorf("parsing service %q: %w", s, err)
	}
	return ServiceKey{Protocol: p, Addr: ap}, nil
}

func parseMark(s, mark string) (ServiceKey, error) {
	mark, ipv6 := strings.CutSuffix(mark, " ipv6")
	n, err := strconv.ParseUint(mark, 10, 32)
	if err != nil || n == 0 {
		return ServiceKey{}, fmt.Errorf("parsing service %q: want a firewall mark from 1 to 4294967295", s)
	}
	return MarkKey(uint32(n), ipv6), nil
}

// MarshalText returns String, so that a key reads the same in JSON.
func (k ServiceKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText parses with ParseServiceKey.
func (k *ServiceKey) UnmarshalText(b []byte) error {
	key, err := ParseServiceKey(string(b))
	if err != nil {
		return err
	}
	*k = key
	return nil
}

// Compare orders keys by mark, address, port and protocol.
func (k ServiceKey) Compare(o ServiceKey) int {
	return cmp.Or(
		cmp.Compare(k.Mark, o.Mark),
		k.Addr.Compare(o.Addr),
		cmp.Compare(k.Protocol, o.Protocol),
	)
}

// Forward is the forwarding method of a destination. Zero is not one; it is
// read from the kernel for the method lvsha never uses (bypass).
type Forward uint8

// The forwarding methods. Zero is not one.
const (
	_ Forward = iota
	// DR is direct routing: the frame is readdressed, the packet is not.
	DR
	// NAT rewrites the destination; answers come back through the director.
	NAT
	// TUN wraps the packet in another. It alone reaches servers of the other
	// address family.
	TUN
	// Local leaves the packet as it is, to be delivered to this machine.
	Local
)

// String returns the method as the configuration has it: "dr", "nat", "tun" or "local".
func (f Forward) String() string {
	switch f {
	case DR:
		return "dr"
	case NAT:
		return "nat"
	case TUN:
		return "tun"
	case Local:
		return "local"
	default:
		return "other"
	}
}

// ParseForward returns the method that "dr", "nat", "tun" or "local" names.
func ParseForward(s string) (Forward, error) {
	for _, f := range []Forward{DR, NAT, TUN, Local} {
		if s == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("forwarding method %q is none of dr, nat, tun, local", s)
}

// Service is a virtual service with its destinations.
type Service struct {
	Key ServiceKey
	// Scheduler is the kernel's name of it, such as "wlc" (see SchedulerNames).
	Scheduler string
	// Flags are those of the scheduler.
	Flags SchedulerFlags
	// OnePacket schedules every datagram for itself, whoever sends it. Only UDP
	// has it, and under a firewall mark the UDP part of the traffic.
	OnePacket bool
	// Persistence keeps a client on its server this long after its last
	// connection, in whole seconds up to MaxPersistence; zero is none.
	Persistence time.Duration
	// PersistenceMask is the prefix length by which clients are grouped, 1 to 32,
	// or to 128 for IPv6; zero is the whole address. Without persistence it means
	// nothing.
	PersistenceMask uint8
	// Engine is the kernel's name of what else tells clients apart under persistence
	// (see EngineNames); empty is nothing but their address.
	Engine string
	// Destinations are the real servers, in any order.
	Destinations []Destination
	// Traffic is read from the kernel and takes no part in any comparison.
	Traffic Traffic
}

// Destination is a real server of a service.
type Destination struct {
	// Addr is the server's address and port. With DR and TUN the port is the
	// service's. Port zero keeps the client's, under a service on every port and
	// under one by firewall mark.
	Addr    netip.AddrPort
	Forward Forward
	// Weight is 0 to 65535; a server of weight 0 gets no new connections.
	Weight int
	// UpperThreshold is how many connections keep new ones away, until there are fewer
	// than LowerThreshold; both up to MaxThreshold, zero is none. The kernel takes
	// three quarters of the upper one for a lower one of zero.
	UpperThreshold, LowerThreshold int
	// Tunnel is how packets are wrapped under TUN; the zero value otherwise.
	Tunnel Tunnel
	// Extra is what the kernel holds for this server beyond the other fields, in
	// words ("tunnel ipip flags 2"). It is empty in a desired table, and so a
	// difference that an edit removes.
	Extra string
	// Active and Inactive count connections, and Templates what persistence keeps of
	// clients. They are read from the kernel and take no part in any comparison.
	Active, Inactive, Templates int
	// Traffic is like them.
	Traffic Traffic
	// Place is where the server stands in the kernel's list of its service, counted from
	// the one that was added first; zero is not known. It is read from the kernel, and
	// matters where the scheduler goes by it (see OrderMatters).
	Place int
}

// normal returns the service in the one form that Diff compares: no mask
// without persistence or where it is the whole address, destinations sorted
// by address. The argument is not changed.
func (s Service) normal() Service {
	if s.Persistence == 0 || int(s.PersistenceMask) == s.Key.Addr.Addr().BitLen() {
		s.PersistenceMask = 0
	}
	if !slices.IsSortedFunc(s.Destinations, compareDestinations) {
		s.Destinations = slices.Clone(s.Destinations)
		slices.SortFunc(s.Destinations, compareDestinations)
	}
	return s
}

// sameSettings reports whether two normal services differ in nothing but their
// destinations.
func (s Service) sameSettings(o Service) bool {
	return s.Key == o.Key && s.Scheduler == o.Scheduler && s.Flags == o.Flags && s.OnePacket == o.OnePacket &&
		s.Persistence == o.Persistence && s.PersistenceMask == o.PersistenceMask &&
		s.Engine == o.Engine
}

// settings returns the service without its destinations.
func (s Service) settings() Service {
	s.Destinations = nil
	return s
}

// same reports whether two destinations differ in nothing but their counters and places.
func (d Destination) same(o Destination) bool {
	d.Active, d.Inactive, d.Templates, d.Traffic, d.Place = o.Active, o.Inactive, o.Templates, o.Traffic, o.Place
	return d == o
}

func compareDestinations(a, b Destination) int { return a.Addr.Compare(b.Addr) }

func compareServices(a, b Service) int { return a.Key.Compare(b.Key) }

// normalTable returns the services in their normal form, sorted by key. Of
// several with one key the first stays.
func normalTable(services []Service) []Service {
	t := make([]Service, len(services))
	for i, s := range services {
		t[i] = s.normal()
	}
	if !slices.IsSortedFunc(t, compareServices) {
		slices.SortStableFunc(t, compareServices)
	}
	return slices.CompactFunc(t, func(a, b Service) bool { return a.Key == b.Key })
}
