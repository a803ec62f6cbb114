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
	// Persistence is the timeout of its templates, zero without persistence.
	Persistence time.Duration
	Servers     []Server
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
	byKey    map[serviceKey]*Service
	// marked are the servers of services by mark, by address; nil where a server is
	// in several, so that the mark of its connections cannot be told.
	marked map[netip.AddrPort]*Service
}

type serviceKey struct {
	protocol uint8
	virtual  netip.AddrPort
	mark     uint32
}

// NewPool returns the pool of the services, which must not be written to afterwards.
func NewPool(services []Service) *Pool {
	p := &Pool{services: services, byKey: make(map[serviceKey]*Service), marked: make(map[netip.AddrPort]*Service)}
	for i := range services {
		s := &services[i]
		p.byKey[serviceKey{s.Protocol, s.Virtual, s.Mark}] = s
		if s.Mark == 0 {
			continue
		}
		for _, server := range s.Servers {
			if _, twice := p.marked[server.Addr]; twice {
				s = nil
			}
			p.marked[server.Addr] = s
			if s == nil {
				break
			}
		}
	}
	return p
}

// find returns the service and the server of an entry as the kernel finds them
// (ip_vs_find_dest), with the mark if it is known; nil where there is none.
func (p *Pool) find(key ConnKey, server netip.AddrPort, mark uint32) (*Service, *Server) {
	try := func(s *Service) (*Service, *Server) {
		if s == nil {
			return nil, nil
		}
		for i := range s.Servers {
			if a := s.Servers[i].Addr; a == server || a.Port() == 0 && a.Addr() == server.Addr() {
				return s, &s.Servers[i]
			}
		}
		return s, nil
	}
	unspecified := netip.IPv4Unspecified()
	if !key.Client.Addr().Is4() {
		unspecified = netip.IPv6Unspecified()
	}
	byMark := func(mark uint32) *Service {
		return p.byKey[serviceKey{0, netip.AddrPortFrom(unspecified, 0), mark}]
	}
	if mark != 0 {
		return try(byMark(mark))
	}
	if key.Template && key.Protocol == protocolAny {
		return try(byMark(templateMark(key)))
	}
	for _, port := range []uint16{key.Virtual.Port(), 0} {
		if s := p.byKey[serviceKey{key.Protocol, netip.AddrPortFrom(key.Virtual.Addr(), port), 0}]; s != nil {
			return try(s)
		}
	}
	for _, port := range []uint16{server.Port(), 0} {
		if s := p.marked[netip.AddrPortFrom(server.Addr(), port)]; s != nil {
			return try(s)
		}
	}
	return nil, nil
}

// templateMark is the firewall mark in the virtual address of a template.
func templateMark(key ConnKey) uint32 {
	b := key.Virtual.Addr().AsSlice()
	return binary.BigEndian.Uint32(b)
}

// Record makes the record that hands an entry of the connection table over, from
// what the table shows and from what the pool knows (/proc shows neither flags nor
// timeout nor mark). Not everything can be handed over: what is over in a moment,
// and FTP control connections through NAT, whose sequence numbers are nowhere to
// be seen.
func (p *Pool) Record(c Conn) (r Record, ok bool) {
	if c.Key.passing(c.State) {
		return r, false
	}
	r = Record{Key: c.Key, Server: c.Server, State: c.State}
	service, server := p.find(c.Key, c.Server, 0)
	if server != nil {
		r.Flags = server.Forward
		if server.Forward != ForwardNAT {
			r.Flags |= NoOutput
		}
	}
	if service != nil {
		r.Mark = service.Mark
	}
	switch {
	case c.Key.Template:
		r.Flags |= Template
		// The timeout of a template stays as it is set: what is left of it would be
		// its timeout for ever.
		r.Timeout = c.Expires
		if service != nil && service.Persistence > 0 {
			r.Timeout = uint32(service.Persistence / time.Second)
		}
	case c.Key.Client.Port() == 0:
		r.Flags |= NoClientPort
	}
	if !c.Key.Template && c.Key.inactive(c.State) {
		r.Flags |= Inactive
	}
	if c.Engine != "" && len(c.EngineData) > 0 && len(c.EngineData) <= 255 && len(c.Engine) <= maxEngine {
		r.Options = string([]byte{optEngineData, byte(len(c.EngineData))}) + c.EngineData +
			string([]byte{optEngine, byte(len(c.Engine))}) + c.Engine
	}
	return r, true
}

// Bound says whether the receiver's kernel finds the server of a record, so that
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
