package healthcheck_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvsha/healthcheck"
)

// TestPathStream: a stream's port is chosen when it connects, whatever the Monitor
// has picked for datagrams.
func TestPathStream(t *testing.T) {
	path := healthcheck.Path{VIP: addrPort(listen(t, func(net.Conn) {})), Mark: 0x4c560007, Source: netip.MustParseAddr("127.0.0.5"), Port: 33335}
	conn, err := healthcheck.Target{Path: path}.Dial(t.Context(), "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := addrPort(conn.LocalAddr().String()); got.Port() == path.Port || got.Addr() != path.Source {
		t.Errorf("from %s", got)
	}
	raw, err := healthcheck.Socket(conn)
	if err != nil {
		t.Fatal(err)
	}
	var mark, late int
	err = raw.Control(func(fd uintptr) {
		mark, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
		late, _ = unix.GetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT)
	})
	if err != nil || mark != 0x4c560007 || late != 1 {
		t.Errorf("mark %#x, IP_BIND_ADDRESS_NO_PORT %d, %v", mark, late, err)
	}
}

// TestPathWithoutCapability gives up CAP_NET_ADMIN on this thread.
func TestPathWithoutCapability(t *testing.T) {
	open := listen(t, func(net.Conn) {})
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	path := healthcheck.Path{VIP: addrPort(open), Mark: 5}
	if _, err := along(t, path, healthcheck.Check{Ask: healthcheck.TCP{}}); !errors.Is(err, healthcheck.ErrInconclusive) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("tcp: %v", err)
	}
	path.Port = 33334
	if _, err := (healthcheck.Target{Path: path}).Dial(t.Context(), "udp"); !errors.Is(err, healthcheck.ErrInconclusive) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("udp: %v", err)
	}
}
