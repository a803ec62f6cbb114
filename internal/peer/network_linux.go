package peer

import (
	"context"
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

// Dial connects from an address: others accept none but those of the file.
func (network) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{
		KeepAlive: -1,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0)),
		Control: func(_, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
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
