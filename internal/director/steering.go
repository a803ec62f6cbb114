package director

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// Checks through a service get their packets to one server by a firewall mark,
// for which IPVS has a service with that server alone. These are lvsha's as any
// other services, and every server stays in its own with weight 1, whatever its
// checks say.

const (
	firstMark = config.FirstCheckMark
	markCount = config.LastCheckMark - config.FirstCheckMark + 1
)

// steerScheduler has one server to choose from.
const steerScheduler = "rr"

// way is what one mark stands for.
type way struct {
	// server has port zero to keep the probe's.
	server  netip.AddrPort
	forward ipvs.Forward
	tunnel  ipvs.Tunnel
	// ipv6 is the family of the service: a tunnel may lead to a server of the other.
	ipv6 bool
}

func (w way) compare(o way) int {
	return cmp.Or(w.server.Compare(o.server), cmp.Compare(w.forward, o.forward), cmp.Compare(w.tunnel.String(), o.tunnel.String()), cmp.Compare(b2i(w.ipv6), b2i(o.ipv6)))
}

func b2i(b bool) int { return map[bool]int{true: 1}[b] }

// mixed reports whether server and service are of two families.
func (w way) mixed() bool { return w.ipv6 != w.server.Addr().Is6() }

// String names the way, such as "192.0.2.21 dr".
func (w way) String() string {
	s := fmt.Sprintf("%s %s", w.server, w.forward)
	if w.server.Port() == 0 {
		s = fmt.Sprintf("%s %s", w.server.Addr(), w.forward)
	}
	if w.tunnel != (ipvs.Tunnel{}) {
		s += " " + w.tunnel.String()
	}
	if w.mixed() {
		s += map[bool]string{false: " of IPv4", true: " of IPv6"}[w.ipv6]
	}
	return s
}

// steering is how the checks of a configuration get through its services. It does
// not change.
type steering struct {
	marks map[way]uint32
	ways  map[uint32]way
	// source is the address that probes of a way come from.
	source map[way]netip.Addr
}

// newSteering gives each way of the file its mark. Ways of before keep theirs, so
// that no probe under way gets to another server.
func newSteering(cfg *config.Config, before steering, source func(way) netip.Addr) steering {
	s := steering{marks: make(map[way]uint32), ways: make(map[uint32]way), source: make(map[way]netip.Addr)}
	var fresh []way
	for _, w := range waysOf(cfg) {
		s.source[w] = source(w)
		if mark, ok := before.marks[w]; ok {
			s.marks[w], s.ways[mark] = mark, w
		} else {
			fresh = append(fresh, w)
		}
	}
	for _, w := range fresh {
		// With all marks taken the rest has none, and learns nothing.
		for at, tries := w.place(), 0; tries < markCount; at, tries = (at+1)%markCount, tries+1 {
			if _, taken := s.ways[firstMark+at]; taken {
				continue
			}
			s.marks[w], s.ways[firstMark+at] = firstMark+at, w
			break
		}
	}
	return s
}

// place is where the way's mark would be among the marks, the same in every
// process.
func (w way) place() uint32 {
	h := fnv.New64a()
	b, _ := w.server.MarshalBinary() // never fails
	b = append(b, byte(w.forward))
	if w.mixed() {
		b = append(b, 1)
	}
	if w.tunnel != (ipvs.Tunnel{}) {
		b = append(b, w.tunnel.String()...)
	}
	h.Write(b)
	sum := h.Sum64()
	return uint32(sum^sum>>32) % markCount
}

// waysOf are the ways that the checks of a file need, sorted.
func waysOf(cfg *config.Config) []way {
	seen := make(map[way]bool)
	for _, s := range cfg.Services {
		for _, listen := range s.Listen {
			for _, server := range s.Servers {
				for _, check := range server.Checks {
					if check.Through {
						w, _ := wayOf(server, listen, check)
						seen[w] = true
					}
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), way.compare)
}

// wayOf is the way of a check, and the port that it probes of the service's
// address.
func wayOf(server config.Server, listen ipvs.ServiceKey, check healthcheck.Check) (w way, port uint16) {
	w = way{server: netip.AddrPortFrom(server.Address.Addr(), 0), forward: server.Forward, tunnel: server.Tunnel, ipv6: listen.Addr.Addr().Is6()}
	if check.Port != 0 {
		return w, check.Port
	}
	if at := server.At(listen); at.Port() != listen.Addr.Port() {
		w.server = at
	}
	return w, listen.Addr.Port()
}

// target is a server as the destination of one listen under one of its checks.
func (s steering) target(server config.Server, listen ipvs.ServiceKey, check healthcheck.Check) healthcheck.Target {
	t := target(server, listen, check)
	if check.Through {
		w, port := wayOf(server, listen, check)
		t.Path = healthcheck.Path{VIP: netip.AddrPortFrom(listen.Addr.Addr(), port), Mark: s.marks[w], Source: s.source[w]}
	}
	return t
}

// services are what the kernel needs to have for the checks.
func (s steering) services() []ipvs.Service {
	var out []ipvs.Service
	for _, mark := range slices.Sorted(maps.Keys(s.ways)) {
		w := s.ways[mark]
		out = append(out, ipvs.Service{
			Key: s.key(mark), Scheduler: steerScheduler,
			Destinations: []ipvs.Destination{{Addr: w.server, Forward: w.forward, Tunnel: w.tunnel, Weight: 1}},
		})
	}
	return out
}

func (s steering) key(mark uint32) ipvs.ServiceKey {
	return ipvs.MarkKey(mark, s.ways[mark].ipv6)
}

// missing says why the kernel does not lead a mark's packets to its server; nil
// when it does.
func (s steering) missing(mark uint32, table ipvs.Status) error {
	w, ok := s.ways[mark]
	if !ok {
		return fmt.Errorf("firewall mark %d is no longer in use", mark)
	}
	key := s.key(mark)
	i, found := slices.BinarySearchFunc(table.Services, key, func(s ipvs.Service, k ipvs.ServiceKey) int { return s.Key.Compare(k) })
	if !found {
		if table.State != "ok" {
			return fmt.Errorf("IPVS %s", table.State)
		}
		return fmt.Errorf("IPVS does not have the service %s, which leads to %s", key, w)
	}
	for _, d := range table.Services[i].Destinations {
		if d.Addr == w.server && d.Forward == w.forward && d.Tunnel == w.tunnel && d.Weight > 0 && len(table.Services[i].Destinations) == 1 {
			return nil
		}
	}
	return fmt.Errorf("the IPVS service %s does not lead to %s alone", key, w)
}
