//go:build ipvskernel

package kernel_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

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

const (
	webService = "-A -t 10.0.0.100:80 -s wlc"
	web21      = "-a -t 10.0.0.100:80 -r 10.0.0.21:80 -g -w 1"
	web22      = "-a -t 10.0.0.100:80 -r 10.0.0.22:80 -g -w 3"
	foreign    = "-A -u 10.9.9.9:53 -s rr"
)

// TestKernelCrash: the daemon is killed, a server is removed from the file, the
// next process makes the table exact; what is somebody else's stays.
func TestKernelCrash(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Servers("10.0.0.21", "10.0.0.22")
	r.Listen(r.Client, 8080)
	_, err := h.Run("ipvsadm", strings.Fields(foreign)...)
	r.Check(err)
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+serverFile)
	r.TableIs(h, webService, web21, web22, foreign)
	r.Check(d.Kill())
	if got := r.Table(h); !strings.Contains(got, web22) {
		t.Errorf("the kernel did not keep the table: %s", got)
	}
	without, _, _ := strings.Cut(serverFile, "[[service.web.server]]\naddress = \"10.0.0.22\"")
	d = r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+without)
	r.TableIs(h, webService, web21, foreign)
	if s, err := d.Status(); err != nil || !slices.Equal(s.Foreign, []string{"10.9.9.9:53/udp"}) {
		t.Errorf("foreign: %v, %v", s.Foreign, err)
	}

	// A service that goes from the file while the daemon is dead goes from the kernel.
	r.Check(d.Kill())
	d = r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+strings.ReplaceAll(without, "100:80/tcp", "100:81/tcp"))
	r.TableIs(h, strings.ReplaceAll(webService, ":80", ":81"), strings.ReplaceAll(web21, ":80", ":81"), foreign)

	// And a stop leaves what is somebody else's.
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.TableIs(h, foreign)
}

// TestKernelAdoption: a table that is there and in use is taken over in place,
// before any check has had a verdict.
func TestKernelAdoption(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	for _, line := range []string{webService, web21, web22, "-a -t 10.0.0.100:80 -r 10.0.0.29:80 -g -w 1"} {
		_, err := h.Run("ipvsadm", strings.Fields(line)...)
		r.Check(err)
	}
	r.Servers("10.0.0.21", "10.0.0.22")
	r.Listen(r.Client, 8080)
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
	r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+serverFile)
	r.TableIs(h, webService, web21, web22)
	close(done)
	if text, bad := <-lost; bad {
		t.Errorf("a server in use was taken out:\n%s", text)
	}
}

// TestKernelDrift: what somebody changes by hand is put back.
func TestKernelDrift(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Servers("10.0.0.21", "10.0.0.22")
	r.Listen(r.Client, 8080)
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+serverFile+"[sync]\ninterface = \"eth0\"\nid = 7\n")
	r.TableIs(h, webService, web21, web22)
	for _, line := range []string{
		"-d -t 10.0.0.100:80 -r 10.0.0.21:80", "-e -t 10.0.0.100:80 -r 10.0.0.22:80 -g -w 9", "-E -t 10.0.0.100:80 -s rr", "-C",
	} {
		_, err := h.Run("ipvsadm", strings.Fields(line)...)
		r.Check(err)
		r.TableIs(h, webService, web21, web22)
	}
	daemons := func() string {
		out, err := h.Run("ipvsadm", "--list", "--daemon")
		r.Check(err)
		return out
	}
	running := func() bool {
		out := daemons()
		return strings.Contains(out, "master sync daemon (mcast=eth0, syncid=7") && strings.Contains(out, "backup sync daemon (mcast=eth0, syncid=7")
	}
	r.Eventually("sync daemons", 5*time.Second, running)
	_, err := h.Run("ipvsadm", "--stop-daemon", "master")
	r.Check(err)
	r.Eventually("sync daemons again", 5*time.Second, running)
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

// TestKernelForwarding sends TCP and UDP through every forwarding method.
//
//	client .9 ── segment 10.0.0.0/24 ── lvs1 .1 .100 (.254 on the back) ── back 10.1.0.0/24 ── real .21
//	                     └── real .21 (direct routing, tunnel)
func TestKernelForwarding(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	real, err := r.Net.Host("real")
	r.Check(err)
	_, err = r.Segment.Attach(real, "eth0", "10.0.0.21/24")
	r.Check(err)
	back, err := r.Net.Segment("back")
	r.Check(err)
	_, err = back.Attach(h, "eth1", "10.1.0.1/24")
	r.Check(err)
	_, err = back.Attach(real, "eth1", "10.1.0.21/24")
	r.Check(err)
	for _, args := range []string{
		"link set tunl0 up", "addr add 10.0.0.100/32 dev tunl0", // a tunnel's end, and the address for direct routing
		"route add 10.0.0.9/32 via 10.1.0.254 table 9", "rule add from 10.1.0.21 table 9", // NAT answers go back through the director
	} {
		_, err := real.Run("ip", strings.Fields(args)...)
		if err != nil && strings.Contains(args, "tunl0 up") {
			_, err = real.Run("ip", "tunnel", "add", "tunl0", "mode", "ipip")
		}
		r.Check(err)
	}
	for _, s := range []string{"all/arp_ignore=1", "all/arp_announce=2", "all/rp_filter=0", "tunl0/rp_filter=0", "eth0/rp_filter=0", "eth1/rp_filter=0"} {
		name, value, _ := strings.Cut(s, "=")
		r.Check(real.Sysctl("net/ipv4/conf/"+name, value))
	}
	r.ServeName(real, "real")
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
		r.Check(h.WriteFile(rig.ConfigPath, []byte(file+services), 0o644))
		if d == nil {
			d = r.Again(h)
			r.Becomes(d, "active")
		} else if _, err := h.Run(r.Binary, "reload"); err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(rig.VIP, uint16(c.port))
		for _, network := range []string{"tcp4", "udp4"} {
			r.Eventually(c.method+" over "+network, 30*time.Second, func() bool { return askName(r, network, to) == "real" })
		}
	}
}

// askName asks from the client who answers; empty when nobody does.
func askName(r *rig.Rig, network string, to netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var conn net.Conn
	var err error
	if network == "tcp4" {
		conn, err = lab.Dial(ctx, r.Client, to)
	} else {
		err = r.Client.Do(func() (err error) {
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
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Servers("10.0.0.21", "10.0.0.22")
	sorry := strings.Replace(serverFile, "[[service", "sorry = \"10.0.0.30\"\n[[service", 1)
	r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+sorry)
	const row = "-a -t 10.0.0.100:80 -r 10.0.0.30:80 -g -w 1"
	r.TableIs(h, webService, row)
	l := r.Listen(r.Client, 8080)
	r.TableIs(h, webService, web21, web22)
	l.Close()
	r.TableIs(h, webService, row)
}

// TestKernelKeepalivedPeer: established connections survive a failover to
// keepalived and from it, with keepalived's own sync daemon.
func TestKernelKeepalivedPeer(t *testing.T) {
	if _, err := exec.LookPath("keepalived"); err != nil {
		t.Fatal(err)
	}
	for _, dies := range []string{"lvsha", "keepalived"} {
		t.Run(dies+" dies", func(t *testing.T) {
			r := rig.New(t)
			real, err := r.Net.Host("real")
			r.Check(err)
			_, err = r.Segment.Attach(real, "eth0", "10.0.0.21/24")
			r.Check(err)
			r.Check(real.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
			r.Check(real.Sysctl("net/ipv4/conf/all/arp_announce", "2"))
			_, err = real.Run("ip", "addr", "add", "10.0.0.100/32", "dev", "lo")
			r.Check(err)
			r.Echo(real)

			ours := rig.VRRPFile(3, rig.Fast) + `
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
				return strings.Replace(rig.KeepalivedFile(3, rig.Fast, priority), "global_defs {", "global_defs {\n  lvs_sync_daemon eth0 web id 5", 1) + `
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
				r.Check(r.LVS[i].WriteFile("/run/keepalived.conf", []byte(theirs(priority)), 0o600))
				p, err := r.LVS[i].Start(nil, "keepalived", "--dont-fork", "--log-console", "-f", "/run/keepalived.conf")
				r.Check(err)
				r.Cleanup(func() {
					if t.Failed() {
						t.Log(p.Output())
					}
				})
				return p
			}
			var kill func() error
			if dies == "lvsha" {
				kill = r.Lvsha(r.LVS[0], ours).Kill
				startTheirs(1, 100)
			} else {
				kill = startTheirs(0, 150).Kill
				r.Lvsha(r.LVS[1], ours)
			}
			r.Holds(0, 15*time.Second)
			for _, h := range r.LVS {
				r.TableIs(h, "-A -t 10.0.0.100:7000 -s rr", "-a -t 10.0.0.100:7000 -r 10.0.0.21:7000 -g -w 1")
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
				conns[i], err = lab.Dial(ctx, r.Client, netip.AddrPortFrom(rig.VIP, 7000))
				cancel()
				r.Check(err)
				defer conns[i].Close()
			}
			for range 4 { // used, so that the kernel sends them, and over its two seconds
				if n := exchange(5 * time.Second); n != len(conns) {
					t.Fatalf("%d of %d echo before the failover", n, len(conns))
				}
				r.Settle(time.Second)
			}
			r.Check(r.Ports[0].Cut())
			r.Check(kill())
			r.Eventually("the other has the address", 30*time.Second, func() bool { return r.Has(r.LVS[1], rig.VIP) })
			if n := exchange(5 * time.Second); n != len(conns) {
				t.Errorf("%d of %d connections survived", n, len(conns))
			}
		})
	}
}
