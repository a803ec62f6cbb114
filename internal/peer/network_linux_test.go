package peer_test

import (
	"net"
	"net/netip"
	"testing"

	"lvsha/internal/peer"
)

// freePort is a port of the loopback interface that nobody has.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// TestFreebind: an address can be bound before the machine has it.
func TestFreebind(t *testing.T) {
	for _, a := range []string{"192.0.2.77", "2001:db8::77"} {
		l, err := peer.NewNetwork().Listen(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(a), freePort(t)))
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		l.Close()
	}
}

// TestDialPrivileged: the channel's connections come from ports that no ordinary user of
// a machine can have, as many as there are, and from any when those are taken.
func TestDialPrivileged(t *testing.T) {
	l, err := peer.NewNetwork().Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := l.Addr().(*net.TCPAddr).AddrPort()
	low := 0
	for range 60 {
		conn, err := peer.NewNetwork().Dial(t.Context(), to.Addr(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.LocalAddr().(*net.TCPAddr).Port < 1024 {
			low++
		}
	}
	if low < 8 || low == 60 {
		t.Errorf("%d of 60 connections come from a privileged port", low)
	}
}
