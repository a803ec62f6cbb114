package director

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// lingerMost is how long a service lingers at most.
const lingerMost = time.Hour

// lingering are services that the file knows by something else now, a mark in place of an
// address or the other way round: they stay in the kernel until their connections have
// ended, which the kernel drops with them. They are of the director's goroutine.
type lingering struct {
	services []ipvs.Service
	since    time.Time
}

// follow has those linger that no packets lead to any more because of the marks of the
// packet filter, out of the services that are in the kernel. wanted are kept anyway.
func (l *lingering) follow(now time.Time, found []ipvs.Service, wanted map[ipvs.ServiceKey]bool, was, next []packetfilter.Mark) {
	lingered := make(map[ipvs.ServiceKey]bool, len(l.services))
	for _, s := range l.services {
		lingered[s.Key] = true
	}
	given, gives, covered := marksOf(was), marksOf(next), newCovering(next)
	l.services, l.since = nil, now
	for _, s := range found {
		switch k := s.Key; {
		case wanted[k]:
		case k.Mark != 0 && (given[k.Mark] || lingered[k]) && !gives[k.Mark]:
			l.services = append(l.services, s)
		case k.Mark == 0 && covered.has(k):
			l.services = append(l.services, s)
		}
	}
}

// end lets those go that have no connections any more, and all when they have stayed for
// long. It reports whether one goes.
func (l *lingering) end(now time.Time, table ipvs.Status) bool {
	if len(l.services) == 0 || !table.Looked.After(l.since) {
		return false
	}
	busy := make(map[ipvs.ServiceKey]bool, len(l.services))
	for _, s := range table.Services {
		for _, d := range s.Destinations {
			busy[s.Key] = busy[s.Key] || d.Active+d.Inactive > 0
		}
	}
	before := len(l.services)
	l.services = slices.DeleteFunc(l.services, func(s ipvs.Service) bool { return !busy[s.Key] || now.Sub(l.since) > lingerMost })
	return len(l.services) < before
}

func marksOf(marks []packetfilter.Mark) map[uint32]bool {
	out := make(map[uint32]bool, len(marks))
	for _, m := range marks {
		out[m.Mark] = true
	}
	return out
}

// covering finds what is marked. Its cost grows with the marks and what is looked up, not
// with their product, where ranges of addresses, and of ports on them, do not overlap.
type covering struct {
	boxes []box // by protocol and first address
	// reach is the last address of each box and those of its protocol before it.
	reach []netip.Addr
	ports map[box][]packetfilter.Mark
}

// box is what marks have in common that differ in their ports.
type box struct {
	protocol uint8
	from, to netip.Addr
}

func newCovering(marks []packetfilter.Mark) covering {
	c := covering{ports: make(map[box][]packetfilter.Mark)}
	for _, m := range marks {
		b := box{m.Protocol, m.From, m.To}
		if c.ports[b] == nil {
			c.boxes = append(c.boxes, b)
		}
		c.ports[b] = append(c.ports[b], m)
	}
	slices.SortFunc(c.boxes, func(a, b box) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), a.from.Compare(b.from), a.to.Compare(b.to))
	})
	for i, b := range c.boxes {
		reach := b.to
		if i > 0 && c.boxes[i-1].protocol == b.protocol && c.reach[i-1].Compare(reach) > 0 {
			reach = c.reach[i-1]
		}
		c.reach = append(c.reach, reach)
	}
	for _, ports := range c.ports {
		slices.SortFunc(ports, func(a, b packetfilter.Mark) int { return cmp.Compare(a.First, b.First) })
	}
	return c
}

// has reports whether all packets to a service by address are marked.
func (c covering) has(k ipvs.ServiceKey) bool {
	protocol, addr := uint8(k.Protocol), k.Addr.Addr()
	after, _ := slices.BinarySearchFunc(c.boxes, addr, func(b box, a netip.Addr) int {
		if d := cmp.Or(cmp.Compare(b.protocol, protocol), b.from.Compare(a)); d != 0 {
			return d
		}
		return -1 // behind all that begin with it
	})
	for i := after - 1; i >= 0 && c.boxes[i].protocol == protocol && c.reach[i].Compare(addr) >= 0; i-- {
		if c.boxes[i].to.Compare(addr) < 0 {
			continue
		}
		ports := c.ports[c.boxes[i]]
		if k.Addr.Port() == 0 {
			if ports[0].First <= 1 && ports[0].Last == math.MaxUint16 {
				return true
			}
			continue
		}
		at, _ := slices.BinarySearchFunc(ports, k.Addr.Port(), func(m packetfilter.Mark, port uint16) int {
			return cmp.Or(cmp.Compare(m.First, port), -1)
		})
		if at > 0 && k.Addr.Port() <= ports[at-1].Last {
			return true
		}
	}
	return false
}
