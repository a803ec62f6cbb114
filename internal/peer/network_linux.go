package peer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent is how much may wait in the kernel (TCP_NOTSENT_LOWAT): what is behind it
// waits here, where small messages overtake large ones.
const unsent = 64 << 10

// NewNetwork is the machine's network.
func NewNetwork() Network { return network{} }

type network struct{}

// Listen binds an address that may come later (IP_FREEBIND).
func (network) Listen(ctx context.Context, local netip.AddrPort) (net.Listener, error) {
	l := net.ListenConfig{
		KeepAlive: -1, // the channel has its own
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent); err != nil {
					return err
				}
				if local.Addr().Is4() {
					return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
				}
				return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
			})
		},
	}
	l.SetMultipathTCP(false)
	return l.Listen(ctx, "tcp", local.String())
}

// The ports to connect from: privileged ones that IANA has assigned to nobody, so that
// no service finds its own taken.
const (
	firstSource, lastSource = 811, 827
	// sourceTries bounds the search for a free one.
	sourceTries = 4
)

// Dial connects from an address: others accept none but those of the file. A port
// below 1024 proves that it is no ordinary user of the machine; who may not have one, or
// finds none free, connects from any.
func (network) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	for range sourceTries {
		port := uint16(firstSource + rand.IntN(lastSource-firstSource+1))
		conn, err := dialFrom(ctx, netip.AddrPortFrom(local, port), remote)
		switch {
		case errors.Is(err, unix.EADDRINUSE), errors.Is(err, unix.EADDRNOTAVAIL) && ctx.Err() == nil:
			continue // by another connection of ours, or the address is not there
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			return dialFrom(ctx, netip.AddrPortFrom(local, 0), remote)
		}
		return conn, err
	}
	return dialFrom(ctx, netip.AddrPortFrom(local, 0), remote)
}

func dialFrom(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{
		KeepAlive: -1,
		LocalAddr: net.TCPAddrFromAddrPort(local),
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error {
				// Whoever listens on the port later is not kept from it.
				return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
					unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent))
			})
		},
	}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", remote.String())
}

func control(raw syscall.RawConn, set func(fd int) error) error {
	var result error
	if err := raw.Control(func(fd uintptr) { result = set(int(fd)) }); err != nil {
		return err
	}
	return result
}
