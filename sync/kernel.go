package connsync

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Kernel is where the sync daemons run. Its methods refuse with the kernel's own
// error numbers:
//
//	EEXIST  starting a role that runs
//	ESRCH   stopping a role that does not
//	ENODEV  an interface that does not exist
//	EPERM   no CAP_NET_ADMIN
//
// or, those about daemons, with ErrGone once IPVS was unloaded. One goroutine at a time
// uses it.
type Kernel interface {
	// List returns the daemons that run, with Index zero.
	List() ([]Daemon, error)
	// Start starts a daemon.
	Start(Daemon) error
	// Stop stops the daemon of a role.
	Stop(Role) error
	// InterfaceIndex returns the number of an interface, or ENODEV.
	InterfaceIndex(name string) (int, error)
	// Close gives up the connection to the kernel; the daemons go on.
	Close() error
}

// ErrNoIPVS says that the kernel has no IPVS, at least not now.
var ErrNoIPVS = errors.New("IPVS is not in this kernel: modprobe ip_vs")

// ErrGone says that the IPVS that the connection was made to was unloaded, and its daemons
// with it. Another one may have been loaded since: open it.
var ErrGone = errors.New("IPVS was unloaded")

// Do makes the change on a kernel. The error says what was being done and, in
// words, why the kernel refused; the kernel's own error is wrapped in it.
func (c Change) Do(k Kernel) error {
	var err error
	switch c.Op {
	case Start:
		err = k.Start(c.Daemon)
	case Stop:
		err = k.Stop(c.Daemon.Role)
	default:
		panic("connsync: change without an operation")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, c.explain(err))
	}
	return nil
}

// explain puts what to do in front of the kernel errors that have a remedy.
func (c Change) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("interface %s does not exist: %w", c.Daemon.Interface, err)
	case errors.Is(err, syscall.EINVAL):
		// start_sync_thread refuses a namespace with mixed-family servers.
		return fmt.Errorf("the kernel does not synchronise services that have servers of the other address family: %w", err)
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
