package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connect makes a connection and closes it. It is a net.Dialer without what a
// probe has no use for: a second goroutine, a second timer and the settings of
// a connection that is going to be used.
func connect(ctx context.Context, t Target) error {
	server := t.address()
	domain, to := sockaddr(server)
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if !t.Path.Direct() {
		if err := t.Path.bind(fd); err != nil {
			syscall.Close(fd)
			return err
		}
	}
	// First connect, then have it watched: a socket that does not connect yet
	// looks ready to the poller.
	err = syscall.Connect(fd, to)
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	if connecting(err) {
		if err = await(ctx, f, to); err != nil {
			return err
		}
	}
	if err == nil && fromItself(fd, server) {
		err = syscall.ECONNREFUSED
	}
	return os.NewSyscallError("connect", err)
}

// await waits until a socket that connects has done so.
func await(ctx context.Context, f *os.File, to syscall.Sockaddr) error {
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) }) // fails on a closed file only
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var outcome error
	err = raw.Write(func(fd uintptr) bool {
		// To connect again is to ask how the first time went.
		outcome = syscall.Connect(int(fd), to)
		return !connecting(outcome)
	})
	switch {
	case err == nil:
		return os.NewSyscallError("connect", outcome)
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("%w: waiting for a connection: %w", ErrInconclusive, err)
	}
}

// connecting tells a connect that goes on from one that has ended.
func connecting(err error) bool {
	return errors.Is(err, syscall.EINPROGRESS) || errors.Is(err, syscall.EALREADY) || errors.Is(err, syscall.EINTR)
}

// sockaddr is the kernel's form of an address, with its domain.
func sockaddr(a netip.AddrPort) (int, syscall.Sockaddr) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16(), ZoneId: zone(ip.Zone())}
}

// zone is the index of an IPv6 zone, which is an interface's name or its index;
// zero, with which the kernel refuses to connect, when there is no such one.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	// Package net would look for it in a list of all, which may lack it while others
	// come and go.
	if index, err := interfaceIndex(name); err == nil {
		return index
	}
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}

// fromItself finds the connection that a socket made to itself: that succeeds when
// the kernel happens to give it the very port, of this machine, that it is to
// connect to and that nobody listens on.
func fromItself(fd int, server netip.AddrPort) bool {
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return false
	}
	switch from := local.(type) {
	case *syscall.SockaddrInet4:
		return from.Port == int(server.Port()) && from.Addr == server.Addr().Unmap().As4()
	case *syscall.SockaddrInet6:
		return from.Port == int(server.Port()) && from.Addr == server.Addr().As16()
	}
	return false
}

// interfaceIndex asks the kernel for the index of one interface.
func interfaceIndex(name string) (uint32, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	return request.Uint32(), err
}
