package connsync

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

// intake is the backup daemon of the process's network namespace.
type intake struct {
	fd    int
	group netip.AddrPort
	to    unix.Sockaddr
	own   func() []uint64
}

// Host is the kernel of the process's network namespace.
type Host struct{}

var _ System = Host{}

// Intake is part of System.
func (Host) Intake(d Daemon, own func() []uint64) (Intake, error) {
	d = d.normal()
	fd, index, err := groupSocket(d)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to the backup daemon on %s: %w", d.Interface, err)
	}
	in := &intake{fd: fd, group: d.Group, to: sockaddr(d.Group, index), own: own}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, IntakeMark); err != nil {
		return nil, fmt.Errorf("opening a socket to the backup daemon on %s: %w", d.Interface, errors.Join(err, unix.Close(fd)))
	}
	// A hop limit of zero goes to this machine's own listeners and no further.
	if d.Group.Addr().Is4() {
		err = errors.Join(
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 0))
	} else {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 0))
	}
	if err != nil {
		return nil, fmt.Errorf("opening a socket to the backup daemon on %s: %w", d.Interface, errors.Join(err, unix.Close(fd)))
	}
	return in, nil
}

// groupSocket is a UDP socket on the daemon's interface.
func groupSocket(d Daemon) (fd, index int, err error) {
	family := unix.AF_INET
	if d.Group.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	req, err := unix.NewIfreq(d.Interface)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err == nil {
		err = unix.BindToDevice(fd, d.Interface)
	}
	if err != nil {
		return 0, 0, errors.Join(err, unix.Close(fd))
	}
	return fd, int(req.Uint32()), nil
}

func sockaddr(a netip.AddrPort, index int) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: uint32(index)}
}

// Put sends the datagram to the group.
func (in *intake) Put(datagram []byte) error { return unix.Sendto(in.fd, datagram, 0, in.to) }

// Backlog reads the list of sockets.
func (in *intake) Backlog() (waiting int, dropped uint64, err error) {
	name := "/proc/thread-self/net/udp"
	if in.group.Addr().Is6() {
		name = "/proc/thread-self/net/udp6"
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the list of sockets: %w", err)
	}
	defer f.Close()
	return parseBacklog(f, in.group, in.own())
}

// Close closes the socket.
func (in *intake) Close() error { return unix.Close(in.fd) }

// tap hears the sync messages of this machine's own master daemon, where that
// speaks on the loopback interface.
type tap struct {
	file  *os.File
	raw   func(func(fd uintptr) bool) error
	inode uint64

	mu    sync.Mutex // guards drops
	drops uint32
}

// tapBuffer is how much may wait in the socket: some ten thousand messages.
const tapBuffer = 16 << 20

// Tap is part of System.
func (Host) Tap(d Daemon) (Hearer, error) {
	d = d.normal()
	fd, index, err := groupSocket(d)
	if err != nil {
		return nil, fmt.Errorf("listening for sync messages on %s: %w", d.Interface, err)
	}
	var stat unix.Stat_t
	err = errors.Join(
		unix.SetNonblock(fd, true), // for the runtime's poller
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
		unix.Bind(fd, sockaddr(d.Group, index)),
		unix.Fstat(fd, &stat))
	if d.Group.Addr().Is4() {
		err = errors.Join(err, unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: d.Group.Addr().As4(), Ifindex: int32(index)}))
	} else {
		err = errors.Join(err, unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: d.Group.Addr().As16(), Interface: uint32(index)}))
	}
	if err != nil {
		return nil, fmt.Errorf("listening for sync messages on %s: %w", d.Interface, errors.Join(err, unix.Close(fd)))
	}
	file := os.NewFile(uintptr(fd), "sync messages")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listening for sync messages on %s: %w", d.Interface, errors.Join(err, file.Close()))
	}
	return &tap{file: file, raw: raw.Read, inode: stat.Ino}, nil
}

// Inode is that of the socket.
func (t *tap) Inode() uint64 { return t.inode }

// Hear waits for a message and reads it. gap says that the socket has dropped some
// before it.
func (t *tap) Hear(buffer []byte) (n int, gap bool, err error) {
	oob := make([]byte, unix.CmsgSpace(4))
	var oobn int
	var failed error
	err = t.raw(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), buffer, oob, 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, false, fmt.Errorf("hearing sync messages: %w", err)
	}
	if drops := cmsg.Parse(oob[:oobn]).Drops; drops != 0 {
		t.mu.Lock()
		gap = drops != t.drops
		t.drops = drops
		t.mu.Unlock()
	}
	return n, gap, nil
}

// Close ends Hear.
func (t *tap) Close() error { return t.file.Close() }

// openListing opens the kernel's listing of connections: with where they come from,
// or with the data of persistence engines.
func openListing(synced bool) (io.ReadCloser, error) {
	name := "/proc/thread-self/net/ip_vs_conn"
	if synced {
		name = "/proc/thread-self/net/ip_vs_conn_sync"
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoIPVS
	}
	if err != nil {
		return nil, fmt.Errorf("reading the connection table: %w", err)
	}
	return f, nil
}

// Conns is part of System.
func (Host) Conns(synced bool) iter.Seq2[Conn, error] {
	return func(yield func(Conn, error) bool) {
		f, err := openListing(synced)
		if err != nil {
			yield(Conn{}, err)
			return
		}
		defer f.Close()
		for c, err := range Listing(f, synced) {
			if !yield(c, err) {
				return
			}
		}
	}
}
