package packetfilter

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
)

// Rules are what lvsha wants of the packet filter. The zero value is nothing, and
// then there are no tables.
type Rules struct {
	// Marks say which packets get which firewall mark, before IPVS looks at them. No
	// two of them are for the same packet.
	Marks []Mark
	// Sources say which connections that IPVS forwards by NAT get another source
	// address.
	Sources []Source
	// Exempt are firewall marks, of probes, whose connections keep their source address;
	// those that have Exempt.Mark in the bits of Exempt.Mask. Zero is none.
	Exempt Masked
	// Sync says who may speak to this machine's backup sync daemon; nil leaves it
	// open to everybody.
	Sync *Sync
}

// Mark is a firewall mark for the packets to a range of ports of a range of addresses.
type Mark struct {
	// From and To are the addresses, both included.
	From, To netip.Addr
	// Protocol is the IP protocol number: TCP, UDP or SCTP.
	Protocol uint8
	// First and Last are the ports, both included.
	First, Last uint16
	Mark        uint32
}

// Masked are the firewall marks that have Mark in the bits of Mask.
type Masked struct{ Mark, Mask uint32 }

// Pool is the range of source addresses that connections get, both ends included.
// One client gets the same one on every machine.
type Pool struct{ First, Last netip.Addr }

// Source is a source address for the connections of a service with one of its
// servers.
type Source struct {
	Pool Pool
	// Server is the address that IPVS puts in the place of the service's.
	Server netip.Addr
	// Mark is that of a service by firewall mark. Otherwise it is zero, and all services
	// of an address and protocol are meant.
	Mark     uint32
	Addr     netip.Addr
	Protocol uint8
}

// Sync is who may send to the multicast group of the sync daemons.
type Sync struct {
	// Interface is where sync messages come in.
	Interface string
	// Group is their multicast group and port.
	Group netip.AddrPort
	// Peers are the addresses of the other directors, of the family of the group; none
	// means anybody who is heard there.
	Peers []netip.Addr
	// Own is the mark of what this machine itself sends to the group, for its own
	// daemon; zero is none.
	Own uint32
}

// Empty reports whether nothing is wanted.
func (r Rules) Empty() bool { return len(r.Marks) == 0 && len(r.Sources) == 0 && r.Sync == nil }

// Equal reports whether the same is wanted, in the same order.
func (r Rules) Equal(o Rules) bool {
	return r.Exempt == o.Exempt && slices.Equal(r.Marks, o.Marks) && slices.Equal(r.Sources, o.Sources) && reflect.DeepEqual(r.Sync, o.Sync)
}

// normal returns the rules sorted and each once, so that the same rules always make
// the same tables.
func (r Rules) normal() Rules {
	r.Marks = slices.Compact(slices.SortedFunc(slices.Values(r.Marks), Mark.compare))
	r.Sources = slices.Compact(slices.SortedFunc(slices.Values(r.Sources), Source.compare))
	if r.Sync != nil {
		s := *r.Sync
		s.Peers = slices.Compact(slices.SortedFunc(slices.Values(s.Peers), netip.Addr.Compare))
		r.Sync = &s
	}
	return r
}

func (m Mark) compare(o Mark) int {
	return cmp.Or(m.From.Compare(o.From), m.To.Compare(o.To), cmp.Compare(m.Protocol, o.Protocol), cmp.Compare(m.First, o.First),
		cmp.Compare(m.Last, o.Last), cmp.Compare(m.Mark, o.Mark))
}

func (s Source) compare(o Source) int {
	return cmp.Or(s.Pool.First.Compare(o.Pool.First), s.Pool.Last.Compare(o.Pool.Last), cmp.Compare(s.Mark, o.Mark),
		s.Addr.Compare(o.Addr), cmp.Compare(s.Protocol, o.Protocol), s.Server.Compare(o.Server))
}
