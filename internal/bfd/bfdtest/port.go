package bfdtest

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lvsha/internal/bfd"
)

// Segment is a broadcast domain on which each Port has its addresses.
type Segment struct {
	mu    sync.Mutex // guards ports and lose
	ports []*Port
	lose  func(bfd.Key) bool
}

// Lose has packets disappear for which the function says so; nil loses none.
func (s *Segment) Lose(lose func(bfd.Key) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = lose
}

// Port is a bfd.Port on a Segment.
type Port struct {
	segment   *Segment
	addresses []netip.Addr
	mu        sync.Mutex // guards what follows
	networks  map[bfd.Network]bool
	sessions  map[bfd.Key]bool
	queue     []bfd.Datagram
	gone      bool
	wake      chan struct{}
}

var _ bfd.Port = (*Port)(nil)

// NewPort attaches a port with its addresses to the segment.
func (s *Segment) NewPort(addresses ...netip.Addr) *Port {
	p := &Port{
		segment: s, addresses: addresses,
		networks: make(map[bfd.Network]bool), sessions: make(map[bfd.Key]bool), wake: make(chan struct{}, 1),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, p)
	return p
}

// Inject has the port hear a packet.
func (p *Port) Inject(d bfd.Datagram) {
	p.mu.Lock()
	heard := p.networks[bfd.Network{Interface: d.Interface, IPv6: d.Source.Is6()}] && slices.Contains(p.addresses, d.Destination)
	if heard {
		d.At = time.Now()
		d.Payload = slices.Clone(d.Payload)
		p.queue = append(p.queue, d)
	}
	p.mu.Unlock()
	if heard {
		p.Wake()
	}
}

// Remake makes the interfaces others of the same name: what was open on them
// hears and sends nothing any more. With gone they do not come back yet.
func (p *Port) Remake(gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.networks)
	clear(p.sessions)
	p.gone = gone
}

// Listen implements bfd.Port.
func (p *Port) Listen(n bfd.Network) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return errors.New("no such device")
	}
	p.networks[n] = true
	return nil
}

// Current implements bfd.Port.
func (p *Port) Current(n bfd.Network) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.networks[n]
}

// Unlisten implements bfd.Port.
func (p *Port) Unlisten(n bfd.Network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.networks, n)
}

// Open implements bfd.Port.
func (p *Port) Open(k bfd.Key) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || !slices.Contains(p.addresses, k.Local) {
		return errors.New("cannot assign requested address")
	}
	p.sessions[k] = true
	return nil
}

// Close implements bfd.Port.
func (p *Port) Close(k bfd.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, k)
}

// Send implements bfd.Port.
func (p *Port) Send(k bfd.Key, payload []byte) error {
	p.mu.Lock()
	open := p.sessions[k]
	p.mu.Unlock()
	if !open {
		return errors.New("no such device")
	}
	p.segment.mu.Lock()
	ports, lost := slices.Clone(p.segment.ports), p.segment.lose != nil && p.segment.lose(k)
	p.segment.mu.Unlock()
	if lost {
		return nil
	}
	for _, to := range ports {
		if to != p {
			to.Inject(bfd.Datagram{Interface: k.Interface, Source: k.Local, Destination: k.Peer, TTL: 255, Payload: payload})
		}
	}
	return nil
}

// Receive implements bfd.Port.
func (p *Port) Receive(buf []bfd.Datagram, until time.Time) ([]bfd.Datagram, error) {
	var expired <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	if until.IsZero() || time.Until(until) > 0 {
		select {
		case <-p.wake:
		case <-expired:
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.queue), bfd.MaxBatch)
	buf = append(buf, p.queue[:n]...)
	p.queue = slices.Delete(p.queue, 0, n)
	return buf, nil
}

// Wake implements bfd.Port.
func (p *Port) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Shutdown implements bfd.Port.
func (p *Port) Shutdown() error {
	p.Remake(true)
	return nil
}
