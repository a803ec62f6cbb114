//go:build ipvskernel

package kernel_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	connsync "lvsha/sync"
)

// open opens connections to the service; every second one says something.
func open(r *rig.SyncRig, n int) []net.Conn {
	r.Helper()
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	limit := make(chan struct{}, 50)
	for i := range conns {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
			defer cancel()
			c, err := lab.Dial(ctx, r.Client, netip.AddrPortFrom(rig.VIP, 80))
			if err != nil {
				return
			}
			conns[i] = c
			if i%2 == 0 {
				rig.Echo(c)
			}
		})
	}
	all.Wait()
	for _, c := range conns {
		if c == nil {
			r.Fatal("a connection could not be opened")
		}
		r.Cleanup(func() { c.Close() })
	}
	return conns
}

// alive counts the connections that still echo.
func alive(conns []net.Conn) int {
	var all sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for _, c := range conns {
		all.Go(func() {
			if rig.Echo(c) {
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return n
}

// strangers has the client tell both directors of a connection, as anybody on the
// segment can: neither believes it.
func strangers(r *rig.SyncRig) {
	r.Helper()
	r.Run(r.Client, "ip", "route replace 224.0.0.0/4 dev eth0")
	var conn net.Conn
	r.Check(r.Client.Do(func() (err error) {
		conn, err = net.Dial("udp4", connsync.DefaultGroup().String())
		return err
	}))
	defer conn.Close()
	record := connsync.Record{
		Key:    connsync.ConnKey{Protocol: 6, Client: netip.MustParseAddrPort("10.99.99.99:9999"), Virtual: netip.AddrPortFrom(rig.VIP, 80)},
		Server: netip.MustParseAddrPort("10.0.0.21:80"), Flags: connsync.ForwardDR | connsync.NoOutput, State: 1,
	}
	for range 3 {
		for id := range uint8(4) {
			datagram, _ := connsync.AppendMessage(nil, id, 1024, []connsync.Record{record})
			_, err := conn.Write(datagram)
			r.Check(err)
		}
		r.Settle(300 * time.Millisecond)
	}
	for _, h := range r.LVS {
		table, err := h.ReadFile("/proc/thread-self/net/ip_vs_conn")
		r.Check(err)
		if strings.Contains(string(table), "0A636363") {
			r.Errorf("%s believes a stranger:\n%s", h.Name, table)
		}
	}
}

// TestKernelSync: connections, half of which never said anything, survive that the
// backup is rebooted and the active one dies, that the old one comes back and takes
// its addresses again, and a stop.
func TestKernelSync(t *testing.T) {
	for _, transport := range []string{"multicast", "channel"} {
		t.Run(transport, func(t *testing.T) {
			text := "[sync]\ntransport = \"" + transport + "\"\n"
			if transport == "multicast" {
				text += "interface = \"eth0\"\nprotect = true\n" // which must not keep out what is handed over
			}
			r := rig.NewSyncRig(t, text)
			const count = 60
			conns := open(r, count)

			r.PowerOff(1)
			booted := time.Now()
			r.PowerOn(1)
			result := r.Synced(1, booted)
			t.Logf("after a reboot: %s", result.Text)
			if result.Records < count {
				t.Errorf("%d records came, want %d", result.Records, count)
			}

			strangers(r)
			r.PowerOff(0)
			r.Becomes(r.Daemons[1], "active")
			if n := alive(conns); n != count {
				t.Fatalf("%d of %d connections survived the death of the active director", n, count)
			}

			booted = time.Now()
			r.PowerOn(0)
			result = r.Synced(0, booted)
			t.Logf("after the return: %s", result.Text)
			r.Becomes(r.Daemons[0], "active")
			if n := alive(conns); n != count {
				t.Fatalf("%d of %d connections survived the return", n, count)
			}

			// A stop gives away what came a moment ago.
			conns = append(conns, open(r, count)...)
			if code, err := r.Daemons[0].End(syscall.SIGTERM); code != 0 || err != nil {
				t.Errorf("stop: %d, %v", code, err)
			}
			if n := alive(conns); n != len(conns) {
				t.Fatalf("%d of %d connections survived the stop", n, len(conns))
			}
		})
	}
}
