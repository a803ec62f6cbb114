package ipvs

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Kernel is an IPVS table that can be read and changed. Its methods take what
// Validate accepts and refuse with the kernel's own error numbers:
//
//	EEXIST  adding a service or server that is there
//	ESRCH   a service that is not there
//	ENOENT  a server that is not there; a scheduler or persistence
//	        engine that the kernel does not have
//	EPERM   no CAP_NET_ADMIN
//
// or with ErrGone, all of them, once IPVS was unloaded. One goroutine at a time uses it.
type Kernel interface {
	// List returns the whole table, foreign services included, sorted by key.
	// An empty table is no error.
	List() ([]Service, error)
	// AddService adds a service. Its destinations are ignored.
	AddService(Service) error
	// SetService edits everything of a service but its key, in place.
	SetService(Service) error
	// RemoveService removes a service with its destinations.
	RemoveService(ServiceKey) error
	// AddServer adds a destination to a service.
	AddServer(ServiceKey, Destination) error
	// SetServer edits a destination in place.
	SetServer(ServiceKey, Destination) error
	// RemoveServer removes a destination by its address.
	RemoveServer(ServiceKey, Destination) error
	// Timeouts are those of all connections.
	Timeouts() (Timeouts, error)
	// SetTimeouts sets those that are not zero.
	SetTimeouts(Timeouts) error
	// Close gives up the connection to the kernel, not the table.
	Close() error
}

// hurrier is a Kernel whose table is large and read in pieces: reading it ends with
// errHurried as soon as hurry says so.
type hurrier interface {
	listUnless(hurry func() bool) ([]Service, error)
}

// errHurried is what listUnless ends with.
var errHurried = errors.New("reading the table was put off")

// batcher is a Kernel that takes many changes at once, in their order, and returns the
// error of each. It goes on after those that fail.
type batcher interface {
	doAll([]Change) []error
}

// ErrNoIPVS says that the kernel has no IPVS, at least not now.
var ErrNoIPVS = errors.New("IPVS is not in this kernel: modprobe ip_vs")

// ErrGone says that the IPVS that the connection was made to was unloaded, and its table
// with it. Another one may have been loaded since: open it.
var ErrGone = errors.New("IPVS was unloaded")

// explain puts what to do in front of the kernel errors that have a remedy.
func (c Change) explain(err error) error {
	switch {
	case errors.Is(err, ErrGone):
		return err
	case (c.Op == AddService || c.Op == SetService) && errors.Is(err, syscall.ENOENT) && c.Service.Engine != "":
		return fmt.Errorf("scheduler %s or persistence engine %s is not in this kernel: modprobe ip_vs_%[1]s ip_vs_pe_%[2]s: %w", c.Service.Scheduler, c.Service.Engine, err)
	case (c.Op == AddService || c.Op == SetService) && errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("scheduler %s is not in this kernel: modprobe ip_vs_%[1]s: %w", c.Service.Scheduler, err)
	case c.Op == AddServer && errors.Is(err, syscall.EINVAL) && c.Service.Key.Addr.Addr().Is4() != c.Destination.Addr.Addr().Is4():
		// ip_vs_add_dest, where ipvs->sync_state is not zero.
		return fmt.Errorf("the kernel takes no server of another address family than its service's beside a sync daemon: %w", err)
	case c.Op == AddServer && errors.Is(err, syscall.EINVAL):
		// ip_vs_add_dest: inet_addr_type is neither local nor unicast.
		return fmt.Errorf("the kernel takes %s for no machine's address (a broadcast address of one of its networks, or no interface is up): %w", c.Destination.Addr.Addr(), err)
	case errors.Is(err, syscall.ESRCH):
		return fmt.Errorf("the service is not in the kernel: %w", err)
	default:
		return explain(err)
	}
}

// explain is for errors of any operation.
func explain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("IPVS needs the capability CAP_NET_ADMIN: %w", err)
	}
	return err
}

// stale reports whether an error means that the kernel's table is not what the
// change was made for.
func stale(err error) bool {
	return errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT)
}
