package netif

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// ErrNoInterface is an interface that does not exist (yet, or any more).
var ErrNoInterface = errors.New("no such interface")

// Links are the interfaces of the network namespace it was made in. Its methods
// may be called from any goroutine.
type Links struct {
	log *slog.Logger

	// mu guards what follows. It is held while the kernel is asked, which
	// answers at once or not at all.
	mu sync.Mutex
	// conn is nil until it is needed and after an error.
	conn *kernel
	// known are the interfaces that Watch saw last, by name. It spares a
	// look-up before each operation; the kernel's word is final.
	known map[string]vrrp.Link
	// promoting are the interfaces, by index, on which promote was done.
	promoting map[int]bool
	// virtuals are the interfaces that MakeVirtual made, by name, with what is
	// below them.
	virtuals map[string]below
	// refused are the addresses that Refuse was done for.
	refused map[refusal]bool
	// announcers are open for interfaces that addresses were announced on.
	announcers map[string]*announcer
}

var _ vrrp.Links = (*Links)(nil)

// New returns the interfaces of this network namespace. The logger may be nil.
func New(log *slog.Logger) *Links {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Links{
		log: log, known: make(map[string]vrrp.Link), promoting: make(map[int]bool), virtuals: make(map[string]below),
		refused: make(map[refusal]bool), announcers: make(map[string]*announcer),
	}
}

// Close frees sockets. The Links can be used again afterwards.
func (l *Links) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for name, a := range l.announcers {
		errs = append(errs, a.close())
		delete(l.announcers, name)
	}
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
		l.conn = nil
	}
	return errors.Join(errs...)
}

// List is every interface with its addresses, as the kernel has them now.
func (l *Links) List() ([]vrrp.Link, error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("connecting to rtnetlink: %w", err)
	}
	defer conn.Close()
	return list(conn)
}

// learn remembers what Watch saw.
func (l *Links) learn(links []vrrp.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.known)
	for _, link := range links {
		l.known[link.Name] = link
	}
}

// Addresses implements vrrp.Links.
func (l *Links) Addresses(iface string) ([]netip.Prefix, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []netip.Prefix
	err := l.onInterface(iface, func(c *kernel, index int) error {
		messages, err := c.Address.List()
		if err != nil {
			return err
		}
		out = nil
		for i := range messages {
			if p, ok := prefix(&messages[i]); ok && int(messages[i].Index) == index {
				out = append(out, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", iface, err)
	}
	return out, nil
}

// Add implements vrrp.Links.
func (l *Links) Add(iface string, a vrrp.Address) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Interface = iface
	var metric uint32
	if _, ok := l.virtuals[iface]; ok {
		// The way to the network goes on through the interface below, if that has
		// an address of it.
		metric = virtualMetric
	}
	err := l.onInterface(iface, func(c *kernel, index int) error {
		err := c.addAddress(index, a, metric)
		if errors.Is(err, unix.EEXIST) {
			other, ok := differing(c, index, a)
			if !ok {
				return nil
			}
			if a.Prefix.Addr().Is4() {
				l.promote(c, index)
			}
			if err := c.changeAddress(unix.RTM_DELADDR, 0, index, vrrp.Address{Prefix: other}, 0); err != nil {
				return fmt.Errorf("removing it as it was: %w", err)
			}
			err = c.addAddress(index, a, metric)
		}
		if err == nil && a.Prefix.Addr().Is6() {
			c.awaitLocal(index, a.Prefix.Addr())
		}
		return err
	})
	if errors.Is(err, unix.EINVAL) && a.Prefix.Addr().Is4() {
		err = fmt.Errorf("%w (addresses of one network on an interface need the same scope)", err)
	}
	if err != nil {
		return fmt.Errorf("adding %s to %s: %w", a.Prefix, iface, err)
	}
	return nil
}

// differing finds the address on an interface if it is there in another form:
// of IPv4 with another label or scope, of IPv6 with another prefix length. It
// returns it as it is.
func differing(c *kernel, index int, a vrrp.Address) (netip.Prefix, bool) {
	messages, err := c.Address.List()
	if err != nil {
		return netip.Prefix{}, false
	}
	for i := range messages {
		m := &messages[i]
		p, ok := prefix(m)
		if !ok || int(m.Index) != index || p.Addr() != a.Prefix.Addr() {
			continue
		}
		if p.Addr().Is6() {
			return p, p != a.Prefix
		}
		if p == a.Prefix {
			return p, m.Scope != a.Scope || m.Attributes.Label != cmp.Or(a.Label, a.Interface)
		}
	}
	return netip.Prefix{}, false
}

// Remove implements vrrp.Links.
func (l *Links) Remove(iface string, p netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.onInterface(iface, func(c *kernel, index int) error {
		if p.Addr().Is4() {
			l.promote(c, index)
		}
		err := c.changeAddress(unix.RTM_DELADDR, 0, index, vrrp.Address{Prefix: p}, 0)
		switch {
		// ENXIO: IPv6 is switched off on the interface, and so has no addresses.
		case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENXIO):
			return nil
		case errors.Is(err, os.ErrPermission) && missing(c, index, p):
			return nil
		}
		return err
	})
	if errors.Is(err, ErrNoInterface) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s from %s: %w", p, iface, err)
	}
	// A router starts with the removal, and so does its waiting for the next turn.
	l.prepare(iface, p.Addr())
	return nil
}

// missing reports whether an address is known not to be there. Without the
// capability the kernel refuses before it looks.
func missing(c *kernel, index int, address netip.Prefix) bool {
	messages, err := c.Address.List()
	return err == nil && !slices.ContainsFunc(messages, func(m rtnetlink.AddressMessage) bool {
		p, ok := prefix(&m)
		return ok && p == address && int(m.Index) == index
	})
}

// onInterface asks the kernel something about an interface. When what we know
// of it turns out to be old, it looks once more.
func (l *Links) onInterface(iface string, f func(*kernel, int) error) error {
	link, cached := l.known[iface]
	if !cached {
		var err error
		if link, err = lookUp(iface); err != nil {
			return err
		}
	}
	err := l.ask(func(c *kernel) error { return f(c, link.Index) })
	if !cached || !errors.Is(err, unix.ENODEV) {
		return err
	}
	delete(l.known, iface)
	if link, err = lookUp(iface); err != nil {
		return err
	}
	return l.ask(func(c *kernel) error { return f(c, link.Index) })
}

// lookUp finds an interface by its name.
func lookUp(iface string) (vrrp.Link, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		// The error of package net cannot be told from others.
		return vrrp.Link{}, fmt.Errorf("%w: %s", ErrNoInterface, iface)
	}
	link := vrrp.Link{Name: ifi.Name, Index: ifi.Index}
	copy(link.MAC[:], ifi.HardwareAddr)
	return link, nil
}

// ask uses the connection to the kernel, and makes it anew after an error that
// is not the kernel's answer.
func (l *Links) ask(f func(*kernel) error) error {
	if l.conn == nil {
		c, err := dialKernel()
		if err != nil {
			return fmt.Errorf("connecting to rtnetlink: %w", err)
		}
		l.conn = c
	}
	err := f(l.conn)
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		l.conn.Close()
		l.conn = nil
	}
	return explain(err, "CAP_NET_ADMIN")
}

// explain says which capability is missing.
func explain(err error, capability string) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (needs %s)", err, capability)
	}
	return err
}

// prefix is the address that a message is about: the local one, which differs
// from the other on a point-to-point interface.
func prefix(m *rtnetlink.AddressMessage) (netip.Prefix, bool) {
	if m.Attributes == nil {
		return netip.Prefix{}, false
	}
	ip := m.Attributes.Local
	if ip == nil {
		ip = m.Attributes.Address
	}
	a, ok := netip.AddrFromSlice(ip)
	return netip.PrefixFrom(a.Unmap(), int(m.PrefixLength)), ok
}

// usable says whether the kernel sends from an address: not while it looks for
// duplicates of an IPv6 address, nor after it found one.
func usable(m *rtnetlink.AddressMessage) bool {
	return (uint32(m.Flags)|m.Attributes.Flags)&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
}

// list dumps interfaces and addresses.
func list(c *rtnetlink.Conn) ([]vrrp.Link, error) {
	messages, err := c.Link.List()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	addresses, err := c.Address.List()
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	links := make([]vrrp.Link, 0, len(messages))
	at := make(map[uint32]int, len(messages))
	for _, m := range messages {
		if m.Attributes == nil {
			continue
		}
		link := vrrp.Link{
			Name:  m.Attributes.Name,
			Index: int(m.Index),
			Up:    m.Flags&unix.IFF_UP != 0 && m.Flags&unix.IFF_RUNNING != 0,
		}
		if len(m.Attributes.Address) == len(link.MAC) {
			copy(link.MAC[:], m.Attributes.Address)
		}
		at[m.Index] = len(links)
		links = append(links, link)
	}
	for i := range addresses {
		n, ok := at[addresses[i].Index]
		if p, valid := prefix(&addresses[i]); ok && valid && usable(&addresses[i]) {
			links[n].Addresses = append(links[n].Addresses, p)
		}
	}
	return links, nil
}
