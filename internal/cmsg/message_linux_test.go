package cmsg_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"lvsha/internal/cmsg"
)

// message appends a control message.
func message(oob []byte, level, kind int32, data ...byte) []byte {
	h := make([]byte, unix.CmsgSpace(len(data)))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&h[0]))
	header.Level, header.Type = level, kind
	header.SetLen(unix.CmsgLen(len(data)))
	copy(h[unix.CmsgLen(0):], data)
	return append(oob, h...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

var same = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestParse: what x/net writes, and what only the kernel does, all of it beside one packet.
func TestParse(t *testing.T) {
	four, six := netip.MustParseAddr("224.0.0.18"), netip.MustParseAddr("ff02::12")
	drops := message(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, number(9)...)
	tests := []struct {
		name string
		oob  []byte
		want cmsg.Beside
	}{
		{"nothing", nil, cmsg.Beside{}},
		{"IPv6", (&ipv6.ControlMessage{HopLimit: 255, Src: six.AsSlice(), IfIndex: 7}).Marshal(), cmsg.Beside{Index: 7, Destination: six, Hops: 255}},
		{"IPv6 without hop limit", (&ipv6.ControlMessage{Src: six.AsSlice(), IfIndex: 7}).Marshal(), cmsg.Beside{Index: 7, Destination: six}},
		// The kernel tells the destination of the header behind the address of the interface.
		{"IPv4", message(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, append(append(number(7), 192, 0, 2, 1), four.AsSlice()...)...), cmsg.Beside{Index: 7, Destination: four}},
		{"TTL", message(nil, unix.IPPROTO_IP, unix.IP_TTL, number(254)...), cmsg.Beside{Hops: 254}},
		{"TTL beyond an octet", message(nil, unix.IPPROTO_IP, unix.IP_TTL, number(256+255)...), cmsg.Beside{}},
		{"TTL too short", message(nil, unix.IPPROTO_IP, unix.IP_TTL, 255), cmsg.Beside{}},
		{"drops", drops, cmsg.Beside{Drops: 9}},
		{"several, and one that is not known", append(message(drops, unix.SOL_SOCKET, unix.SCM_RIGHTS, number(3)...),
			(&ipv6.ControlMessage{HopLimit: 1, Src: six.AsSlice(), IfIndex: 2}).Marshal()...), cmsg.Beside{Drops: 9, Index: 2, Destination: six, Hops: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, cmsg.Parse(tt.oob), same); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for n := range tt.oob {
				cmsg.Parse(tt.oob[:n]) // cut off, it is read as far as it goes
			}
			if n := testing.AllocsPerRun(10, func() { cmsg.Parse(tt.oob) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// TestParseDamaged: lengths that lie end it.
func TestParseDamaged(t *testing.T) {
	whole := message(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, number(9)...)
	for _, length := range []int{0, 1, unix.SizeofCmsghdr - 1, 2*len(whole) + 1, 1 << 30, -1} {
		oob := message(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, number(9)...)
		(*unix.Cmsghdr)(unsafe.Pointer(&oob[0])).SetLen(length)
		if got := cmsg.Parse(append(oob, whole...)); got != (cmsg.Beside{}) {
			t.Errorf("length %d: %+v", length, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(nil, unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, make([]byte, 16)...))
	f.Add((&ipv6.ControlMessage{HopLimit: 255, Src: netip.MustParseAddr("ff02::12").AsSlice(), IfIndex: 7}).Marshal())
	f.Add((&ipv4.ControlMessage{Src: netip.MustParseAddr("192.0.2.1").AsSlice(), IfIndex: 7}).Marshal())
	f.Fuzz(func(_ *testing.T, oob []byte) { cmsg.Parse(oob) })
}

// TestArrival: a step of the wall clock leaves a packet between the last look and now.
func TestArrival(t *testing.T) {
	now := time.Now()
	drained := now.Add(-time.Second)
	tests := []struct {
		name  string
		stamp time.Time
		want  time.Duration // before now
	}{
		{"none", time.Time{}, 0},
		{"just now", now.Round(0), 0},
		{"some time ago", now.Round(0).Add(-300 * time.Millisecond), 300 * time.Millisecond},
		{"the clock was set back", now.Round(0).Add(time.Hour), 0},
		{"the clock was set forward", now.Round(0).Add(-time.Hour), time.Second},
	}
	for _, tt := range tests {
		if got := now.Sub(cmsg.Beside{Stamp: tt.stamp}.Arrival(now, drained)); got != tt.want {
			t.Errorf("%s: %v before now, want %v", tt.name, got, tt.want)
		}
	}
}

// socket is a UDP socket.
func socket(t *testing.T, v6 bool) int {
	t.Helper()
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// address is any port of an address.
func address(a netip.Addr) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Addr: a.As4()}
}

// TestSocket: of a packet that a socket sent from a chosen address the kernel tells what
// was asked for.
func TestSocket(t *testing.T) {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		from netip.Addr
		to   netip.Addr
		set  func(net.PacketConn) error
		hops func(net.PacketConn) error
	}{
		{"IPv4", netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("127.0.0.1"), func(c net.PacketConn) error {
			return ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true)
		}, func(c net.PacketConn) error { return ipv4.NewPacketConn(c).SetTTL(99) }},
		{"IPv6", netip.IPv6Loopback(), netip.IPv6Loopback(), func(c net.PacketConn) error {
			return ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst|ipv6.FlagInterface, true)
		}, func(c net.PacketConn) error { return ipv6.NewPacketConn(c).SetHopLimit(99) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, out := socket(t, tt.to.Is6()), socket(t, tt.to.Is6())
			if err := unix.Bind(in, address(tt.to)); err != nil {
				t.Fatal(err)
			}
			to, err := unix.Getsockname(in)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmsg.Prepare(out, "test", tt.hops); err != nil {
				t.Fatal(err)
			}
			if err := cmsg.Stamped(in); err != nil {
				t.Fatal(err)
			}
			if err := cmsg.Prepare(in, "test", tt.set); err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			if _, err := unix.SendmsgN(out, []byte("x"), cmsg.From(tt.from, loopback.Index), to, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}}, 5000); err != nil {
				t.Fatal(err)
			}
			b, oob := make([]byte, 10), make([]byte, 256)
			_, oobn, _, from, err := unix.Recvmsg(in, b, oob, unix.MSG_DONTWAIT)
			if err != nil {
				t.Fatal(err)
			}
			got := cmsg.Parse(oob[:oobn])
			if age := got.Stamp.Sub(before.Round(0)); age < -time.Millisecond || age > time.Minute {
				t.Errorf("stamped %v after it was sent", age)
			}
			got.Stamp = time.Time{}
			if diff := cmp.Diff(cmsg.Beside{Index: loopback.Index, Destination: tt.to, Hops: 99}, got, same); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var source netip.Addr
			switch from := from.(type) {
			case *unix.SockaddrInet4:
				source = netip.AddrFrom4(from.Addr)
			case *unix.SockaddrInet6:
				source = netip.AddrFrom16(from.Addr)
			}
			if source != tt.from {
				t.Errorf("from %s, want %s", source, tt.from)
			}
		})
	}
}

// TestDrops: a packet tells how many before it had no room in the socket.
func TestDrops(t *testing.T) {
	in, out := socket(t, false), socket(t, false)
	for option, value := range map[int]int{unix.SO_RXQ_OVFL: 1, unix.SO_RCVBUF: 0} { // 0 is the least
		if err := unix.SetsockoptInt(in, unix.SOL_SOCKET, option, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Bind(in, address(netip.MustParseAddr("127.0.0.1"))); err != nil {
		t.Fatal(err)
	}
	to, err := unix.Getsockname(in)
	if err != nil {
		t.Fatal(err)
	}
	send := func() {
		if err := unix.Sendto(out, make([]byte, 1000), 0, to); err != nil {
			t.Fatal(err)
		}
	}
	oob := make([]byte, 256)
	receive := func() (cmsg.Beside, error) {
		_, n, _, _, err := unix.Recvmsg(in, make([]byte, 1000), oob, unix.MSG_DONTWAIT)
		if err != nil {
			return cmsg.Beside{}, err
		}
		return cmsg.Parse(oob[:n]), nil
	}
	const sent = 100
	for range sent {
		send()
	}
	var kept uint32
	for b, err := receive(); err == nil; b, err = receive() {
		if kept++; b.Drops != 0 {
			t.Errorf("packet %d came after %d drops", kept, b.Drops)
		}
	}
	send()
	if b, err := receive(); err != nil || kept == 0 || b.Drops != sent-kept {
		t.Errorf("%d of %d kept, then %d drops told (%v)", kept, sent, b.Drops, err)
	}
}
