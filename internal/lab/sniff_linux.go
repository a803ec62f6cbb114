package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

// Advertisement is a VRRP packet seen on the wire.
type Advertisement struct {
	At     time.Time
	Source netip.Addr
	// MAC is the sender's in the Ethernet frame.
	MAC      [6]byte
	VRID     uint8
	Priority uint8
}

// Sniffer keeps the VRRP advertisements of both families that pass an interface,
// with the kernel's own time stamps.
type Sniffer struct {
	fds  []int
	stop atomic.Bool
	done sync.WaitGroup

	mu   sync.Mutex // guards seen
	seen []Advertisement
}

// StartSniffer listens on an interface of the host, which hears multicast
// because the segments flood it.
func StartSniffer(h *Host, ifname string) (*Sniffer, error) {
	s := &Sniffer{}
	for _, f := range []sniffed{sniffIPv4(), sniffIPv6()} {
		var fd int
		err := h.Do(func() (err error) {
			fd, err = packetSocket(ifname, f)
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: listening on %s: %w", h.Name, ifname, err), s.Stop())
		}
		s.fds = append(s.fds, fd)
		s.done.Go(func() { s.listen(fd, f) })
	}
	return s, nil
}

// sniffed is where things are in the packets of one family.
type sniffed struct {
	ethertype uint16 // in network order
	protocol  uint32 // offset of the protocol
	header    func(b []byte) int
	source    func(b []byte) netip.Addr
}

func sniffIPv4() sniffed {
	return sniffed{0x0008, 9,
		func(b []byte) int { return int(b[0]&0xf) * 4 },
		func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[12:16])) }}
}

func sniffIPv6() sniffed {
	return sniffed{0xdd86, 6,
		func([]byte) int { return 40 },
		func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[8:24])) }}
}

func packetSocket(ifname string, f sniffed) (int, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	// Only VRRP: ldb [protocol]; jeq #112, 0, 1; ret #-1; ret #0.
	onlyVRRP := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: f.protocol},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 112},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(onlyVRRP)), Filter: &onlyVRRP[0]}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: f.ethertype, Ifindex: ifi.Index}))
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func (s *Sniffer) listen(fd int, f sniffed) {
	b, oob := make([]byte, 2048), make([]byte, 256)
	for !s.stop.Load() {
		n, oobn, _, from, err := unix.Recvmsg(fd, b, oob, 0)
		if err != nil || n < 28 || b[f.protocol] != 112 {
			continue
		}
		header := f.header(b)
		if n < header+8 {
			continue
		}
		adv := Advertisement{At: stamp(oob[:oobn]), Source: f.source(b), VRID: b[header+1], Priority: b[header+2]}
		if from, ok := from.(*unix.SockaddrLinklayer); ok {
			copy(adv.MAC[:], from.Addr[:])
		}
		s.mu.Lock()
		s.seen = append(s.seen, adv)
		s.mu.Unlock()
	}
}

// stamp is the kernel's time stamp of a message.
func stamp(oob []byte) time.Time {
	if at := cmsg.Parse(oob).Stamp; !at.IsZero() {
		return at
	}
	return time.Now()
}

// Seen returns what passed so far.
func (s *Sniffer) Seen() []Advertisement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Advertisement(nil), s.seen...)
}

// Last returns the newest advertisement of a source before a time.
func (s *Sniffer) Last(source netip.Addr, before time.Time) (Advertisement, bool) {
	seen := s.Seen()
	for i := len(seen) - 1; i >= 0; i-- {
		if seen[i].Source == source && seen[i].At.Before(before) {
			return seen[i], true
		}
	}
	return Advertisement{}, false
}

// Stop ends the listening. A second Stop does nothing.
func (s *Sniffer) Stop() error {
	s.stop.Store(true)
	s.done.Wait()
	var errs []error
	for _, fd := range s.fds {
		errs = append(errs, unix.Close(fd))
	}
	s.fds = nil
	return errors.Join(errs...)
}
