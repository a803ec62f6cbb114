//go:build ipvskernel

package kernel_test

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
)

// netip100 is a port of the virtual address.
func netip100(port uint16) netip.AddrPort { return netip.AddrPortFrom(rig.VIP, port) }

// multicastBy has a socket's multicast leave by an interface.
func multicastBy(raw syscall.RawConn, index int) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
	}); e != nil {
		return e
	}
	return err
}
