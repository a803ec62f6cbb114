package healthcheck

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestConnectorLateLook holds that connections which were made in time pass although
// nobody looked before their deadlines, however many they are.
func TestConnectorLateLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed, failed := 0, 0
	c, err := newConnector(func(all []landing) {
		for _, f := range all {
			if f.err == nil {
				passed++
			} else {
				failed++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close(nil)
	const n = 1500 // more than one look takes in
	server := l.Addr().(*net.TCPAddr).AddrPort()
	start := func(server netip.AddrPort) {
		target := Target{Server: server, Check: Check{Timeout: 50 * time.Millisecond}}
		if err := c.start(&entry{target: target}, target, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	c.setPolled(true)
	for range n {
		start(server)
	}
	// All are in the listener's queue by now, and past their time.
	<-time.After(100 * time.Millisecond)
	if err := c.poll(time.Now()); err != nil {
		t.Fatal(err)
	}
	if passed != n || failed != 0 {
		t.Errorf("%d passed and %d failed of %d", passed, failed, n)
	}
}
