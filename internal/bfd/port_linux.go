package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

const (
	// tos is DSCP CS6, network control.
	tos = 0xc0
	// maxPacket is more than any control packet has: the length is one octet.
	maxPacket = 256
)

// linuxPort is the Port over UDP sockets: one for each network on the control
// port, and one for each session that sends from its own. The Go runtime's poller
// does not know them: the loop's thread waits in ppoll itself.
type linuxPort struct {
	event    int
	networks []*openNetwork
	sessions map[Key]*openSession
	fds      []unix.PollFd
	slots    [][]byte
	oob      []byte
	// drained is when nothing was left to read: what is read next arrived later.
	drained time.Time
}

type openNetwork struct {
	Network
	fd, index int
}

type openSession struct {
	fd   int
	port uint16
	to   unix.Sockaddr
}

var _ Port = (*linuxPort)(nil)

// NewPort returns the Port of the Linux kernel.
func NewPort() (Port, error) {
	event, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating eventfd: %w", err)
	}
	p := &linuxPort{event: event, sessions: make(map[Key]*openSession), oob: make([]byte, 256), drained: time.Now()}
	for range MaxBatch {
		p.slots = append(p.slots, make([]byte, maxPacket))
	}
	p.rebuild()
	return p, nil
}

// Listen implements Port.
func (p *linuxPort) Listen(n Network) error {
	index, err := interfaceIndex(n.Interface)
	if err != nil {
		return fmt.Errorf("looking %s up: %w", n.Interface, err)
	}
	fd, err := openUDP(n.Interface, n.IPv6, hear)
	if err != nil {
		return fmt.Errorf("opening a BFD socket on %s: %w", n.Interface, err)
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(unspecified(n.IPv6), ControlPort), 0)); err != nil {
		unix.Close(fd)
		return fmt.Errorf("binding to UDP port %d on %s: %w", ControlPort, n.Interface, err)
	}
	p.networks = append(p.networks, &openNetwork{n, fd, index})
	p.rebuild()
	return nil
}

func unspecified(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// interfaceIndex asks the kernel with one system call.
func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, os.NewSyscallError("SIOCGIFINDEX", err)
	}
	return int(request.Uint32()), nil
}

// Current implements Port.
func (p *linuxPort) Current(n Network) bool {
	i := slices.IndexFunc(p.networks, func(o *openNetwork) bool { return o.Network == n })
	if i < 0 {
		return false
	}
	index, err := interfaceIndex(n.Interface)
	return err == nil && index == p.networks[i].index
}

// Unlisten implements Port.
func (p *linuxPort) Unlisten(n Network) {
	p.networks = slices.DeleteFunc(p.networks, func(o *openNetwork) bool {
		if o.Network != n {
			return false
		}
		unix.Close(o.fd)
		return true
	})
	p.rebuild()
}

// Open implements Port. The source port is found at random, so that a restart
// does not meet its own old one.
func (p *linuxPort) Open(k Key) error {
	index, err := interfaceIndex(k.Interface)
	if err != nil {
		return fmt.Errorf("looking %s up: %w", k.Interface, err)
	}
	fd, err := openUDP(k.Interface, k.Peer.Is6(), speak)
	if err != nil {
		return fmt.Errorf("opening a BFD socket on %s: %w", k.Interface, err)
	}
	const ports = lastPort - firstPort + 1
	for try, first := 0, rand.IntN(ports); try < ports; try++ {
		port := uint16(firstPort + (first+try)%ports)
		if p.taken(port) {
			continue
		}
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(k.Local, port), index))
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			break
		}
		p.sessions[k] = &openSession{fd: fd, port: port, to: sockaddr(netip.AddrPortFrom(k.Peer, ControlPort), index)}
		return nil
	}
	unix.Close(fd)
	return fmt.Errorf("binding to %s: %w", k.Local, err)
}

func (p *linuxPort) taken(port uint16) bool {
	for _, s := range p.sessions {
		if s.port == port {
			return true
		}
	}
	return false
}

// sockaddr is an address as the kernel takes it; only a link-local one needs the
// interface.
func sockaddr(a netip.AddrPort, index int) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	to := &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	if a.Addr().IsLinkLocalUnicast() {
		to.ZoneId = uint32(index)
	}
	return to
}

// Close implements Port.
func (p *linuxPort) Close(k Key) {
	if s := p.sessions[k]; s != nil {
		unix.Close(s.fd)
		delete(p.sessions, k)
	}
}

// Shutdown implements Port.
func (p *linuxPort) Shutdown() error {
	for _, n := range slices.Clone(p.networks) {
		p.Unlisten(n.Network)
	}
	for k := range p.sessions {
		p.Close(k)
	}
	// The eventfd stays: a late Wake must not write into somebody's file.
	return nil
}

// rebuild makes the list that ppoll waits for.
func (p *linuxPort) rebuild() {
	p.fds = append(p.fds[:0], unix.PollFd{Fd: int32(p.event), Events: unix.POLLIN})
	for _, n := range p.networks {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(n.fd), Events: unix.POLLIN})
	}
}

// Wake implements Port.
func (p *linuxPort) Wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// A full counter is a wake-up that was not seen yet.
	_, _ = unix.Write(p.event, one[:])
}

// Send implements Port.
func (p *linuxPort) Send(k Key, payload []byte) error {
	s := p.sessions[k]
	if s == nil {
		return unix.ENOTCONN
	}
	if err := unix.Sendto(s.fd, payload, unix.MSG_DONTWAIT, s.to); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return nil
}

// Receive implements Port.
func (p *linuxPort) Receive(buf []Datagram, until time.Time) ([]Datagram, error) {
	var timeout *unix.Timespec
	if !until.IsZero() {
		ts := unix.NsecToTimespec(int64(max(time.Until(until), 0)))
		timeout = &ts
	}
	n, err := unix.Ppoll(p.fds, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return buf, os.NewSyscallError("ppoll", err)
	}
	now := time.Now()
	if n <= 0 {
		p.drained = now
		return buf, nil
	}
	if p.fds[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(p.event, count[:])
	}
	start := len(buf)
	for i, o := range p.networks {
		if p.fds[1+i].Revents != 0 {
			buf = p.read(buf, o, now)
		}
	}
	if len(buf)-start < MaxBatch {
		p.drained = now
	}
	slices.SortStableFunc(buf[start:], func(a, b Datagram) int { return a.At.Compare(b.At) })
	return buf, nil
}

// read reads one socket until it is empty or the batch is full.
func (p *linuxPort) read(buf []Datagram, o *openNetwork, now time.Time) []Datagram {
	for len(buf) < MaxBatch {
		slot := p.slots[len(buf)]
		n, oobn, _, from, err := unix.Recvmsg(o.fd, slot, p.oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return buf
		}
		beside := cmsg.Parse(p.oob[:oobn])
		if beside.Index != o.index {
			continue
		}
		d := Datagram{
			Interface: o.Interface, Destination: beside.Destination, TTL: beside.Hops,
			At: beside.Arrival(now, p.drained), Payload: slot[:n],
		}
		switch from := from.(type) {
		case *unix.SockaddrInet4:
			d.Source = netip.AddrFrom4(from.Addr)
		case *unix.SockaddrInet6:
			d.Source = netip.AddrFrom16(from.Addr)
		}
		buf = append(buf, d)
	}
	return buf
}

// openUDP opens a socket on an interface.
func openUDP(iface string, v6 bool, prepare func(net.PacketConn, bool) error) (fd int, err error) {
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return -1, os.NewSyscallError("IPV6_V6ONLY", err)
		}
	}
	if err := unix.BindToDevice(fd, iface); err != nil {
		return -1, os.NewSyscallError("SO_BINDTODEVICE", err)
	}
	if err := cmsg.Stamped(fd); err != nil {
		return -1, err
	}
	if err := cmsg.Prepare(fd, "bfd", func(conn net.PacketConn) error { return prepare(conn, v6) }); err != nil {
		return -1, err
	}
	return fd, nil
}

// hear asks for what has to be known of a packet that came.
func hear(conn net.PacketConn, v6 bool) error {
	var err error
	if v6 {
		err = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst|ipv6.FlagInterface, true)
	} else {
		err = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true)
	}
	if err != nil {
		return fmt.Errorf("asking for TTL, destination and arrival interface: %w", err)
	}
	return nil
}

// speak sets what packets are sent with.
func speak(conn net.PacketConn, v6 bool) error {
	var ttlErr, tosErr error
	if v6 {
		pc := ipv6.NewPacketConn(conn)
		ttlErr, tosErr = pc.SetHopLimit(ttl), pc.SetTrafficClass(tos)
	} else {
		pc := ipv4.NewPacketConn(conn)
		ttlErr, tosErr = pc.SetTTL(ttl), pc.SetTOS(tos)
	}
	if err := errors.Join(ttlErr, tosErr); err != nil {
		return fmt.Errorf("setting TTL and class: %w", err)
	}
	return nil
}
