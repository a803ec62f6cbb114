package healthcheck

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file never block: the sockets are non-blocking, and nothing waits
// in them to be sent when they are closed. So the runtime is not told of them: a
// connection over this machine takes some 20 µs to make, in which the runtime would
// give the processor to another thread and wake it up for that.

// rawAddress is the kernel's form of an address, kept for as long as a target.
type rawAddress struct {
	family int
	four   unix.RawSockaddrInet4
	six    unix.RawSockaddrInet6
}

func newRawAddress(server netip.AddrPort) rawAddress {
	var port uint16 // in network order
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&port))[:], server.Port())
	ip := server.Addr().Unmap()
	if ip.Is4() {
		return rawAddress{family: unix.AF_INET, four: unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: ip.As4()}}
	}
	return rawAddress{family: unix.AF_INET6, six: unix.RawSockaddrInet6{
		Family: unix.AF_INET6, Port: port, Addr: ip.As16(), Scope_id: zone(ip.Zone()),
	}}
}

// connect begins a connection.
func (a *rawAddress) connect(fd int) error {
	at, size := unsafe.Pointer(&a.four), unsafe.Sizeof(a.four)
	if a.family == unix.AF_INET6 {
		at, size = unsafe.Pointer(&a.six), unsafe.Sizeof(a.six)
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(at), size); errno != 0 {
		return errno
	}
	return nil
}

// rawClose closes a socket.
func rawClose(fd int) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// rawOutcome is how a connection went, as an errno.
func rawOutcome(fd int) syscall.Errno {
	var outcome, size int32 = 0, 4
	_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&outcome)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return syscall.Errno(outcome)
}

// rawRoundTrip is how long a connection took to be made, as the kernel measured it:
// the time of the first packet and its answer; zero when it does not say.
func rawRoundTrip(fd int) time.Duration {
	// As much of struct tcp_info as has tcpi_rtt (include/uapi/linux/tcp.h).
	var info [72]byte
	size := int32(len(info))
	_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || int(size) < len(info) {
		return 0
	}
	return time.Duration(binary.NativeEndian.Uint32(info[68:])) * time.Microsecond
}

// rawPoll takes the events that are there.
func rawPoll(epoll int, events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}
