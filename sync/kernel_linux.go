package connsync

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// kernel is the IPVS of the network namespace it was opened in.
type kernel struct {
	g     *nlconn.Generic
	ioctl int // a socket of the namespace, to ask it for interfaces
}

// Open connects to the IPVS of the calling thread's network namespace. The
// connection stays with that namespace. The error is ErrNoIPVS where the module is
// not loaded.
func Open() (Kernel, error) {
	g, err := nlconn.DialGeneric(genlName)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, ErrNoIPVS
	case err != nil:
		return nil, fmt.Errorf("connecting to IPVS: %w", explain(err))
	}
	ioctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = g.Close()
		return nil, fmt.Errorf("opening a socket to look for interfaces: %w", err)
	}
	return &kernel{g: g, ioctl: ioctl}, nil
}

// Close closes the sockets.
func (k *kernel) Close() error { return errors.Join(k.g.Close(), unix.Close(k.ioctl)) }

// gone tells an answer about a thing that is not there from that of a family that is no
// more.
func (k *kernel) gone(err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	gone, asking := k.g.Gone()
	switch {
	case asking != nil:
		return errors.Join(err, asking)
	case gone:
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// List dumps the daemons.
func (k *kernel) List() ([]Daemon, error) {
	msgs, err := k.g.Dump(genetlink.Message{Header: genetlink.Header{Command: cmdGetDaemon, Version: genlVersion}})
	if err != nil {
		return nil, fmt.Errorf("listing IPVS sync daemons: %w", explain(k.gone(err)))
	}
	daemons := make([]Daemon, 0, len(msgs))
	for _, m := range msgs {
		d, err := decodeDaemon(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing IPVS sync daemons: %w", err)
		}
		daemons = append(daemons, d)
	}
	return normalDaemons(daemons), nil
}

// Start starts a daemon.
func (k *kernel) Start(d Daemon) error { return k.do(cmdNewDaemon, d) }

// Stop stops the daemon of a role.
func (k *kernel) Stop(r Role) error { return k.do(cmdDelDaemon, Daemon{Role: r}) }

// do has a daemon started or stopped. Where the kernel does not answer, what runs then
// tells whether it was done.
func (k *kernel) do(command uint8, d Daemon) error {
	data, err := encodeDaemon(d)
	if err != nil {
		return err
	}
	_, err = k.g.Execute(genetlink.Message{
		Header: genetlink.Header{Command: command, Version: genlVersion},
		Data:   data,
	}, netlink.Acknowledge)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return k.gone(err)
	}
	daemons, failed := k.List()
	if failed != nil {
		return errors.Join(err, failed)
	}
	if _, runs := find(daemons, d.Role); runs != (command == cmdNewDaemon) {
		return fmt.Errorf("no answer from the kernel, and it was not done: %w", err)
	}
	return nil
}

// InterfaceIndex looks an interface up by name.
func (k *kernel) InterfaceIndex(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(k.ioctl, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}
