package netif

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// kernel is a connection to rtnetlink with strict checks, which have the kernel
// select what is listed: a table may have a million routes of others.
type kernel struct{ *nlconn.Conn }

// dialKernel connects to rtnetlink.
func dialKernel() (*kernel, error) {
	c, err := nlconn.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
	if err != nil {
		return nil, fmt.Errorf("connecting to rtnetlink: %w", err)
	}
	return &kernel{c}, nil
}

// connections are those to rtnetlink that nobody uses now. Each is used by one at a
// time, so that nobody waits for another's answer.
type connections struct {
	mu   sync.Mutex // guards free
	free []*kernel
}

// keptFree is how many connections are kept.
const keptFree = 8

// ask uses a connection, and closes it after an error that is not the kernel's
// answer.
func (p *connections) ask(f func(*kernel) error) error {
	c, err := p.take()
	if err != nil {
		return err
	}
	err = f(c)
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) && !errors.Is(err, nlconn.ErrInterrupted) && !errors.Is(err, ErrNoInterface) {
		_ = c.Close() // the first error is the one that says why
	} else {
		p.giveBack(c)
	}
	return explain(err, "CAP_NET_ADMIN")
}

func (p *connections) take() (*kernel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		return c, nil
	}
	return dialKernel()
}

func (p *connections) giveBack(c *kernel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < keptFree {
		p.free = append(p.free, c)
		return
	}
	_ = c.Close() // it had nothing left to say
}

// close closes those that nobody uses.
func (p *connections) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.free {
		errs = append(errs, c.Close())
	}
	p.free = nil
	return errors.Join(errs...)
}

// explain says which capability is missing.
func explain(err error, capability string) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (needs %s)", err, capability)
	}
	return err
}
