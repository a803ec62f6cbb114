package netif

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// ErrNoInterface is an interface that does not exist (yet, or any more).
var ErrNoInterface = errors.New("no such interface")

// Links are the interfaces of the network namespace it was made in. Its methods
// may be called from any goroutine; those about one interface do not wait for those
// about another.
type Links struct {
	log   *slog.Logger
	conns connections
	// known are the interfaces that Watch saw last, by name. It spares a look-up
	// before each operation; the kernel's word is final.
	known atomic.Pointer[map[string]vrrp.Link]

	mu         sync.Mutex // guards interfaces
	interfaces map[string]*netInterface

	// refusing guards refused, and the kernel's table that has all of them.
	refusing sync.Mutex
	// refused are the addresses that Refuse was done for.
	refused map[refusal]bool
}

var _ vrrp.Links = (*Links)(nil)

// New returns the interfaces of this network namespace. The logger may be nil.
func New(log *slog.Logger) *Links {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Links{log: log, interfaces: make(map[string]*netInterface), refused: make(map[refusal]bool)}
}

// Close frees sockets. The Links can be used again afterwards.
func (l *Links) Close() error {
	l.mu.Lock()
	interfaces := slices.Collect(maps.Values(l.interfaces))
	l.mu.Unlock()
	var errs []error
	for _, n := range interfaces {
		errs = append(errs, n.sender.close())
	}
	return errors.Join(append(errs, l.conns.close())...)
}

// List is every interface with its addresses, as the kernel has them now.
func (l *Links) List() (links []vrrp.Link, err error) {
	err = l.conns.ask(func(c *kernel) error {
		links, err = list(c.Dump)
		return err
	})
	return links, err
}

// learn remembers what Watch saw.
func (l *Links) learn(links []vrrp.Link) {
	known := make(map[string]vrrp.Link, len(links))
	for _, link := range links {
		known[link.Name] = link
	}
	l.known.Store(&known)
}

// Missing implements vrrp.Links.
func (l *Links) Missing(iface string, addresses []netip.Prefix) (missing []netip.Prefix, err error) {
	err = l.of(iface).ask(func(c *kernel, index int) error {
		missing, err = c.missing(index, addresses)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the addresses of %s: %w", iface, err)
	}
	return missing, nil
}

// Add implements vrrp.Links.
func (l *Links) Add(iface string, a vrrp.Address) error {
	a.Interface = iface
	n := l.of(iface)
	err := n.add(a)
	if errors.Is(err, unix.EINVAL) && a.Prefix.Addr().Is4() {
		err = fmt.Errorf("%w (addresses of one network on an interface need the same scope)", err)
	}
	if err == nil && a.Prefix.Addr().Is6() {
		err = n.ask(func(c *kernel, index int) error {
			c.awaitLocal(index, a.Prefix.Addr())
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("adding %s to %s: %w", a.Prefix, iface, err)
	}
	return nil
}

// add has the kernel add an address, in place of one that is there in another form.
func (n *netInterface) add(a vrrp.Address) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var metric uint32
	if n.below != nil {
		// The way to the network goes on through the interface below, if that has
		// an address of it.
		metric = virtualMetric
	}
	return n.ask(func(c *kernel, index int) error {
		err := c.addAddress(index, a, metric)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		have, ok, err := addressAs(c, index, a)
		if err != nil {
			return fmt.Errorf("looking at it as it is: %w", err)
		}
		switch {
		case !ok:
			return nil
		case have.is(a) && have.valid == math.MaxUint32:
			return nil
		case have.is(a):
			return c.changeAddress(unix.RTM_NEWADDR, netlink.Replace, index, a, metric)
		}
		if a.Prefix.Addr().Is4() {
			n.promote(c, index)
		}
		if err := c.changeAddress(unix.RTM_DELADDR, 0, index, vrrp.Address{Prefix: have.prefix}, 0); err != nil {
			return fmt.Errorf("removing it as it was: %w", err)
		}
		return c.addAddress(index, a, metric)
	})
}

// addressAs finds an address on an interface as it is there: of IPv6 with whatever
// prefix length.
func addressAs(c *kernel, index int, a vrrp.Address) (have address, ok bool, err error) {
	if a.Prefix.Addr().Is6() {
		return getAddress(c, index, a.Prefix.Addr())
	}
	all, err := listAddresses(c, unix.AF_INET, index)
	if err != nil {
		return address{}, false, err
	}
	i := slices.IndexFunc(all, func(h address) bool { return h.prefix == a.Prefix })
	if i < 0 {
		return address{}, false, nil
	}
	return all[i], true, nil
}

// is reports whether an address that is there is as it is wanted, and can be used. How long
// it stays does not count.
func (a address) is(wanted vrrp.Address) bool {
	if wanted.Prefix.Addr().Is6() {
		return a.prefix == wanted.Prefix && a.usable()
	}
	return a.scope == wanted.Scope && a.label == cmp.Or(wanted.Label, wanted.Interface)
}

// Remove implements vrrp.Links.
func (l *Links) Remove(iface string, p netip.Prefix) error {
	n := l.of(iface)
	err := n.remove(p)
	if errors.Is(err, ErrNoInterface) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s from %s: %w", p, iface, err)
	}
	// A router starts with the removal, and so does its waiting for the next turn.
	n.prepare(p.Addr())
	return nil
}

// remove has the kernel remove an address. That it is not there is no error.
func (n *netInterface) remove(p netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ask(func(c *kernel, index int) error {
		if p.Addr().Is4() {
			n.promote(c, index)
		}
		err := c.changeAddress(unix.RTM_DELADDR, 0, index, vrrp.Address{Prefix: p}, 0)
		switch {
		// ENXIO: IPv6 is switched off on the interface, and so has no addresses.
		case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENXIO):
			return nil
		case errors.Is(err, os.ErrPermission):
			// Without the capability the kernel refuses before it looks.
			if missing, err := c.missing(index, []netip.Prefix{p}); err == nil && len(missing) > 0 {
				return nil
			}
		}
		return err
	})
}

// Drop takes an address away as Remove does, and changes nothing else of the interface.
func (l *Links) Drop(iface string, p netip.Prefix) error {
	n := l.of(iface)
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.ask(func(c *kernel, index int) error {
		return c.changeAddress(unix.RTM_DELADDR, 0, index, vrrp.Address{Prefix: p}, 0)
	})
	if err != nil && !errors.Is(err, ErrNoInterface) && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing %s from %s: %w", p, iface, err)
	}
	return nil
}
