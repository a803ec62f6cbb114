package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

// Options of the sockets.
const (
	// maxPacket is more than 255 addresses of either family need, with the
	// longest IPv4 header or an authentication trailer.
	maxPacket = headerLen + 16*maxAddresses + 128
)

// linuxPort is the Port over raw sockets: for each interface and family one for
// VRRP, bound to the device, and a packet socket for announcements of addresses.
// The Go runtime's poller does not know them: the loop's thread waits in ppoll
// itself.
type linuxPort struct {
	event  int
	ifaces []*portInterface
	fds    []unix.PollFd
	// slots are where packets of one Receive are kept.
	slots [][]byte
	batch batch
	// frame is the last one that Send made itself.
	frame []byte
	// drained is when nothing was left to read: what is read next arrived later.
	drained time.Time
}

// portInterface is one interface that is open for one family.
type portInterface struct {
	name   string
	index  int
	family Family
	vrrp   int
	// announcements hears gratuitous ARP or neighbour advertisements.
	announcements int
	// from is the control message that sets the source address.
	source netip.Addr
	from   []byte
}

var _ Port = (*linuxPort)(nil)

// NewPort returns the Port of the Linux kernel. It needs CAP_NET_RAW when an
// interface is opened.
func NewPort() (Port, error) {
	event, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating eventfd: %w", err)
	}
	p := &linuxPort{event: event, drained: time.Now()}
	for range MaxBatch {
		p.slots = append(p.slots, make([]byte, maxPacket))
	}
	p.rebuild()
	return p, nil
}

// Open implements Port.
func (p *linuxPort) Open(iface string, index int, family Family) error {
	vrrp, err := openVRRP(iface, index, family)
	if err != nil {
		return fmt.Errorf("opening VRRP socket on %s: %w", iface, explain(err))
	}
	open, what := openARP, "ARP"
	if family == IPv6 {
		open, what = openNA, "neighbour advertisement"
	}
	announcements, err := open(index)
	if err != nil {
		unix.Close(vrrp)
		return fmt.Errorf("opening %s socket on %s: %w", what, iface, explain(err))
	}
	p.ifaces = append(p.ifaces, &portInterface{name: iface, index: index, family: family, vrrp: vrrp, announcements: announcements})
	p.rebuild()
	return nil
}

// explain says which capability is missing.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (needs CAP_NET_RAW)", err)
	}
	return err
}

// openVRRP opens the raw socket of an interface.
func openVRRP(iface string, index int, family Family) (fd int, err error) {
	domain, prepare := unix.AF_INET, prepare4
	if family == IPv6 {
		domain, prepare = unix.AF_INET6, prepare6
	}
	fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocolNumber)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.BindToDevice(fd, iface); err != nil {
		return -1, os.NewSyscallError("SO_BINDTODEVICE", err)
	}
	if err := cmsg.Stamped(fd); err != nil {
		return -1, err
	}
	if err := speakFromLost(fd, family); err != nil {
		return -1, err
	}
	if err := setReceiveBuffer(fd); err != nil {
		return -1, os.NewSyscallError("SO_RCVBUF", err)
	}
	err = cmsg.Prepare(fd, "vrrp", func(conn net.PacketConn) error { return prepare(conn, &net.Interface{Index: index, Name: iface}) })
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// speakFromLost lets advertisements come from an address that the interface has lost: the
// last one tells the others so.
func speakFromLost(fd int, family Family) error {
	if family == IPv4 {
		return os.NewSyscallError("IP_TRANSPARENT", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1))
	}
	return os.NewSyscallError("IPV6_TRANSPARENT", unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1))
}

// receiveBuffer is how many octets may wait in a VRRP socket, half of what the
// kernel reserves. It counts 768 or more for a small packet: about 2,700 have
// room, those of 250 virtual routers at 100 ms for a second. The kernel's default has it for 270 and loses what comes
// later, which is what the other director said last.
const receiveBuffer = 1 << 20

// setReceiveBuffer goes beyond net.core.rmem_max where it may.
func setReceiveBuffer(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	return err
}

// option is one thing to be set on a socket.
type option struct {
	what string
	set  func() error
}

// setAll stops at the first option that cannot be set.
func setAll(options []option) error {
	for _, o := range options {
		if err := o.set(); err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	return nil
}

// prepare4 sets up a socket for IPv4.
func prepare4(conn net.PacketConn, ifi *net.Interface) error {
	pc := ipv4.NewPacketConn(conn)
	return setAll([]option{
		{"setting TTL", func() error { return pc.SetTTL(ttl) }},
		{"setting multicast TTL", func() error { return pc.SetMulticastTTL(ttl) }},
		{"setting TOS", func() error { return pc.SetTOS(tos) }},
		{"setting multicast loopback", func() error { return pc.SetMulticastLoopback(false) }},
		{"setting multicast interface", func() error { return pc.SetMulticastInterface(ifi) }},
		{"asking for the arrival interface", func() error { return pc.SetControlMessage(ipv4.FlagInterface, true) }},
		{"joining " + group4.String(), func() error { return pc.JoinGroup(ifi, &net.IPAddr{IP: group4.AsSlice()}) }},
	})
}

// prepare6 sets up a socket for IPv6. The kernel neither computes nor checks a
// raw socket's checksum unless it is asked to: the codec does, and counts.
func prepare6(conn net.PacketConn, ifi *net.Interface) error {
	pc := ipv6.NewPacketConn(conn)
	return setAll([]option{
		{"setting hop limit", func() error { return pc.SetHopLimit(ttl) }},
		{"setting multicast hop limit", func() error { return pc.SetMulticastHopLimit(ttl) }},
		{"setting traffic class", func() error { return pc.SetTrafficClass(tos) }},
		{"setting multicast loopback", func() error { return pc.SetMulticastLoopback(false) }},
		{"setting multicast interface", func() error { return pc.SetMulticastInterface(ifi) }},
		{"asking for hop limit, destination and arrival interface", func() error {
			return pc.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst|ipv6.FlagInterface, true)
		}},
		{"joining " + group6.String(), func() error { return pc.JoinGroup(ifi, &net.IPAddr{IP: group6.AsSlice()}) }},
	})
}

// openARP opens a packet socket that hears gratuitous ARP and nothing else: the
// filter compares sender and target protocol address in the kernel.
func openARP(index int) (fd int, err error) {
	return openFiltered(index, unix.ETH_P_ARP, []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpHeader + 2, Size: 4}, // protocol type, address lengths
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0800_0604, SkipFalse: 5},
		bpf.LoadAbsolute{Off: arpTarget, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipFalse: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
	})
}

// openNA opens a packet socket that hears unsolicited neighbour advertisements
// and nothing else. They go to all nodes, which every interface hears.
func openNA(index int) (fd int, err error) {
	return openFiltered(index, unix.ETH_P_IPV6, []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMPv6, SkipFalse: 5},
		bpf.LoadAbsolute{Off: naHeader, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: naType, SkipFalse: 3},
		bpf.LoadAbsolute{Off: naFlags, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: naSolicited, SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
	})
}

// openFiltered opens a packet socket for one protocol behind a filter.
func openFiltered(index int, protocol uint16, instructions []bpf.Instruction) (fd int, err error) {
	// Protocol 0 hears nothing until the filter is in place and bind names it.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	filter, err := bpf.Assemble(instructions)
	if err != nil {
		return -1, fmt.Errorf("assembling filter: %w", err)
	}
	program := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return -1, os.NewSyscallError("SO_ATTACH_FILTER", err)
	}
	if err := cmsg.Stamped(fd); err != nil {
		return -1, err
	}
	proto := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: index}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// Close implements Port.
func (p *linuxPort) Close(iface string, family Family) {
	p.ifaces = slices.DeleteFunc(p.ifaces, func(i *portInterface) bool {
		if i.name != iface || i.family != family {
			return false
		}
		unix.Close(i.vrrp)
		unix.Close(i.announcements)
		return true
	})
	p.rebuild()
}

// Shutdown implements Port.
func (p *linuxPort) Shutdown() error {
	for len(p.ifaces) > 0 {
		p.Close(p.ifaces[0].name, p.ifaces[0].family)
	}
	// The eventfd stays: a late Wake must not write into somebody's file.
	return nil
}

// rebuild makes the list that ppoll waits for.
func (p *linuxPort) rebuild() {
	p.fds = append(p.fds[:0], unix.PollFd{Fd: int32(p.event), Events: unix.POLLIN})
	for _, i := range p.ifaces {
		p.fds = append(p.fds,
			unix.PollFd{Fd: int32(i.vrrp), Events: unix.POLLIN},
			unix.PollFd{Fd: int32(i.announcements), Events: unix.POLLIN})
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
func (p *linuxPort) Send(iface string, mac [6]byte, src, dst netip.Addr, payload []byte) error {
	family := familyOf(src)
	n := slices.IndexFunc(p.ifaces, func(i *portInterface) bool { return i.name == iface && i.family == family })
	if n < 0 {
		return unix.ENODEV
	}
	i := p.ifaces[n]
	if mac != ([6]byte{}) {
		return p.sendFrame(i, mac, src, dst, payload)
	}
	var to unix.Sockaddr
	if family == IPv6 {
		// Only a link-local destination needs the interface.
		to = &unix.SockaddrInet6{Addr: dst.As16(), ZoneId: uint32(i.index)}
	} else {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	if i.source != src {
		i.source, i.from = src, cmsg.From(src, i.index)
	}
	if _, err := unix.SendmsgN(i.vrrp, payload, i.from, to, unix.MSG_DONTWAIT); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return nil
}

// sendFrame transmits a frame of our own making: only a packet socket sends from
// a hardware address that the interface does not have. Any will do.
func (p *linuxPort) sendFrame(i *portInterface, mac [6]byte, src, dst netip.Addr, payload []byte) error {
	p.frame = appendFrame(p.frame[:0], mac, src, dst, payload)
	to := &unix.SockaddrLinklayer{Ifindex: i.index, Protocol: binary.NativeEndian.Uint16(p.frame[12:]), Halen: 6}
	copy(to.Addr[:], p.frame[:6])
	if err := unix.Sendto(i.announcements, p.frame, unix.MSG_DONTWAIT, to); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return nil
}

// Receive implements Port.
func (p *linuxPort) Receive(buf []Packet, until time.Time) ([]Packet, error) {
	n, errno := wait(p.fds, until)
	if errno != 0 && errno != unix.EINTR {
		return buf, os.NewSyscallError("ppoll", errno)
	}
	now := time.Now()
	if errno != 0 || n == 0 {
		p.drained = now
		return buf, nil
	}
	if p.fds[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(p.event, count[:])
	}
	start := len(buf)
	for k, i := range p.ifaces {
		advertisement, announcement := parseIPv4, parseARP
		if i.family == IPv6 {
			advertisement, announcement = parseIPv6, parseNA
		}
		if p.fds[1+2*k].Revents != 0 {
			buf = p.read(buf, i, i.vrrp, now, advertisement)
		}
		if p.fds[2+2*k].Revents != 0 {
			buf = p.read(buf, i, i.announcements, now, announcement)
		}
	}
	if len(buf)-start < MaxBatch {
		p.drained = now
	}
	slices.SortStableFunc(buf[start:], func(a, b Packet) int { return a.At.Compare(b.At) })
	return buf, nil
}

// read reads one socket until it is empty or the list is full.
func (p *linuxPort) read(buf []Packet, i *portInterface, fd int, now time.Time, parse func(*Packet, []byte) bool) []Packet {
	for len(buf) < MaxBatch {
		first := len(buf)
		n := p.batch.read(fd, p.slots[first:])
		for k := range n {
			beside := cmsg.Parse(p.batch.control(k))
			if p.batch.truncated(k) || (beside.Index != 0 && beside.Index != i.index) {
				continue
			}
			packet := Packet{Interface: i.name, At: beside.Arrival(now, p.drained), Destination: beside.Destination, TTL: beside.Hops}
			if from, ok := p.batch.sender(k); ok {
				packet.Source = from
			}
			if parse(&packet, p.slots[first+k][:p.batch.messages[k].length]) {
				// The next read must not find it behind one that was left out.
				p.slots[first+k], p.slots[len(buf)] = p.slots[len(buf)], p.slots[first+k]
				buf = append(buf, packet)
			}
		}
		if n < batchSize {
			break
		}
	}
	return buf
}
