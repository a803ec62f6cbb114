package vrrptest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"lvsha/vrrp"
)

// Links is a vrrp.Links in memory. Like the kernel it refuses addresses on an
// interface that does not exist, drops addresses with their interface and virtual
// interfaces with the one below, and has no route from an address that is missing.
type Links struct {
	port *Port

	mu      sync.Mutex // guards what follows
	links   map[string]*vrrp.Link
	virtual map[string]vrrp.Virtual
	// added are addresses as they were asked for.
	added   map[place]vrrp.Address
	refused map[refusal]bool
	routes  []vrrp.Route
	rules   []vrrp.Rule
	index   int
	changed chan struct{}
	err     error
	log     []string
}

var _ vrrp.Links = (*Links)(nil)

// NewLinks returns the interfaces of the machine that the port belongs to. What
// is announced is heard on the port's segment.
func NewLinks(port *Port) *Links {
	return &Links{
		port: port, links: make(map[string]*vrrp.Link), virtual: make(map[string]vrrp.Virtual), changed: make(chan struct{}),
		added: make(map[place]vrrp.Address), refused: make(map[refusal]bool),
	}
}

// refusal is an address that is refused for an interface.
type refusal struct {
	iface string
	addr  netip.Addr
}

// place is an address on an interface.
type place struct {
	iface  string
	prefix netip.Prefix
}

// Plug makes an interface, or another one of the same name.
func (l *Links) Plug(iface string, addresses ...string) {
	l.change(func() {
		l.unplug(iface)
		l.index++
		link := &vrrp.Link{Name: iface, Index: l.index, Up: true, MAC: l.port.mac}
		for _, a := range addresses {
			p := netip.MustParsePrefix(a)
			link.Addresses = append(link.Addresses, p)
			l.added[place{iface, p}] = vrrp.Address{Prefix: p, Interface: iface}
		}
		l.links[iface] = link
	})
}

// Unplug takes an interface away with its addresses.
func (l *Links) Unplug(iface string) { l.change(func() { l.unplug(iface) }) }

func (l *Links) unplug(iface string) {
	delete(l.links, iface)
	delete(l.virtual, iface)
	for at := range l.added {
		if at.iface == iface {
			delete(l.added, at)
		}
	}
	for name, v := range l.virtual {
		if v.Base == iface {
			l.unplug(name)
		}
	}
}

// Rename gives an interface another name; it keeps its addresses.
func (l *Links) Rename(from, to string) {
	l.change(func() {
		link := *l.links[from]
		link.Name = to
		delete(l.links, from)
		l.links[to] = &link
	})
}

// SetUp gives an interface a carrier or takes it away.
func (l *Links) SetUp(iface string, up bool) { l.change(func() { l.links[iface].Up = up }) }

// SetMAC gives an interface another hardware address.
func (l *Links) SetMAC(iface string, mac [6]byte) { l.change(func() { l.links[iface].MAC = mac }) }

// Take removes an address as somebody else would.
func (l *Links) Take(iface, prefix string) {
	l.change(func() { l.remove(iface, netip.MustParsePrefix(prefix)) })
}

// Give adds an address as somebody else would.
func (l *Links) Give(iface, prefix string) {
	l.change(func() {
		p := netip.MustParsePrefix(prefix)
		l.links[iface].Addresses = append(slices.Clone(l.links[iface].Addresses), p)
		l.added[place{iface, p}] = vrrp.Address{Prefix: p, Interface: iface}
	})
}

// Fail has every operation fail, or work again with nil.
func (l *Links) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Log is every change that the engine made, in order, and forgets it.
func (l *Links) Log() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := strings.Join(l.log, "\n")
	l.log = nil
	return out
}

// Has says whether an interface has an address.
func (l *Links) Has(iface, prefix string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	link := l.links[iface]
	return link != nil && slices.Contains(link.Addresses, netip.MustParsePrefix(prefix))
}

// change changes something and lets Watch know.
func (l *Links) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Links) remove(iface string, p netip.Prefix) bool {
	link := l.links[iface]
	if link == nil || !slices.Contains(link.Addresses, p) {
		return false
	}
	link.Addresses = slices.DeleteFunc(slices.Clone(link.Addresses), func(x netip.Prefix) bool { return x == p })
	delete(l.added, place{iface, p})
	return true
}

// Watch implements vrrp.Links.
func (l *Links) Watch(ctx context.Context, update func([]vrrp.Link)) error {
	for {
		l.mu.Lock()
		var links []vrrp.Link
		for _, link := range l.links {
			links = append(links, *link)
		}
		changed := l.changed
		l.mu.Unlock()
		update(links)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Missing implements vrrp.Links.
func (l *Links) Missing(iface string, addresses []netip.Prefix) ([]netip.Prefix, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	link := l.links[iface]
	if l.err != nil || link == nil {
		return nil, fmt.Errorf("looking at the addresses of %s: %w", iface, l.refusal())
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(p netip.Prefix) bool { return slices.Contains(link.Addresses, p) }), nil
}

// Add implements vrrp.Links.
func (l *Links) Add(iface string, a vrrp.Address) error {
	p := a.Prefix
	a.Interface = iface
	l.mu.Lock()
	link := l.links[iface]
	if l.err != nil || link == nil {
		defer l.mu.Unlock()
		return fmt.Errorf("adding %s to %s: %w", p, iface, l.refusal())
	}
	had := slices.Contains(link.Addresses, p)
	other := had && l.added[place{iface, p}] != a
	l.mu.Unlock()
	if other {
		if err := l.Remove(iface, p); err != nil {
			return err
		}
	}
	if !had || other {
		l.change(func() {
			link.Addresses = append(slices.Clone(link.Addresses), p)
			l.added[place{iface, p}] = a
			l.log = append(l.log, "add "+a.String())
		})
	}
	return nil
}

// Remove implements vrrp.Links.
func (l *Links) Remove(iface string, p netip.Prefix) error {
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return fmt.Errorf("removing %s from %s: %w", p, iface, l.err)
	}
	l.mu.Unlock()
	l.change(func() {
		if l.remove(iface, p) {
			l.log = append(l.log, fmt.Sprintf("remove %s dev %s", p, iface))
		}
	})
	return nil
}

// Announce implements vrrp.Links.
func (l *Links) Announce(iface string, addrs []netip.Addr) error {
	l.mu.Lock()
	if l.err != nil || l.links[iface] == nil {
		defer l.mu.Unlock()
		return fmt.Errorf("announcing on %s: %w", iface, l.refusal())
	}
	l.log = append(l.log, fmt.Sprintf("announce %v dev %s", addrs, iface))
	l.mu.Unlock()
	for _, a := range addrs {
		l.port.segment.Inject(vrrp.Packet{Interface: iface, Source: a, MAC: l.port.mac, Announcement: true}, l.port)
	}
	return nil
}

// refusal is why an operation cannot be done.
func (l *Links) refusal() error {
	if l.err != nil {
		return l.err
	}
	return fmt.Errorf("no such device")
}
