package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MaxWeight is the largest weight of a destination. The kernel takes up to 2^31-1,
// but its schedulers multiply weights by connection counts in 32 bits.
const MaxWeight = 65535

// mostWeight is the largest that the kernel takes.
const mostWeight = 1<<31 - 1

// MaxThreshold is the largest threshold of a destination.
const MaxThreshold = 1<<31 - 1

// MaxPersistence is the longest persistence, ipvsadm's own limit of 31 days.
// The kernel takes more and overflows when it multiplies by HZ.
const MaxPersistence = 31 * 24 * time.Hour

// Validate returns every reason, in words, why a service cannot be put into the
// kernel as it stands, or nil. It covers what the kernel refuses with a bare
// number and what it takes without a word though it cannot work: a port changed
// under direct routing, every port without persistence, an IPv4 address mapped
// into IPv6 (which would become 0.0.0.0). The reasons are joined (errors.Join).
func Validate(s Service) error {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("service %s: "+format, append([]any{s.Key}, args...)...))
	}

	// Nothing else can be said of what has no address and port.
	switch {
	case s.Key.Mark != 0 && s.Key != MarkKey(s.Key.Mark, s.Key.Addr.Addr().Is6()):
		bad("a firewall mark goes with a family, and with no protocol, address or port")
		return problems[0]
	case s.Key.Mark != 0:
	case !s.Key.Addr.IsValid():
		bad("address is missing")
		return problems[0]
	default:
		if p := s.Key.Protocol; p != TCP && p != UDP && p != SCTP {
			bad("protocol %s is none of tcp, udp, sctp", p)
		}
		if why := badAddress(s.Key.Addr.Addr()); why != "" {
			bad("address %s", why)
		}
		if s.Key.Addr.Port() == 0 && s.Persistence == 0 {
			bad("port 0 (every port) needs persistence")
		}
	}
	if !ValidScheduler(s.Scheduler) {
		bad("scheduler %q is none of %s", s.Scheduler, strings.Join(SchedulerNames(), ", "))
	}
	if known := SchedulerFlagNames(s.Scheduler); s.Flags>>len(known) != 0 {
		bad("scheduler %s has no %s", s.Scheduler, strings.Join((s.Flags>>len(known)<<len(known)).Names(s.Scheduler), ", "))
	}
	if s.OnePacket && s.Key.Mark == 0 && s.Key.Protocol != UDP {
		bad("one-packet scheduling is for udp")
	}
	switch {
	case s.Persistence < 0 || s.Persistence > MaxPersistence:
		bad("persistence %s is not between 1s and %s", s.Persistence, MaxPersistence)
	case s.Persistence%time.Second != 0:
		bad("persistence %s is not in whole seconds", s.Persistence)
	}
	if bits := s.Key.Addr.Addr().BitLen(); int(s.PersistenceMask) > bits {
		bad("persistence mask %d is not between 1 and %d", s.PersistenceMask, bits)
	}
	if s.PersistenceMask != 0 && s.Persistence == 0 {
		bad("persistence mask %d without persistence", s.PersistenceMask)
	}
	switch {
	case s.Engine == "":
	case !slices.Contains(EngineNames(), s.Engine):
		bad("persistence engine %q is none of %s", s.Engine, strings.Join(EngineNames(), ", "))
	case s.Persistence == 0:
		bad("persistence engine %s without persistence", s.Engine)
	case s.Key.Mark == 0 && s.Key.Protocol != UDP:
		bad("persistence engine %s is for udp", s.Engine)
	}

	seen := make(map[netip.AddrPort]bool, len(s.Destinations))
	for _, d := range s.Destinations {
		if seen[d.Addr] {
			bad("server %s appears twice", d.Addr)
			continue
		}
		seen[d.Addr] = true
		if why := badDestination(s, d); why != "" {
			bad("server %s: %s", d.Addr, why)
		}
	}
	return errors.Join(problems...)
}

// badDestination returns why a destination does not fit a service, or "".
func badDestination(s Service, d Destination) string {
	addr := s.Key.Addr
	var why []string
	bad := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }

	if reason := badAddress(d.Addr.Addr()); reason != "" {
		bad("address %s", reason)
	} else {
		if d.Addr.Addr().Is6() && d.Addr.Addr().IsLinkLocalUnicast() {
			bad("address %s is link-local, which the kernel does not take for a server", d.Addr.Addr())
		}
		if d.Forward != TUN && addr.Addr().Unmap().Is4() != d.Addr.Addr().Is4() {
			bad("%s does not get to %s, which is of another family than the service; only tun does", d.Forward, d.Addr.Addr())
		}
	}
	if d.Addr == addr {
		bad("is the service itself")
	}
	if d.Weight < 0 || d.Weight > MaxWeight {
		bad("weight %d is not between 0 and %d", d.Weight, MaxWeight)
	}
	switch up, low := d.UpperThreshold, d.LowerThreshold; {
	case up < 0 || up > MaxThreshold:
		bad("upper threshold %d is not between 0 and %d", up, MaxThreshold)
	case low < 0 || low > up:
		bad("lower threshold %d is not between 0 and the upper one, %d", low, up)
	}
	if d.Forward != TUN && d.Tunnel != (Tunnel{}) {
		bad("%s has no tunnel", d.Forward)
	} else if why := d.Tunnel.Problem(); why != "" {
		bad("tunnel: %s", why)
	}
	switch port := d.Addr.Port(); {
	case d.Forward < DR || d.Forward > Local:
		bad("forwarding method is none of dr, nat, tun, local")
	case s.Key.Mark != 0 && port == 0:
	case s.Key.Mark != 0 && d.Forward != NAT:
		bad("%s cannot change the client's port to %d", d.Forward, port)
	case s.Key.Mark != 0 && s.Persistence != 0:
		// ip_vs_sched_persist looks at the service's port, which a mark has not.
		bad("port %d would not be used: persistence keeps the client's port under a firewall mark", port)
	case s.Key.Mark != 0:
	case addr.Port() == 0 && port != 0:
		bad("port %d under a service on every port, which keeps the client's", port)
	case addr.Port() != 0 && port == 0:
		bad("port 0 is not a port")
	case d.Forward != NAT && port != addr.Port():
		bad("%s cannot change the port (%d) to %d", d.Forward, addr.Port(), port)
	}
	if d.Extra != "" {
		bad("%s cannot be asked for", d.Extra)
	}
	return strings.Join(why, "; ")
}

// badAddress returns what is wrong with a virtual or real address, or "".
func badAddress(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is missing"
	case a.Is4In6():
		return fmt.Sprintf("%s is IPv4 mapped into IPv6; write %s", a, a.Unmap())
	case a.Zone() != "":
		return fmt.Sprintf("%s has a zone, which the kernel has no room for", a)
	case !unicast(a):
		return fmt.Sprintf("%s is not that of one machine", a)
	default:
		return ""
	}
}

// unicast is as much of inet_addr_type and ipv6_addr_type as does not depend on the
// machine's own addresses.
func unicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
