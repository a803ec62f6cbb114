//go:build ipvskernel

package kernel_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// realServers are hosts at 10.0.0.21 and on, which have the virtual address and answer on
// TCP port 7000 with the last byte of their address and then with what they get, and to
// datagrams with that byte.
func realServers(r *rig.Rig, n int) {
	r.Helper()
	for i := range n {
		name := fmt.Sprintf("real%d", 21+i)
		h, err := r.Net.Host(name)
		r.Check(err)
		_, err = r.Segment.Attach(h, "eth0", fmt.Sprintf("10.0.0.%d/24", 21+i))
		r.Check(err)
		r.Check(h.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
		r.Check(h.Sysctl("net/ipv4/conf/all/arp_announce", "2"))
		_, err = h.Run("ip", "addr", "add", "10.0.0.100/32", "dev", "lo")
		r.Check(err)
		me := []byte{byte(21 + i)}
		r.Accept(h, 7000, func(c net.Conn) {
			if _, err := c.Write(me); err == nil {
				io.Copy(c, c)
			}
		})
		var u net.PacketConn
		r.Check(h.Do(func() (err error) {
			u, err = net.ListenPacket("udp4", "10.0.0.100:7000")
			return err
		}))
		r.Cleanup(func() { u.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo(me, from)
			}
		}()
	}
}

// long is a connection that stays.
type long struct {
	net.Conn
	server byte // the last of its address
}

// dialMany opens connections from the client and learns where they got to.
func dialMany(r *rig.Rig, n int) []long {
	r.Helper()
	var out []long
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := lab.Dial(ctx, r.Client, netip.AddrPortFrom(rig.VIP, 7000))
		cancel()
		r.Check(err)
		r.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 1)
		_, err = io.ReadFull(c, b)
		r.Check(err)
		out = append(out, long{c, b[0]})
	}
	return out
}

// echoes counts the connections that still do.
func echoes(conns []long) (alive int) {
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 4)
		if _, err := c.Write([]byte("ping")); err != nil {
			continue
		}
		if _, err := io.ReadFull(c, b); err == nil && string(b) == "ping" {
			alive++
		}
	}
	return alive
}

// on counts the connections on a server.
func on(conns []long, server byte) (n int) {
	for _, c := range conns {
		if c.server == server {
			n++
		}
	}
	return n
}

// abort ends connections without leaving anything to wait for.
func abort(conns []long, server byte) {
	for _, c := range conns {
		if c.server == server {
			if t, ok := c.Conn.(*net.TCPConn); ok {
				t.SetLinger(0)
			}
			c.Close()
		}
	}
}

// command runs lvsha on a director.
func command(r *rig.Rig, h *lab.Host, args ...string) string {
	r.Helper()
	out, err := h.Run(r.Binary, args...)
	r.Check(err)
	return out
}

const echoFile = `
[service.echo]
listen    = "10.0.0.100:7000/tcp"
scheduler = "rr"
forward   = "dr"
[[service.echo.server]]
address = "10.0.0.21"
[[service.echo.server]]
address = "10.0.0.22"
`

// stateOf is the state of a server in status.
func stateOf(d *lab.Daemon, address string) string {
	s, err := d.Status()
	if err != nil {
		return err.Error()
	}
	for _, v := range s.Services {
		for _, server := range v.Servers {
			if server.Address == address {
				return server.State
			}
		}
	}
	return ""
}

// TestKernelDrain: 200 clients stay where they are while one of two servers drains, new
// ones go to the other, the drain may be cancelled halfway, outlives kill -9, and ends when
// the last connection is gone.
func TestKernelDrain(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	realServers(r, 2)
	file := rig.VRRPFile(3, rig.Fast) + echoFile
	d := r.Lvsha(h, file)
	r.Becomes(d, "active")
	const service, row21, row22 = "-A -t 10.0.0.100:7000 -s rr", "-a -t 10.0.0.100:7000 -r 10.0.0.21:7000 -g -w 1", "-a -t 10.0.0.100:7000 -r 10.0.0.22:7000 -g -w 1"
	r.TableIs(h, service, row21, row22)
	old := dialMany(r, 200)
	if n := on(old, 21); n != 100 {
		t.Fatalf("%d of 200 connections on the first server", n)
	}
	quiet := strings.Replace(row21, "-w 1", "-w 0", 1)
	command(r, h, "drain", "echo", "10.0.0.21")
	r.TableIs(h, service, quiet, row22)
	if n := on(dialMany(r, 50), 21); n != 0 {
		t.Errorf("%d new connections on a server that drains", n)
	}
	if n := echoes(old); n != 200 {
		t.Errorf("%d of 200 connections live while one server drains", n)
	}
	command(r, h, "undrain", "echo", "10.0.0.21")
	r.TableIs(h, service, row21, row22)
	back := dialMany(r, 50)
	if n := on(back, 21); n < 20 {
		t.Errorf("%d of 50 connections on a server that drains no more", n)
	}
	command(r, h, "drain", "echo", "10.0.0.21:7000")
	r.Check(d.Kill())
	d = r.Again(h)
	r.Becomes(d, "active")
	r.Settle(2 * time.Second)
	r.TableIs(h, service, quiet, row22)
	if n := echoes(slices.Concat(old, back)); n != 250 {
		t.Errorf("%d of 250 connections live", n)
	}
	done := make(chan error, 1)
	go func() {
		_, err := h.Run(r.Binary, "drain", "--wait", "echo", "10.0.0.21")
		done <- err
	}()
	abort(back, 21)
	r.Settle(3 * time.Second)
	if got := stateOf(d, "10.0.0.21:7000"); got != "draining" {
		t.Errorf("a server with 100 connections is %s", got)
	}
	abort(old, 21)
	tableWithin(r, h, 40*time.Second, service, row22)
	r.Check(<-done)
	if got := stateOf(d, "10.0.0.21:7000"); got != "disabled" {
		t.Errorf("a server that has drained is %s", got)
	}
	if n, want := echoes(old), on(old, 22); n != want {
		t.Errorf("%d of %d connections of the other server live", n, want)
	}
}

// tableWithin is tableIs with another limit.
func tableWithin(r *rig.Rig, h *lab.Host, limit time.Duration, want ...string) {
	r.Helper()
	slices.Sort(want)
	r.Eventually("table\n"+strings.Join(want, "\n"), limit, func() bool { return r.Table(h) == strings.Join(want, "\n") })
}

// TestKernelDrainOthers: UDP is gone when its timeout has passed, and a client that
// persistence remembers keeps a server until the deadline.
func TestKernelDrainOthers(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	realServers(r, 2)
	file := strings.Replace(echoFile, "forward ", "persistence = \"100s\"\nforward ", 1)
	udp := strings.NewReplacer("service.echo", "service.dgram", "/tcp", "/udp").Replace(echoFile)
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+file+udp)
	r.Becomes(d, "active")
	_, err := h.Run("ipvsadm", "--set", "900", "5", "3")
	r.Check(err)
	conns := dialMany(r, 10)
	server := conns[0].server
	if n := on(conns, server); n != 10 {
		t.Fatalf("%d of 10 connections on one server", n)
	}
	address := fmt.Sprintf("10.0.0.%d", server)
	var u net.Conn
	r.Check(r.Client.Do(func() (err error) {
		u, err = net.Dial("udp4", "10.0.0.100:7000")
		return err
	}))
	defer u.Close()
	ask := func() byte {
		b := make([]byte, 1)
		for range 3 {
			if _, err := u.Write([]byte("?")); err != nil {
				continue
			}
			u.SetDeadline(time.Now().Add(time.Second))
			if _, err := u.Read(b); err == nil {
				return b[0]
			}
		}
		return 0
	}
	dgram := fmt.Sprintf("10.0.0.%d", ask())
	command(r, h, "drain", "dgram", dgram)
	command(r, h, "drain", "echo", address)
	began := time.Now()
	for time.Since(began) < 3*time.Second { // in which its 3 s begin anew each time
		if got := fmt.Sprintf("10.0.0.%d", ask()); got != dgram {
			t.Errorf("a datagram of a client got to %s, and its server is %s", got, dgram)
		}
		r.Settle(300 * time.Millisecond)
	}
	row := func(network, server string, weight int) string {
		return fmt.Sprintf("-a -%s 10.0.0.100:7000 -r %s:7000 -g -w %d", network, server, weight)
	}
	r.Eventually("the datagrams are forgotten", 30*time.Second, func() bool { return !strings.Contains(r.Table(h), row("u", dgram, 0)) })
	abort(conns, server)
	// Long before the 100 s of persistence are over.
	var last control.Server
	_, err = lab.Eventually("", 60*time.Second, func() bool {
		last = r.Server(d, fmt.Sprintf("echo/%d", server-21))
		return last.State == "draining" && last.Active+last.Inactive == 0
	})
	if err != nil || last.Templates != 1 {
		t.Errorf("with a client remembered: %s, %d active, %d inactive, %d templates", last.State, last.Active, last.Inactive, last.Templates)
	}
	if !strings.Contains(r.Table(h), row("t", address, 0)) {
		t.Errorf("the server that a client is remembered for is gone:\n%s", r.Table(h))
	}
	command(r, h, "drain", "--for", "1s", "echo", address)
	r.Eventually("the deadline", 30*time.Second, func() bool { return !strings.Contains(r.Table(h), row("t", address, 0)) })
	if n := on(dialMany(r, 5), server); n != 0 {
		t.Errorf("%d connections got to a server that is out", n)
	}
}

// TestKernelAdoptKeepalived: keepalived's table with 500 live connections is taken over
// without touching one.
func TestKernelAdoptKeepalived(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	realServers(r, 2)
	_, err := h.Run("ip", "addr", "add", "10.0.0.100/24", "dev", "eth0")
	r.Check(err)
	r.Check(h.WriteFile("/run/keepalived.conf", []byte(`
virtual_server 10.0.0.100 7000 {
  protocol TCP
  delay_loop 1
  lvs_sched wrr
  lvs_method DR
  persistence_timeout 360
  real_server 10.0.0.21 7000 {
    weight 2
    TCP_CHECK {
    }
  }
  real_server 10.0.0.22 7000 {
    weight 3
    TCP_CHECK {
    }
  }
}
virtual_server 10.0.0.100 53 {
  protocol UDP
  lvs_sched sh
  lvs_method DR
  real_server 10.0.0.21 53 {
  }
}
`), 0o600))
	k, err := h.Start(nil, "keepalived", "--dont-fork", "--log-console", "--check", "-f", "/run/keepalived.conf")
	r.Check(err)
	rows := []string{
		"-A -t 10.0.0.100:7000 -s wrr -p 360", "-a -t 10.0.0.100:7000 -r 10.0.0.21:7000 -g -w 2", "-a -t 10.0.0.100:7000 -r 10.0.0.22:7000 -g -w 3",
		"-A -u 10.0.0.100:53 -s sh", "-a -u 10.0.0.100:53 -r 10.0.0.21:53 -g -w 1",
	}
	r.TableIs(h, rows...)
	conns := dialMany(r, 500)
	if n := echoes(conns); n != 500 {
		t.Fatalf("%d of 500 connections live with keepalived", n)
	}
	r.Check(k.Kill())
	r.TableIs(h, rows...)
	file := `
[service.echo]
listen      = "10.0.0.100:7000/tcp"
owner       = "none"
scheduler   = "wrr"
forward     = "dr"
persistence = "360s"
check       = { type = "tcp", interval = "1s" }
[[service.echo.server]]
address = "10.0.0.21"
weight  = 2
[[service.echo.server]]
address = "10.0.0.22"
weight  = 3
[service.dns]
listen    = "10.0.0.100:53/udp"
owner     = "none"
scheduler = "sh"
forward   = "dr"
[[service.dns.server]]
address = "10.0.0.21"
`
	tap := rig.StartWiretap(r, h)
	defer tap.Close()
	d := r.Lvsha(h, file)
	r.Eventually("lvsha has taken over", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok" && len(s.Services) == 2 && stateOf(d, "10.0.0.22:7000") == "up"
	})
	r.Settle(3 * time.Second)
	if _, changes, _ := tap.Seen(); changes != 0 {
		t.Errorf("%d changes to take over an equal table:\n%s", changes, d.Output())
	}
	r.TableIs(h, rows...)
	if got := command(r, h, "plan"); got != "nothing to change\n" {
		t.Errorf("the plan:\n%s", got)
	}
	if n := echoes(conns); n != 500 {
		t.Errorf("%d of 500 connections live with lvsha", n)
	}
	// What differs is exactly what the plan says, with what it cuts.
	next := strings.Replace(file, "weight  = 3", "weight  = 4", 1)
	next, _, _ = strings.Cut(next, "[service.dns]")
	gone := strings.Replace(next, "[[service.echo.server]]\naddress = \"10.0.0.21\"\nweight  = 2\n", "", 1)
	r.Check(h.WriteFile("/run/next.toml", []byte(gone), 0o644))
	server := conns[0].server
	got := command(r, h, "plan", "-c", "/run/next.toml")
	for _, line := range []string{
		"set weight of server 10.0.0.22:7000 of 10.0.0.100:7000/tcp from 3 to 4", "remove server 10.0.0.21:7000 from 10.0.0.100:7000/tcp", "remove service 10.0.0.100:53/udp",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("the plan misses %q:\n%s", line, got)
		}
	}
	want := "no connection is cut"
	if server == 21 {
		want = "cuts 500 connections and 1 template in all"
	}
	if !strings.Contains(got, want) {
		t.Errorf("the plan misses %q:\n%s", want, got)
	}
	r.Check(h.WriteFile(rig.ConfigPath, []byte(next), 0o644))
	command(r, h, "reload")
	r.TableIs(h, "-A -t 10.0.0.100:7000 -s wrr -p 360", "-a -t 10.0.0.100:7000 -r 10.0.0.21:7000 -g -w 2", "-a -t 10.0.0.100:7000 -r 10.0.0.22:7000 -g -w 4")
	if n := echoes(conns); n != 500 {
		t.Errorf("%d of 500 connections live after a reload", n)
	}
}

// hashFile has services whose schedulers go by the order of the servers.
func hashFile(servers ...int) string {
	var b strings.Builder
	for i, s := range []string{"mh", "sh"} {
		fmt.Fprintf(&b, "[service.%s]\nlisten = \"10.0.0.100:%d/udp\"\nowner = \"none\"\nforward = \"dr\"\nscheduler = %q\nscheduler_flags = [%q, %q]\n", s, 5001+i, s, s+"-fallback", s+"-port")
		for _, n := range servers {
			fmt.Fprintf(&b, "[[service.%s.server]]\naddress = \"10.0.0.%d\"\n", s, n)
		}
	}
	return b.String()
}

// TestKernelHash: two directors with different pasts choose the same server for each of
// many clients. One had all servers from the start; the other got them one by one in
// another order, lost one to somebody's ipvsadm, and drained one.
func TestKernelHash(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	const clients = 150
	for _, h := range r.LVS {
		_, err := h.Run("ip", "addr", "add", "10.9.0.1/24", "dev", "lo") // all of it, on lo
		r.Check(err)
	}
	r.Lvsha(r.LVS[0], hashFile(21, 22, 23, 24, 25))
	h := r.LVS[1]
	r.Lvsha(h, hashFile(25, 23))
	for i, want := range []int{10, 4} {
		r.Eventually("the servers are in the kernel", 30*time.Second, func() bool { return strings.Count(r.Table(r.LVS[i]), "-w 1") == want })
	}
	for _, servers := range [][]int{{25, 23, 21}, {21, 22, 23, 25}, {25, 24, 23, 22, 21}} {
		r.Check(h.WriteFile(rig.ConfigPath, []byte(hashFile(servers...)), 0o644))
		command(r, h, "reload")
	}
	_, err := h.Run("ipvsadm", "-d", "-u", "10.0.0.100:5001", "-r", "10.0.0.22:5001")
	r.Check(err)
	_, err = h.Run("ipvsadm", "-d", "-u", "10.0.0.100:5002", "-r", "10.0.0.23:5002")
	r.Check(err)
	command(r, h, "drain", "--all-services", "10.0.0.24")
	r.Settle(3 * time.Second)
	command(r, h, "undrain", "--all-services", "10.0.0.24")
	list := func(h *lab.Host) string {
		out, err := h.Run("ipvsadm", "-S", "-n") // the newest server first
		r.Check(err)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(strings.Fields(a)[2], strings.Fields(b)[2]) })
		return strings.Join(lines, "\n")
	}
	r.Eventually("both lists in the same order", 30*time.Second, func() bool {
		a, b := list(r.LVS[0]), list(r.LVS[1])
		return a == b && strings.Count(a, "-w 1") == 10
	})
	var chosen [2]map[string]string
	for i, h := range r.LVS {
		for n := range clients {
			from := net.UDPAddr{IP: net.IPv4(10, 9, 0, byte(1+n)), Port: 20000 + 37*n}
			// One socket for both: a port is not free as soon as its socket is closed here,
			// for a program that is just being started has a copy of that.
			r.Check(h.Do(func() error {
				c, err := net.ListenUDP("udp4", &from)
				if err != nil {
					return err
				}
				defer c.Close()
				for _, port := range []int{5001, 5002} {
					if _, err := c.WriteToUDP([]byte("?"), &net.UDPAddr{IP: rig.VIP.AsSlice(), Port: port}); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		text, err := h.ReadFile("/proc/thread-self/net/ip_vs_conn")
		r.Check(err)
		chosen[i] = make(map[string]string)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 6 && f[0] == "UDP" {
				chosen[i][strings.Join(f[1:5], " ")] = f[5]
			}
		}
	}
	if len(chosen[0]) != 2*clients || len(chosen[1]) != 2*clients {
		t.Errorf("%d and %d connections, want %d", len(chosen[0]), len(chosen[1]), 2*clients)
	}
	differ, per := 0, make(map[string]int)
	for client, server := range chosen[0] {
		per[server]++
		if chosen[1][client] != server {
			differ++
		}
	}
	if differ > 0 || len(per) != 5 {
		t.Errorf("%d of %d clients would change the server in a failover; the servers got %v", differ, 2*clients, per)
	}
}
