package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/mdlayher/raw" //lint:ignore SA1019 mdlayher/packet, its successor, is not among the chosen libraries
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// maxHeard bounds what is kept of a busy segment.
const maxHeard = 1 << 16

// sockets are the wire: one for frames on each interface, and one for each protocol.
type sockets struct {
	frames map[string]*raw.Conn
	plain  map[string]net.PacketConn
	ears   sync.WaitGroup

	mu    sync.Mutex // guards heard
	heard []heard
}

var _ wire = (*sockets)(nil)

// openWire listens on all interfaces that are up and have a hardware address.
func openWire(links []vrrp.Link) (*sockets, error) {
	s := &sockets{frames: make(map[string]*raw.Conn), plain: make(map[string]net.PacketConn)}
	own := make(map[mac]bool) // of interfaces on others too, such as those of virtual routers
	for _, l := range links {
		own[l.MAC] = true
	}
	for _, l := range links {
		if !l.Up || l.MAC == (mac{}) {
			continue
		}
		c, err := listen(l)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening on %s (needs CAP_NET_RAW): %w", l.Name, err), s.close())
		}
		s.frames[l.Name] = c
		s.ears.Go(func() { s.listen(c, l.Name, own) })
	}
	return s, nil
}

func listen(l vrrp.Link) (*raw.Conn, error) {
	filter, err := bpf.Assemble(interesting())
	if err != nil {
		return nil, err
	}
	ifi := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC[:]}
	return raw.ListenPacket(ifi, unix.ETH_P_ALL, &raw.Config{Filter: filter})
}

// interesting lets ARP, ICMP and VRRP pass: a busy director sees much else.
func interesting() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 9},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv4, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMP, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 5, SkipFalse: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 20, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMPv6, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolVRRP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 256}, // as much as parse looks at
	}
}

// listen keeps what is heard on an interface until that is closed. What this machine
// sends itself is not heard.
func (s *sockets) listen(c *raw.Conn, ifname string, own map[mac]bool) {
	b := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		h, ok := parse(b[:n])
		if !ok || own[h.from] {
			continue
		}
		h.iface = ifname
		s.mu.Lock()
		if len(s.heard) < maxHeard {
			s.heard = append(s.heard, h)
		}
		s.mu.Unlock()
	}
}

func (s *sockets) take() []heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.heard
	s.heard = nil
	return out
}

// touch sends an octet to the discard port of each.
func (s *sockets) touch(addresses []netip.Addr) {
	for _, a := range addresses {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
		if err != nil {
			continue // it is found missing
		}
		_, _ = conn.Write([]byte{0}) // the look-up is what matters
		conn.Close()
	}
}

// sendMost is how long a question waits for room in a queue: one that is stuck must not
// keep the others from being asked.
const sendMost = 100 * time.Millisecond

func (s *sockets) send(q question) error {
	deadline := time.Now().Add(sendMost)
	if q.frame != nil {
		c, ok := s.frames[q.iface]
		if !ok {
			return fmt.Errorf("%s is not up", q.iface)
		}
		if err := c.SetWriteDeadline(deadline); err != nil {
			return err
		}
		_, err := c.WriteTo(q.frame, &raw.Addr{HardwareAddr: q.frame[:6]})
		return err
	}
	conn, err := s.open(q)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	var to net.Addr = &net.IPAddr{IP: q.to.Addr().AsSlice()}
	packet := q.packet
	switch {
	case q.port != 0:
		to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.to.Addr(), q.port))
	case q.protocol == protocolICMP && q.to.Addr().Is6():
		packet = packet[40:] // the kernel makes the header
	case q.protocol == protocolICMP:
		packet = packet[20:]
	}
	_, err = conn.WriteTo(packet, to)
	if errors.Is(err, unix.EMSGSIZE) {
		return nil // no answer says the same
	}
	return err
}

// open is the socket for a packet's protocol.
func (s *sockets) open(q question) (net.PacketConn, error) {
	network, protocol := "ip4", q.protocol
	if q.to.Addr().Is6() {
		network = "ip6"
		if protocol == protocolICMP {
			protocol = protocolICMPv6
		}
	}
	network += ":" + strconv.Itoa(protocol)
	if q.port != 0 {
		network = "udp"
	}
	key := fmt.Sprint(network, q.whole)
	if conn, ok := s.plain[key]; ok {
		return conn, nil
	}
	address := ""
	if q.port != 0 {
		address = ":0"
	}
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	s.plain[key] = conn
	if q.whole {
		return conn, unfragmented(conn, q.to.Addr().Is6())
	}
	return conn, nil
}

// unfragmented has the kernel send packets whole, as large as the interface takes them,
// whatever it knows of the path.
func unfragmented(conn net.PacketConn, ipv6 bool) error {
	c, ok := conn.(*net.IPConn)
	if !ok {
		return errors.New("not a raw socket")
	}
	control, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = control.Control(func(fd uintptr) {
		if ipv6 {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		} else {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}
	})
	return errors.Join(err, set)
}

// close ends the listening.
func (s *sockets) close() error {
	var errs []error
	for _, c := range s.frames {
		// A read that waits ends with its deadline.
		errs = append(errs, c.SetReadDeadline(time.Unix(1, 0)))
	}
	s.ears.Wait()
	for _, c := range s.frames {
		errs = append(errs, c.Close())
	}
	for _, c := range s.plain {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
