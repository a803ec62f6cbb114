//go:build ipvskernel

package main_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/lab"
	connsync "lvsha/sync"
)

// syncRig is a pair of directors before two servers by direct routing, that can be
// rebooted.
type syncRig struct {
	*rig
	file    string
	keys    [2][]byte
	daemons [2]*lab.Daemon
}

// newSyncRig starts both directors with connection synchronisation as in the text.
func newSyncRig(t testing.TB, sync string) *syncRig {
	t.Helper()
	r := &syncRig{rig: newRig(t)}
	for _, name := range []string{"21", "22"} {
		real, err := r.net.Host("real" + name)
		r.check(err)
		_, err = r.segment.Attach(real, "eth0", "10.0.0."+name+"/24")
		r.check(err)
		for _, s := range []string{"all/arp_ignore=1", "all/arp_announce=2"} {
			key, value, _ := strings.Cut(s, "=")
			r.check(real.Sysctl("net/ipv4/conf/"+key, value))
		}
		_, err = real.Run("ip", "addr", "add", vip.String()+"/32", "dev", "lo")
		r.check(err)
		r.accept(real, 80, func(c net.Conn) { io.Copy(c, c) })
	}
	pins := [2]string{}
	for i, h := range r.lvs {
		pins[i] = r.newKey(h)
		var err error
		r.keys[i], err = h.ReadFile(keyPath)
		r.check(err)
	}
	file := vrrpFile(3, fast)
	for i, name := range []string{"lvs1", "lvs2"} {
		head := "[director." + name + "]\n"
		file = strings.Replace(file, head, head+fmt.Sprintf("key = %q\n", pins[i]), 1)
	}
	r.file = "manage_sysctls = true\n" + file + `
[peer]
key_file = "` + keyPath + `"
[service.web]
listen    = "10.0.0.100:80/tcp"
scheduler = "rr"
forward   = "dr"
[[service.web.server]]
address = "10.0.0.21"
[[service.web.server]]
address = "10.0.0.22"
` + sync
	for i := range r.lvs {
		r.daemons[i] = r.lvsha(r.lvs[i], r.file)
	}
	r.becomes(r.daemons[0], "active")
	r.becomes(r.daemons[1], "backup")
	return r
}

// powerOff takes the power from a director.
func (r *syncRig) powerOff(i int) {
	r.Helper()
	r.check(r.net.PowerOff(r.lvs[i]))
}

// powerOn boots a director that knows nothing any more.
func (r *syncRig) powerOn(i int) {
	r.Helper()
	name := fmt.Sprintf("lvs%d", i+1)
	var err error
	r.lvs[i], err = r.net.Host(name)
	r.check(err)
	r.ports[i], err = r.segment.Attach(r.lvs[i], "eth0", address[name].String()+"/24")
	r.check(err)
	r.check(r.lvs[i].Sysctl("net/ipv4/ip_forward", "1"))
	r.check(r.lvs[i].WriteFile(keyPath, r.keys[i], 0o600))
	r.daemons[i] = r.lvsha(r.lvs[i], r.file)
}

// partner is what a director says of the other one.
func (r *syncRig) partner(i int) (control.Sync, control.SyncPartner) {
	s, err := r.daemons[i].Status()
	if err != nil || s.Sync == nil || len(s.Sync.Partners) != 1 {
		return control.Sync{}, control.SyncPartner{}
	}
	return *s.Sync, s.Sync.Partners[0]
}

// synced waits until a director has found all connections of the other one to be
// there, at a look that began after the time.
func (r *syncRig) synced(i int, after time.Time) control.SyncResult {
	r.Helper()
	return r.syncedWithin(30*time.Second, i, after)
}

func (r *syncRig) syncedWithin(limit time.Duration, i int, after time.Time) control.SyncResult {
	r.Helper()
	var result control.SyncResult
	_, err := lab.Eventually("connections of the other director", limit, func() bool {
		s, p := r.partner(i)
		if p.Last != nil {
			result = *p.Last
		}
		return s.State == "in sync" && p.Verified != nil && p.Last.Began.After(after)
	})
	if err != nil {
		s, p := r.partner(i)
		r.Fatalf("%v: %+v, %+v, %+v", err, s, p, p.Last)
	}
	return result
}

// open opens connections to the service; every second one says something.
func (r *syncRig) open(n int) []net.Conn {
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
			c, err := lab.Dial(ctx, r.client, netip.AddrPortFrom(vip, 80))
			if err != nil {
				return
			}
			conns[i] = c
			if i%2 == 0 {
				echo(c)
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

// echo says something and hears it.
func echo(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(8 * time.Second))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err == nil
}

// alive counts the connections that still echo.
func alive(conns []net.Conn) int {
	var all sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for _, c := range conns {
		all.Go(func() {
			if echo(c) {
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
func (r *syncRig) strangers() {
	r.Helper()
	r.run(r.client, "ip", "route replace 224.0.0.0/4 dev eth0")
	var conn net.Conn
	r.check(r.client.Do(func() (err error) {
		conn, err = net.Dial("udp4", connsync.DefaultGroup().String())
		return err
	}))
	defer conn.Close()
	record := connsync.Record{
		Key:    connsync.ConnKey{Protocol: 6, Client: netip.MustParseAddrPort("10.99.99.99:9999"), Virtual: netip.AddrPortFrom(vip, 80)},
		Server: netip.MustParseAddrPort("10.0.0.21:80"), Flags: connsync.ForwardDR | connsync.NoOutput, State: 1,
	}
	for range 3 {
		for id := range uint8(4) {
			datagram, _ := connsync.AppendMessage(nil, id, 1024, []connsync.Record{record})
			_, err := conn.Write(datagram)
			r.check(err)
		}
		r.settle(300 * time.Millisecond)
	}
	for _, h := range r.lvs {
		table, err := h.ReadFile("/proc/thread-self/net/ip_vs_conn")
		r.check(err)
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
			r := newSyncRig(t, text)
			const count = 60
			conns := r.open(count)

			r.powerOff(1)
			booted := time.Now()
			r.powerOn(1)
			result := r.synced(1, booted)
			t.Logf("after a reboot: %s", result.Text)
			if result.Records < count {
				t.Errorf("%d records came, want %d", result.Records, count)
			}

			r.strangers()
			r.powerOff(0)
			r.becomes(r.daemons[1], "active")
			if n := alive(conns); n != count {
				t.Fatalf("%d of %d connections survived the death of the active director", n, count)
			}

			booted = time.Now()
			r.powerOn(0)
			result = r.synced(0, booted)
			t.Logf("after the return: %s", result.Text)
			r.becomes(r.daemons[0], "active")
			if n := alive(conns); n != count {
				t.Fatalf("%d of %d connections survived the return", n, count)
			}

			// A stop gives away what came a moment ago.
			conns = append(conns, r.open(count)...)
			if code, err := r.daemons[0].End(syscall.SIGTERM); code != 0 || err != nil {
				t.Errorf("stop: %d, %v", code, err)
			}
			if n := alive(conns); n != len(conns) {
				t.Fatalf("%d of %d connections survived the stop", n, len(conns))
			}
		})
	}
}
