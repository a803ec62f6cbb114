package netif

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// netInterface is one interface, by its name, and what is kept for it. Whoever works
// on one waits for nobody who works on another.
type netInterface struct {
	name  string
	links *Links

	// base guards what the virtual interfaces on this one share: its parameters of
	// ARP. Who holds it may take the mu of a virtual interface, and not the other
	// way round.
	base sync.Mutex

	// mu guards what follows. It is held while the kernel changes the interface,
	// which it does at once or not at all.
	mu sync.Mutex
	// promoted is the index of the interface that promote was done on, 0 for none.
	promoted int
	// below is what is below the interface, and what that had before, if MakeVirtual
	// made it.
	below *below

	// sender sends announcements. It has a lock of its own, because that waits.
	sender sender
}

// of is the interface of a name, whether the kernel has it or not.
func (l *Links) of(name string) *netInterface {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.interfaces[name]
	if n == nil {
		n = &netInterface{name: name, links: l}
		l.interfaces[name] = n
	}
	return n
}

// link is the interface as it is known: from what Watch saw last, or else from the
// kernel. fresh says that the kernel was asked.
func (n *netInterface) link() (link vrrp.Link, fresh bool, err error) {
	if known := n.links.known.Load(); known != nil {
		if link, ok := (*known)[n.name]; ok {
			return link, false, nil
		}
	}
	link, err = n.links.lookUp(n.name)
	return link, true, err
}

// ask asks the kernel something about the interface. When what we know of it turns
// out to be old, it looks once more.
func (n *netInterface) ask(f func(c *kernel, index int) error) error {
	link, fresh, err := n.link()
	if err != nil {
		return err
	}
	err = n.links.conns.ask(func(c *kernel) error { return f(c, link.Index) })
	if fresh || !errors.Is(err, unix.ENODEV) {
		return err
	}
	if link, err = n.links.lookUp(n.name); err != nil {
		return err
	}
	return n.links.conns.ask(func(c *kernel) error { return f(c, link.Index) })
}

// lookUp asks the kernel for an interface by its name. A list of all would not do: it
// may lack one while others come and go.
func (l *Links) lookUp(name string) (link vrrp.Link, err error) {
	err = l.conns.ask(func(c *kernel) error {
		d, err := getDevice(c, name)
		link = d.link()
		return err
	})
	return link, err
}
