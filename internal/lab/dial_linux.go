package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Dial opens a TCP connection from the host. Only making the socket takes the
// host's thread, so that many connections can be in the making at once.
func Dial(ctx context.Context, h *Host, to netip.AddrPort) (net.Conn, error) {
	var fd int
	family := unix.AF_INET
	var peer unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
	if to.Addr().Is4() {
		peer = &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	} else {
		family = unix.AF_INET6
	}
	err := h.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: making a socket: %w", h.Name, err)
	}
	// A socket belongs to its namespace for life, so any thread may connect it.
	err = unix.Connect(fd, peer)
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: connecting to %s: %w", h.Name, to, err)
	}
	f := os.NewFile(uintptr(fd), to.String())
	defer f.Close()
	if err := connected(ctx, f); err != nil {
		return nil, fmt.Errorf("%s: connecting to %s: %w", h.Name, to, err)
	}
	return net.FileConn(f)
}

// connected waits for the end of a connect.
func connected(ctx context.Context, f *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := f.SetDeadline(deadline); err != nil {
			return err
		}
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var soErr error
	err = raw.Write(func(fd uintptr) bool {
		if _, err := unix.Getpeername(int(fd)); err == nil {
			soErr = nil
			return true
		}
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			soErr = err
		case errno != 0:
			soErr = unix.Errno(errno)
		default:
			return false // still in progress
		}
		return true
	})
	if err != nil {
		return err
	}
	return soErr
}
