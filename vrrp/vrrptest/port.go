package vrrptest

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lvsha/vrrp"
)

// Segment is a broadcast domain.
type Segment struct {
	mu    sync.Mutex // guards ports
	ports []*Port
}

// Port is a vrrp.Port on a Segment.
type Port struct {
	segment *Segment
	mac     [6]byte
	mu      sync.Mutex // guards what follows
	open    map[opened]bool
	queue   []vrrp.Packet
	deaf    bool
	err     error
	wake    chan struct{}
}

var _ vrrp.Port = (*Port)(nil)

// opened is an interface that is open for a family.
type opened struct {
	iface  string
	family vrrp.Family
}

// through is what a packet of an address needs open.
func through(iface string, a netip.Addr) opened {
	if a.Is4() {
		return opened{iface, vrrp.IPv4}
	}
	return opened{iface, vrrp.IPv6}
}

// NewPort attaches a port with a hardware address to the segment.
func (s *Segment) NewPort(mac [6]byte) *Port {
	p := &Port{segment: s, mac: mac, open: make(map[opened]bool), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, p)
	return p
}

// Inject has every port but one hear a packet.
func (s *Segment) Inject(packet vrrp.Packet, except *Port) {
	s.mu.Lock()
	ports := slices.Clone(s.ports)
	s.mu.Unlock()
	for _, p := range ports {
		if p != except {
			p.hear(packet)
		}
	}
}

// Deafen has the port hear nothing, or again what comes.
func (p *Port) Deafen(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = deaf
}

// FailOpen has Open fail, or work again with nil.
func (p *Port) FailOpen(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *Port) hear(packet vrrp.Packet) {
	p.mu.Lock()
	if p.deaf || !p.open[through(packet.Interface, packet.Source)] {
		p.mu.Unlock()
		return
	}
	packet.At = time.Now()
	packet.Payload = slices.Clone(packet.Payload)
	p.queue = append(p.queue, packet)
	p.mu.Unlock()
	p.Wake()
}

// Open implements vrrp.Port.
func (p *Port) Open(iface string, _ int, family vrrp.Family) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.open[opened{iface, family}] = true
	return nil
}

// Close implements vrrp.Port.
func (p *Port) Close(iface string, family vrrp.Family) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, opened{iface, family})
}

// Send implements vrrp.Port.
func (p *Port) Send(iface string, mac [6]byte, src, dst netip.Addr, payload []byte) error {
	p.mu.Lock()
	open := p.open[through(iface, src)]
	p.mu.Unlock()
	if !open {
		return errors.New("network is unreachable")
	}
	if mac == ([6]byte{}) {
		mac = p.mac
	}
	p.segment.Inject(vrrp.Packet{Interface: iface, Source: src, Destination: dst, TTL: 255, Payload: payload, MAC: mac}, p)
	return nil
}

// Receive implements vrrp.Port.
func (p *Port) Receive(buf []vrrp.Packet, until time.Time) ([]vrrp.Packet, error) {
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
	n := min(len(p.queue), vrrp.MaxBatch)
	buf = append(buf, p.queue[:n]...)
	p.queue = slices.Delete(p.queue, 0, n)
	return buf, nil
}

// Wake implements vrrp.Port.
func (p *Port) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Shutdown implements vrrp.Port.
func (p *Port) Shutdown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.open)
	return nil
}
