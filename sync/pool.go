package connsync

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

// Service is what there is to know of a virtual service to hand its connections
// over.
type Service struct {
	// Name is what people call it.
	Name string
	// Protocol is the IP protocol number; zero for a firewall mark.
	Protocol uint8
	// Virtual is the virtual address and port; port zero is every port. For a mark
	// it is the unspecified address of the family.
	Virtual netip.AddrPort
	// Mark is the firewall mark of a service that goes by one.
	Mark uint32
	// Covers are the addresses and ports whose packets get the mark, as far as that is
	// known. Covered says that no others do: a connection that the table shows belongs to
	// the service then only if a cover has it, and never because of its server.
	Covers  []Cover
	Covered bool
	// Persistence is the timeout of its templates, zero without persistence.
	Persistence time.Duration
	Servers     []Server
}

// Cover is a range of addresses and ports of a protocol, both ends included.
type Cover struct {
	From, To    netip.Addr
	Protocol    uint8
	First, Last uint16
}

func (c *Cover) has(key ConnKey) bool {
	a, port := key.Virtual.Addr(), key.Virtual.Port()
	return c.Protocol == key.Protocol && c.First <= port && port <= c.Last && c.From.Compare(a) <= 0 && a.Compare(c.To) <= 0
}

// Server is a real server of a service.
type Server struct {
	// Addr is its address and port; port zero keeps the client's.
	Addr netip.AddrPort
	// Forward is the forwarding method.
	Forward Flags
	// Active, Inactive and Templates are the kernel's counters.
	Active, Inactive, Templates int
}

// Pool are the services of a director, for looking up what an entry of the
// connection table belongs to.
type Pool struct {
	services []Service
	// templatesOnly leaves connections of persistent services out.
	templatesOnly bool
	byKey         map[serviceKey]*Service
	// covered are the services by mark whose covers are one address, by it, and wide those
	// of several.
	covered map[netip.Addr][]covered
	wide    []covered
	// marked are the services by mark, of which it is not known what leads to them, by
	// their servers. Where a server is in several the mark of its connections cannot be
	// told.
	marked map[netip.AddrPort][]*Service
}

type covered struct {
	Cover
	service *Service
}

type serviceKey struct {
	protocol uint8
	virtual  netip.AddrPort
	mark     uint32
}

// NewPool returns the pool of the services, which must not be written to afterwards.
func NewPool(services []Service) *Pool {
	p := &Pool{
		services: services, byKey: make(map[serviceKey]*Service), covered: make(map[netip.Addr][]covered),
		marked: make(map[netip.AddrPort][]*Service),
	}
	for i := range services {
		s := &services[i]
		p.byKey[serviceKey{s.Protocol, s.Virtual, s.Mark}] = s
		if s.Mark == 0 {
			continue
		}
		for _, c := range s.Covers {
			if c.From == c.To {
				p.covered[c.From] = append(p.covered[c.From], covered{c, s})
			} else {
				p.wide = append(p.wide, covered{c, s})
			}
		}
		if s.Covered {
			continue
		}
		for _, server := range s.Servers {
			p.marked[server.Addr] = append(p.marked[server.Addr], s)
		}
	}
	return p
}

// server is the one of a service that the kernel finds for an address and port.
func (s *Service) server(at netip.AddrPort) *Server {
	if s == nil {
		return nil
	}
	for i := range s.Servers {
		if a := s.Servers[i].Addr; a == at || a.Port() == 0 && a.Addr() == at.Addr() {
			return &s.Servers[i]
		}
	}
	return nil
}

// forward is the forwarding method of a server. That of one that the service has no longer
// is that of all others, if those have the same.
func (s *Service) forward(server *Server) (method Flags, known bool) {
	switch {
	case server != nil:
		return server.Forward, true
	case s == nil || len(s.Servers) == 0:
		return 0, false
	}
	for i := range s.Servers {
		if s.Servers[i].Forward != s.Servers[0].Forward {
			return 0, false
		}
	}
	return s.Servers[0].Forward, true
}

// byMark is the service of a mark for clients of a family.
func (p *Pool) byMark(mark uint32, client netip.Addr) *Service {
	unspecified := netip.IPv4Unspecified()
	if !client.Is4() {
		unspecified = netip.IPv6Unspecified()
	}
	return p.byKey[serviceKey{0, netip.AddrPortFrom(unspecified, 0), mark}]
}

// byAddress is the service at the virtual address and port, or at every port of it.
func (p *Pool) byAddress(key ConnKey) *Service {
	for _, port := range []uint16{key.Virtual.Port(), 0} {
		if s := p.byKey[serviceKey{key.Protocol, netip.AddrPortFrom(key.Virtual.Addr(), port), 0}]; s != nil {
			return s
		}
	}
	return nil
}

// find returns the service and the server of an entry as the kernel finds them
// (ip_vs_find_dest), by the mark if there is one; nil where there is none.
func (p *Pool) find(key ConnKey, server netip.AddrPort, mark uint32) (*Service, *Server) {
	s := p.byAddress(key)
	switch {
	case mark != 0:
		s = p.byMark(mark, key.Client.Addr())
	case key.Template && key.Protocol == protocolAny:
		s = p.byMark(templateMark(key), key.Client.Addr())
	}
	return s, s.server(server)
}

// infer returns the service and the server of an entry of which the mark is not known, as
// the kernel's listing shows it. A service is nil where there is none, and where it is one
// of several that cannot be told apart.
func (p *Pool) infer(key ConnKey, server netip.AddrPort) (*Service, *Server) {
	// What sets marks comes before IPVS looks for an address.
	if !key.Template || key.Protocol != protocolAny {
		for _, list := range [][]covered{p.covered[key.Virtual.Addr()], p.wide} {
			for i := range list {
				if list[i].has(key) {
					return list[i].service, list[i].service.server(server)
				}
			}
		}
	}
	if s, to := p.find(key, server, 0); s != nil {
		return s, to
	}
	if key.Template && key.Protocol == protocolAny {
		return nil, nil
	}
	var found *Service
	for i, at := range []netip.AddrPort{server, netip.AddrPortFrom(server.Addr(), 0)} {
		if i > 0 && server.Port() == 0 {
			break
		}
		for _, s := range p.marked[at] {
			switch {
			case s.Virtual.Addr().Is4() != key.Client.Addr().Is4() || s == found:
			case found != nil:
				return nil, nil
			default:
				found = s
			}
		}
	}
	return found, found.server(server)
}

// templateMark is the firewall mark in the virtual address of a template.
func templateMark(key ConnKey) uint32 {
	b := key.Virtual.Addr().AsSlice()
	return binary.BigEndian.Uint32(b)
}

// Reasons of Record not to hand an entry over.
type unfit uint8

const (
	fit unfit = iota
	// passing is over in a moment.
	passing
	// unknown is an entry whose service, or whose server in it, is not known, and so
	// neither the mark nor the forwarding method.
	unknown
	// spared is a connection whose template is handed over in its place.
	spared
)

// Record makes the record that hands an entry of the connection table over, from
// what the table shows and from what is known of it: /proc shows neither flags nor
// timeout nor mark. told is the kernel's own last record of the entry, if that is known,
// and else the pool says what its service is. Not everything can be handed over: what is
// over in a moment, and FTP control connections through NAT, whose sequence numbers are
// nowhere to be seen; and what is not known is not made up, because a record without a
// mark and flags is one of NAT by address to the kernel.
func (p *Pool) Record(c Conn, told *Record) (r Record, why unfit) {
	if c.Key.passing(c.State) {
		return r, passing
	}
	r = Record{Key: c.Key, Server: c.Server, State: c.State, Options: c.engineOptions()}
	var service *Service
	if told != nil && told.Server == c.Server {
		r.Flags, r.Mark = told.Flags&(ForwardMask|NoOutput), told.Mark
		service, _ = p.find(c.Key, c.Server, told.Mark)
	} else {
		var server *Server
		service, server = p.infer(c.Key, c.Server)
		forward, known := service.forward(server)
		if !known {
			return r, unknown
		}
		r.Flags, r.Mark = forward, service.Mark
		if forward != ForwardNAT {
			r.Flags |= NoOutput
		}
	}
	if p.spares(c.Key, service) {
		return r, spared
	}
	switch {
	case c.Key.Template:
		r.Flags |= Template
		// The timeout of a template stays as it is set: what is left of it would be
		// its timeout for ever.
		r.Timeout = c.Expires
		if told != nil && told.Timeout > 0 {
			r.Timeout = told.Timeout
		}
		if service != nil && service.Persistence > 0 {
			r.Timeout = uint32(service.Persistence / time.Second)
		}
	case c.Key.Client.Port() == 0:
		r.Flags |= NoClientPort
	}
	if !c.Key.Template && c.Key.inactive(c.State) {
		r.Flags |= Inactive
	}
	return r, fit
}

// spares reports whether a connection of a service is left out.
func (p *Pool) spares(k ConnKey, s *Service) bool {
	return p.templatesOnly && !k.Template && s != nil && s.Persistence > 0
}

// Bound reports whether the receiver's kernel finds the server of a record, so that
// the connection counts for it and follows it.
func (p *Pool) Bound(r *Record) bool {
	_, server := p.find(r.Key, r.Server, r.Mark)
	return server != nil
}

// Hash is one number for which services and servers there are, whatever their
// order, weights and counters. Two directors with the same hash find the same
// server for every connection.
func (p *Pool) Hash() uint64 {
	var sum uint64
	for _, s := range p.services {
		servers := slices.Clone(s.Servers)
		slices.SortFunc(servers, func(a, b Server) int { return a.Addr.Compare(b.Addr) })
		h := fnv.New64a()
		text, _ := s.Virtual.MarshalText()
		_, _ = h.Write(append(text, s.Protocol, byte(s.Mark), byte(s.Mark>>8), byte(s.Mark>>16), byte(s.Mark>>24)))
		for _, server := range servers {
			text, _ := server.Addr.MarshalText()
			_, _ = h.Write(append(append(text, 0), byte(server.Forward)))
		}
		sum += h.Sum64()
	}
	return sum
}
