//go:build ipvskernel

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
)

// table is the kernel's IPVS table of a host in ipvsadm's words, sorted.
func (r *rig) table(h *lab.Host) string {
	r.Helper()
	out, err := h.Run("ipvsadm", "-S", "-n")
	r.check(err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// tableIs waits until the kernel's table is as given, lines in any order.
func (r *rig) tableIs(h *lab.Host, want ...string) {
	r.Helper()
	slices.Sort(want)
	_, err := lab.Eventually("table", 15*time.Second, func() bool { return r.table(h) == strings.Join(want, "\n") })
	if err != nil {
		r.Fatalf("table of %s (wanted)\n%s\n(have)\n%s", h.Name, strings.Join(want, "\n"), r.table(h))
	}
}

// serverFile is a service with servers on the client's host, which answer on
// several of its addresses.
const serverFile = `
[service.web]
listen    = "10.0.0.100:80/tcp"
scheduler = "wlc"
forward   = "dr"
check     = { type = "tcp", port = 8080, interval = "300ms", timeout = "200ms", rise = 1, fall = 2 }
[[service.web.server]]
address = "10.0.0.21"
[[service.web.server]]
address = "10.0.0.22"
weight = 3
`

// listen opens a TCP port on a host and closes every connection at once.
func (r *rig) listen(h *lab.Host, port int) net.Listener {
	r.Helper()
	return r.accept(h, port, func(net.Conn) {})
}

// accept serves a TCP port on a host; each connection is closed when serve
// returns.
func (r *rig) accept(h *lab.Host, port int, serve func(net.Conn)) net.Listener {
	r.Helper()
	var l net.Listener
	r.check(h.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	}))
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l
}

// servers gives the client's host the addresses of the servers.
func (r *rig) servers(addresses ...string) {
	r.Helper()
	for _, a := range addresses {
		_, err := r.client.Run("ip", "addr", "add", a+"/24", "dev", "eth0")
		r.check(err)
	}
}

const (
	webService = "-A -t 10.0.0.100:80 -s wlc"
	web21      = "-a -t 10.0.0.100:80 -r 10.0.0.21:80 -g -w 1"
	web22      = "-a -t 10.0.0.100:80 -r 10.0.0.22:80 -g -w 3"
	foreign    = "-A -u 10.9.9.9:53 -s rr"
)

// TestKernelCrash: the daemon is killed, a server is removed from the file, the
// next process makes the table exact; what is somebody else's stays.
func TestKernelCrash(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	r.servers("10.0.0.21", "10.0.0.22")
	r.listen(r.client, 8080)
	_, err := h.Run("ipvsadm", strings.Fields(foreign)...)
	r.check(err)
	d := r.lvsha(h, vrrpFile(3, fast)+serverFile)
	r.tableIs(h, webService, web21, web22, foreign)
	r.check(d.Kill())
	if got := r.table(h); !strings.Contains(got, web22) {
		t.Errorf("the kernel did not keep the table: %s", got)
	}
	without, _, _ := strings.Cut(serverFile, "[[service.web.server]]\naddress = \"10.0.0.22\"")
	d = r.lvsha(h, vrrpFile(3, fast)+without)
	r.tableIs(h, webService, web21, foreign)
	if s, err := d.Status(); err != nil || !slices.Equal(s.Foreign, []string{"10.9.9.9:53/udp"}) {
		t.Errorf("foreign: %v, %v", s.Foreign, err)
	}

	// A service that goes from the file while the daemon is dead goes from the kernel.
	r.check(d.Kill())
	d = r.lvsha(h, vrrpFile(3, fast)+strings.ReplaceAll(without, "100:80/tcp", "100:81/tcp"))
	r.tableIs(h, strings.ReplaceAll(webService, ":80", ":81"), strings.ReplaceAll(web21, ":80", ":81"), foreign)

	// And a stop leaves what is somebody else's.
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.tableIs(h, foreign)
}

// TestKernelAdoption: a table that is there and in use is taken over in place,
// before any check has had a verdict.
func TestKernelAdoption(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	for _, line := range []string{webService, web21, web22, "-a -t 10.0.0.100:80 -r 10.0.0.29:80 -g -w 1"} {
		_, err := h.Run("ipvsadm", strings.Fields(line)...)
		r.check(err)
	}
	r.servers("10.0.0.21", "10.0.0.22")
	r.listen(r.client, 8080)
	lost := make(chan string, 1)
	done := make(chan struct{})
	go func() { // nobody who was in use may be out for a moment
		defer close(lost)
		for {
			select {
			case <-done:
				return
			default:
			}
			text, err := h.ReadFile("/proc/thread-self/net/ip_vs")
			if err == nil && !(bytes.Contains(text, []byte("0A000015:0050")) && bytes.Contains(text, []byte("0A000016:0050"))) {
				select {
				case lost <- string(text):
				default:
				}
				return
			}
		}
	}()
	r.lvsha(h, vrrpFile(3, fast)+serverFile)
	r.tableIs(h, webService, web21, web22)
	close(done)
	if text, bad := <-lost; bad {
		t.Errorf("a server in use was taken out:\n%s", text)
	}
}

// TestKernelDrift: what somebody changes by hand is put back.
func TestKernelDrift(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	r.servers("10.0.0.21", "10.0.0.22")
	r.listen(r.client, 8080)
	d := r.lvsha(h, vrrpFile(3, fast)+serverFile+"[sync]\ninterface = \"eth0\"\nid = 7\n")
	r.tableIs(h, webService, web21, web22)
	for _, line := range []string{
		"-d -t 10.0.0.100:80 -r 10.0.0.21:80", "-e -t 10.0.0.100:80 -r 10.0.0.22:80 -g -w 9", "-E -t 10.0.0.100:80 -s rr", "-C",
	} {
		_, err := h.Run("ipvsadm", strings.Fields(line)...)
		r.check(err)
		r.tableIs(h, webService, web21, web22)
	}
	daemons := func() string {
		out, err := h.Run("ipvsadm", "--list", "--daemon")
		r.check(err)
		return out
	}
	running := func() bool {
		out := daemons()
		return strings.Contains(out, "master sync daemon (mcast=eth0, syncid=7") && strings.Contains(out, "backup sync daemon (mcast=eth0, syncid=7")
	}
	r.eventually("sync daemons", 5*time.Second, running)
	_, err := h.Run("ipvsadm", "--stop-daemon", "master")
	r.check(err)
	r.eventually("sync daemons again", 5*time.Second, running)
	if s, err := d.Status(); err != nil || s.IPVS.Repaired < 4 || s.Sync == nil || !slices.Equal(s.Sync.Daemons, []string{"master", "backup"}) {
		t.Errorf("status %+v, %+v, %v", s.IPVS, s.Sync, err)
	}
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	if out := daemons(); strings.Contains(out, "sync daemon") {
		t.Errorf("sync daemons after a stop: %s", out)
	}
}

// TestModuleAppears: without the module VRRP and checks go on and status
// says what to do; when it appears the table is filled. Only inside the
// machine, whose modules are nobody else's.
func TestModuleAppears(t *testing.T) {
	order, err := os.ReadFile("/etc/lab-modules")
	if err != nil {
		t.Log("this is not the machine: taking the kernel's IPVS away would hurt others")
		return
	}
	r := newRig(t)
	r.servers("10.0.0.21", "10.0.0.22")
	r.listen(r.client, 8080)
	rmmod := func() error {
		for range 3 { // schedulers before what they depend on
			loaded, err := os.ReadFile("/proc/modules")
			r.check(err)
			for line := range strings.Lines(string(loaded)) {
				if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "ip_vs") {
					_ = unix.DeleteModule(name, unix.O_NONBLOCK) // one in use goes in the next round
				}
			}
		}
		if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
			return fmt.Errorf("ip_vs is still loaded")
		}
		return nil
	}
	r.eventually("module gone", 20*time.Second, func() bool { return rmmod() == nil })
	d := r.lvsha(r.lvs[0], vrrpFile(3, fast)+serverFile)
	r.becomes(d, "active")
	r.eventually("verdicts and the advice", 5*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.Services[0].State == "up" && strings.Contains(s.IPVS.State, "modprobe ip_vs")
	})
	for line := range strings.Lines(string(order)) {
		path, options, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.Contains(path, "ip_vs") {
			continue
		}
		f, err := os.Open(path)
		r.check(err)
		err = unix.FinitModule(int(f.Fd()), options, 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			t.Fatalf("inserting %s: %v", path, err)
		}
	}
	r.tableIs(r.lvs[0], webService, web21, web22)
}

// TestKernelForwarding sends TCP and UDP through every forwarding method.
//
//	client .9 ── segment 10.0.0.0/24 ── lvs1 .1 .100 (.254 on the back) ── back 10.1.0.0/24 ── real .21
//	                     └── real .21 (direct routing, tunnel)
func TestKernelForwarding(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	real, err := r.net.Host("real")
	r.check(err)
	_, err = r.segment.Attach(real, "eth0", "10.0.0.21/24")
	r.check(err)
	back, err := r.net.Segment("back")
	r.check(err)
	_, err = back.Attach(h, "eth1", "10.1.0.1/24")
	r.check(err)
	_, err = back.Attach(real, "eth1", "10.1.0.21/24")
	r.check(err)
	for _, args := range []string{
		"link set tunl0 up", "addr add 10.0.0.100/32 dev tunl0", // a tunnel's end, and the address for direct routing
		"route add 10.0.0.9/32 via 10.1.0.254 table 9", "rule add from 10.1.0.21 table 9", // NAT answers go back through the director
	} {
		_, err := real.Run("ip", strings.Fields(args)...)
		if err != nil && strings.Contains(args, "tunl0 up") {
			_, err = real.Run("ip", "tunnel", "add", "tunl0", "mode", "ipip")
		}
		r.check(err)
	}
	for _, s := range []string{"all/arp_ignore=1", "all/arp_announce=2", "all/rp_filter=0", "tunl0/rp_filter=0", "eth0/rp_filter=0", "eth1/rp_filter=0"} {
		name, value, _ := strings.Cut(s, "=")
		r.check(real.Sysctl("net/ipv4/conf/"+name, value))
	}
	r.serveName(real, "real")
	file := `
[director.lvs1]
address = "10.0.0.1"
[vrrp.web]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["10.0.0.100/24", "10.1.0.254/24 dev eth1"]
`
	var d *lab.Daemon
	for _, c := range []struct {
		method, server string
		port           int
	}{
		{"dr", "10.0.0.21", 7000}, {"tun", "10.0.0.21", 7000}, {"nat", "10.1.0.21:7000", 7002},
	} {
		services := ""
		for _, protocol := range []string{"tcp", "udp"} {
			services += fmt.Sprintf(`
[service.%[1]s]
listen    = "10.0.0.100:%[2]d/%[1]s"
scheduler = "rr"
forward   = "%[3]s"
[[service.%[1]s.server]]
address = "%[4]s"
`, protocol, c.port, c.method, c.server)
		}
		r.check(h.WriteFile(configPath, []byte(file+services), 0o644))
		if d == nil {
			d = r.again(h)
			r.becomes(d, "active")
		} else if _, err := h.Run(r.binary, "reload"); err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(vip, uint16(c.port))
		for _, network := range []string{"tcp4", "udp4"} {
			r.eventually(c.method+" over "+network, 5*time.Second, func() bool { return r.askName(network, to) == "real" })
		}
	}
}

// serveName answers with a name on TCP and UDP port 7000 of every address.
func (r *rig) serveName(h *lab.Host, name string) {
	r.Helper()
	r.accept(h, 7000, func(c net.Conn) { io.WriteString(c, name) })
	// One socket for each address, so that an answer leaves from the address asked.
	out, err := h.Run("ip", "-br", "-4", "addr")
	r.check(err)
	for field := range strings.FieldsSeq(out) {
		prefix, err := netip.ParsePrefix(field)
		if err != nil {
			continue
		}
		var u net.PacketConn
		r.check(h.Do(func() (err error) {
			u, err = net.ListenPacket("udp4", netip.AddrPortFrom(prefix.Addr(), 7000).String())
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
				u.WriteTo([]byte(name), from)
			}
		}()
	}
}

// askName asks from the client who answers; empty when nobody does.
func (r *rig) askName(network string, to netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var conn net.Conn
	var err error
	if network == "tcp4" {
		conn, err = lab.Dial(ctx, r.client, to)
	} else {
		err = r.client.Do(func() (err error) {
			conn, err = net.Dial(network, to.String())
			return err
		})
	}
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if network == "udp4" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return ""
		}
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// TestKernelSorry: the sorry server answers while no server is up, and not
// when one is.
func TestKernelSorry(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	r.servers("10.0.0.21", "10.0.0.22")
	sorry := strings.Replace(serverFile, "[[service", "sorry = \"10.0.0.30\"\n[[service", 1)
	r.lvsha(h, vrrpFile(3, fast)+sorry)
	const row = "-a -t 10.0.0.100:80 -r 10.0.0.30:80 -g -w 1"
	r.tableIs(h, webService, row)
	l := r.listen(r.client, 8080)
	r.tableIs(h, webService, web21, web22)
	l.Close()
	r.tableIs(h, webService, row)
}

// TestKernelKeepalivedPeer: established connections survive a failover to
// keepalived and from it, with keepalived's own sync daemon.
func TestKernelKeepalivedPeer(t *testing.T) {
	if _, err := exec.LookPath("keepalived"); err != nil {
		t.Fatal(err)
	}
	for _, dies := range []string{"lvsha", "keepalived"} {
		t.Run(dies+" dies", func(t *testing.T) {
			r := newRig(t)
			real, err := r.net.Host("real")
			r.check(err)
			_, err = r.segment.Attach(real, "eth0", "10.0.0.21/24")
			r.check(err)
			r.check(real.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
			r.check(real.Sysctl("net/ipv4/conf/all/arp_announce", "2"))
			_, err = real.Run("ip", "addr", "add", "10.0.0.100/32", "dev", "lo")
			r.check(err)
			r.echo(real)

			ours := vrrpFile(3, fast) + `
[service.echo]
listen  = "10.0.0.100:7000/tcp"
scheduler = "rr"
forward = "dr"
[[service.echo.server]]
address = "10.0.0.21"
[sync]
interface = "eth0"
id = 5
`
			theirs := func(priority int) string {
				return strings.Replace(keepalivedFile(3, fast, priority), "global_defs {", "global_defs {\n  lvs_sync_daemon eth0 web id 5", 1) + `
virtual_server 10.0.0.100 7000 {
  protocol TCP
  lvs_sched rr
  lvs_method DR
  real_server 10.0.0.21 7000 {
  }
}
`
			}
			// keepalived's checker runs beside its VRRP process.
			startTheirs := func(i, priority int) *lab.Process {
				r.check(r.lvs[i].WriteFile("/run/keepalived.conf", []byte(theirs(priority)), 0o600))
				p, err := r.lvs[i].Start(nil, "keepalived", "--dont-fork", "--log-console", "-f", "/run/keepalived.conf")
				r.check(err)
				r.Cleanup(func() {
					if t.Failed() {
						t.Log(p.Output())
					}
				})
				return p
			}
			var kill func() error
			if dies == "lvsha" {
				kill = r.lvsha(r.lvs[0], ours).Kill
				startTheirs(1, 100)
			} else {
				kill = startTheirs(0, 150).Kill
				r.lvsha(r.lvs[1], ours)
			}
			r.holds(0, 15*time.Second)
			for _, h := range r.lvs {
				r.tableIs(h, "-A -t 10.0.0.100:7000 -s rr", "-a -t 10.0.0.100:7000 -r 10.0.0.21:7000 -g -w 1")
			}
			conns := make([]net.Conn, 50)
			exchange := func(limit time.Duration) (alive int) {
				for _, c := range conns {
					c.SetDeadline(time.Now().Add(limit))
					b := make([]byte, 4)
					if _, err := c.Write([]byte("ping")); err != nil {
						continue
					}
					if _, err := io.ReadFull(c, b); err == nil {
						alive++
					}
				}
				return alive
			}
			for i := range conns {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				conns[i], err = lab.Dial(ctx, r.client, netip.AddrPortFrom(vip, 7000))
				cancel()
				r.check(err)
				defer conns[i].Close()
			}
			for range 4 { // used, so that the kernel sends them, and over its two seconds
				if n := exchange(5 * time.Second); n != len(conns) {
					t.Fatalf("%d of %d echo before the failover", n, len(conns))
				}
				r.settle(time.Second)
			}
			r.check(r.ports[0].Cut())
			r.check(kill())
			r.eventually("the other has the address", 10*time.Second, func() bool { return r.has(r.lvs[1], vip) })
			if n := exchange(5 * time.Second); n != len(conns) {
				t.Errorf("%d of %d connections survived", n, len(conns))
			}
		})
	}
}

// echo answers on port 7000 with what it gets.
func (r *rig) echo(h *lab.Host) {
	r.Helper()
	r.accept(h, 7000, func(c net.Conn) { io.Copy(c, c) })
}
