package cmsg

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Stamped has the kernel stamp what a socket receives, and send what comes from it ahead
// of everything else: behind that, on a busy interface, is no place for a protocol that
// keeps time.
func Stamped(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return os.NewSyscallError("SO_TIMESTAMPNS", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 6); err != nil {
		return os.NewSyscallError("SO_PRIORITY", err)
	}
	return nil
}

// Prepare has x/net/ipv4 or ipv6 set a socket up, and ask for its control messages. They
// get a duplicate, so that the socket itself never gets into the runtime's poller. name
// is for errors.
func Prepare(fd int, name string, set func(net.PacketConn) error) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	file := os.NewFile(uintptr(dup), name)
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	defer conn.Close()
	return set(conn)
}
