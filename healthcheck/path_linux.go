package healthcheck

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// control is a net.Dialer's.
func (p Path) control(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "udp") {
		p.Port = 0
	}
	var err error
	if failed := c.Control(func(fd uintptr) { err = p.prepare(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// prepare makes a socket, that is not bound yet, one of the path, whose Port is zero
// for streams.
func (p Path) prepare(fd int) error {
	err := os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)))
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w (needs CAP_NET_ADMIN)", ErrInconclusive, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInconclusive, err)
	case !p.Source.IsValid() || p.Port != 0:
		return nil
	}
	// To bind would be to choose a port at random, and one that was in use of late
	// still leads to the server that it led to then. To connect is to walk through
	// them all.
	err = os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInconclusive, err)
	}
	return nil
}

// bind prepares a socket that connect makes, and gives it the path's source.
func (p Path) bind(fd int) error {
	p.Port = 0
	if err := p.prepare(fd); err != nil || !p.Source.IsValid() {
		return err
	}
	_, from := sockaddr(netip.AddrPortFrom(p.Source, 0))
	return os.NewSyscallError("bind", syscall.Bind(fd, from))
}

// uptime is CLOCK_BOOTTIME, which goes on from one process to the next.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("healthcheck: reading the boot clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
