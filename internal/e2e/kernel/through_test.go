//go:build ipvskernel

package kernel_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// through is the network of checks through a service: a server for each
// forwarding method.
//
//	lvs1 .1, lvs2 .2, .100 ── segment 10.0.0.0/24 ── dr .21 (.100 on lo), tun .22 (.100 on tunl0)
//	lvs1 .1, lvs2 .2, .254 ── back 10.1.0.0/24 ── nat .23 (default route by .254)
type through struct {
	*rig.Rig
	dr, tun, nat *lab.Host
}

// throughFile has services for all of them, whose checks go through the service
// and, for direct routing, also to the server. Of the servers of datagrams each has
// to answer with its own name.
const throughFile = `
manage_sysctls = true
[director.lvs1]
address  = "10.0.0.1"
priority = 150
[director.lvs2]
address  = "10.0.0.2"
[vrrp.web]
interface = "eth0"
vrid      = 51
advertise = "500ms"
addresses = ["10.0.0.100/24", "10.1.0.254/24 dev eth1"]
[service.dr]
listen    = "10.0.0.100:7000/tcp"
forward   = "dr"
check     = [
  { type = "tcp", interval = "300ms", timeout = "300ms", rise = 1, fall = 2 },
  { type = "tcp", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" },
]
[[service.dr.server]]
address = "10.0.0.21"
[service.tun]
listen    = "10.0.0.100:7080/tcp"
forward   = "tun"
check     = { type = "http", path = "/healthz", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" }
[[service.tun.server]]
address = "10.0.0.22"
[service.nat]
listen    = "10.0.0.100:7002/tcp"
forward   = "nat"
check     = { type = "tcp", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" }
[[service.nat.server]]
address = "10.1.0.23:7000"
[service.names]
listen    = "10.0.0.100:7000/udp"
forward   = "dr"
[[service.names.server]]
address = "10.0.0.21"
check   = { type = "udp", expect = "dr", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" }
[[service.names.server]]
address = "10.0.0.22"
forward = "tun"
check   = { type = "udp", expect = "tun", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" }
[[service.names.server]]
address = "10.1.0.23"
forward = "nat"
check   = { type = "udp", expect = "nat", interval = "300ms", timeout = "300ms", rise = 1, fall = 4, through = "service" }
`

func newThrough(t *testing.T) *through {
	t.Helper()
	r := &through{Rig: rig.New(t)}
	back, err := r.Net.Segment("back")
	r.Check(err)
	for i, h := range r.LVS {
		_, err = back.Attach(h, "eth1", fmt.Sprintf("10.1.0.%d/24", i+1))
		r.Check(err)
		for _, name := range []string{"all", "eth0", "eth1"} {
			r.Check(h.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
			r.Check(h.Sysctl("net/ipv4/conf/"+name+"/accept_local", "0"))
		}
	}
	host := func(name string, on *lab.Segment, address string) *lab.Host {
		h, err := r.Net.Host(name)
		r.Check(err)
		_, err = on.Attach(h, "eth0", address)
		r.Check(err)
		r.Check(h.Sysctl("net/ipv4/ip_forward", "0"))
		for name, value := range map[string]string{"arp_ignore": "1", "arp_announce": "2", "rp_filter": "0"} {
			r.Check(h.Sysctl("net/ipv4/conf/all/"+name, value))
			r.Check(h.Sysctl("net/ipv4/conf/eth0/"+name, value))
		}
		r.serveHTTP(h, 7080)
		return h
	}
	r.dr = host("dr", r.Segment, "10.0.0.21/24")
	r.tun = host("tun", r.Segment, "10.0.0.22/24")
	r.nat = host("nat", back, "10.1.0.23/24")
	r.ip(r.dr, "addr add 10.0.0.100/32 dev lo")
	if _, err := r.tun.Run("ip", "link", "set", "tunl0", "up"); err != nil {
		r.ip(r.tun, "tunnel add tunl0 mode ipip")
		r.ip(r.tun, "link set tunl0 up")
	}
	r.Check(r.tun.Sysctl("net/ipv4/conf/tunl0/rp_filter", "0"))
	r.ip(r.tun, "addr add 10.0.0.100/32 dev tunl0")
	r.ip(r.nat, "route add default via 10.1.0.254")
	r.ServeName(r.dr, "dr")
	r.ServeName(r.tun, "tun")
	r.ServeName(r.nat, "nat")
	return r
}

func (r *through) ip(h *lab.Host, args string) {
	r.Helper()
	_, err := h.Run("ip", strings.Fields(args)...)
	r.Check(err)
}

// serveHTTP answers every request of a host's port with status 200.
func (r *through) serveHTTP(h *lab.Host, port int) {
	r.Helper()
	r.Accept(h, port, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
}

// is waits until daemons see the server of a service in a state.
func (r *through) is(service, state string, daemons ...*lab.Daemon) {
	r.Helper()
	for i, d := range daemons {
		if _, err := lab.Eventually("", 30*time.Second, func() bool { return r.Server(d, service).State == state }); err != nil {
			s, _ := d.Status()
			r.Fatalf("daemon %d: the server of %s is not %s: %+v\n%+v\nproblems %q", i+1, service, state, r.Server(d, service), s.IPVS, s.Problems)
		}
	}
}

// steering are the lines of a host's IPVS table that are by firewall mark.
func (r *through) steering(h *lab.Host) (out []string) {
	r.Helper()
	for line := range strings.Lines(r.Table(h)) {
		if strings.Contains(line, " -f ") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// leads fails the test unless the marks lead to all servers, with weight 1.
func (r *through) leads(h *lab.Host) {
	r.Helper()
	rows := strings.Join(r.steering(h), "\n")
	for _, want := range []string{"-r 10.0.0.21:0 -g -w 1", "-r 10.0.0.22:0 -i -w 1", "-r 10.1.0.23:7000 -m -w 1", "-r 10.1.0.23:0 -m -w 1"} {
		if !strings.Contains(rows, want) {
			r.Errorf("%s: no row has %q:\n%s", h.Name, want, rows)
		}
	}
}

// TestKernelThrough: on the active director and on the backup a check through the
// service finds what only clients would meet, and the move of the address is none
// of it.
func TestKernelThrough(t *testing.T) {
	t.Parallel()
	r := newThrough(t)
	d1 := r.Lvsha(r.LVS[0], throughFile)
	r.Becomes(d1, "active")
	d2 := r.Lvsha(r.LVS[1], throughFile)
	r.Becomes(d2, "backup")
	services := []string{"dr", "tun", "nat", "names/0", "names/1", "names/2"}
	for _, service := range services {
		r.is(service, "up", d1, d2)
	}
	for _, f := range []struct {
		service     string
		host        *lab.Host
		break_, fix string
	}{
		{"dr", r.dr, "addr del 10.0.0.100/32 dev lo", "addr add 10.0.0.100/32 dev lo"},
		{"tun", r.tun, "link set tunl0 down", "link set tunl0 up"},
		{"nat", r.nat, "route replace default via 10.1.0.99", "route replace default via 10.1.0.254"},
	} {
		r.ip(f.host, f.break_)
		r.is(f.service, "down", d1, d2)
		for i, d := range []*lab.Daemon{d1, d2} {
			s := r.Server(d, f.service)
			t.Logf("lvs%d finds %s down: %s", i+1, f.service, s.Reason)
			if f.service == "dr" && !strings.HasPrefix(s.Reason, "1 of 2 checks up, want all: ") {
				t.Errorf("the check of the server itself was not up: %s", s.Reason)
			}
			r.leads(r.LVS[i])
			if table := r.Table(r.LVS[i]); strings.Count(table, "-a -t ") != 2 {
				t.Errorf("lvs%d: %s is down and the table is\n%s", i+1, f.service, table)
			}
		}
		r.ip(f.host, f.fix)
		for _, service := range services {
			r.is(service, "up", d1, d2)
		}
	}

	// The address moves there and back.
	since := func() (out []time.Time) {
		for _, d := range []*lab.Daemon{d1, d2} {
			for _, service := range services {
				s := r.Server(d, service)
				if s.State != "up" {
					t.Errorf("%s is %s: %s", service, s.State, s.Reason)
				}
				out = append(out, s.Since)
			}
		}
		return out
	}
	before := since()
	if _, err := r.LVS[0].Run(r.Binary, "yield", "web"); err != nil {
		t.Fatal(err)
	}
	r.Becomes(d2, "active")
	r.Settle(3 * time.Second) // ten probes
	if after := since(); !slices.EqualFunc(before, after, time.Time.Equal) {
		t.Errorf("a failover disturbed the checks: %v, then %v", before, after)
	}
	// The servers are found as before.
	r.ip(r.dr, "addr del 10.0.0.100/32 dev lo")
	r.is("dr", "down", d1, d2)
	r.is("names/0", "down", d1, d2)
	r.ip(r.dr, "addr add 10.0.0.100/32 dev lo")
	r.is("dr", "up", d1, d2)
	if _, err := r.LVS[0].Run(r.Binary, "yield", "--back", "web"); err != nil {
		t.Fatal(err)
	}
	r.Becomes(d1, "active")
	for _, d := range []*lab.Daemon{d1, d2} {
		s, err := d.Status()
		if err != nil || len(s.Foreign) > 0 || len(s.IPVS.Checks) != 4 || strings.Contains(fmt.Sprint(s.Problems), "check") {
			t.Errorf("status: problems %q, foreign %q, %+v, %v", s.Problems, s.Foreign, s.IPVS.Checks, err)
		}
	}

	// A crash leaves the marks to the next process, other servers leave them as they
	// are, and a stop takes them away.
	marks := r.steering(r.LVS[0])
	r.Check(d1.Kill())
	if got := r.steering(r.LVS[0]); !slices.Equal(got, marks) {
		t.Errorf("after a crash: %q", got)
	}
	d1 = r.Lvsha(r.LVS[0], throughFile+`
[[service.dr.server]]
address = "10.0.0.29"
`)
	r.Becomes(d1, "active")
	r.Eventually("the new server's mark", 30*time.Second, func() bool { return len(r.steering(r.LVS[0])) == len(marks)+2 })
	for _, row := range marks {
		if got := r.steering(r.LVS[0]); !slices.Contains(got, row) {
			t.Errorf("%q has gone: %q", row, got)
		}
	}
	r.is("tun", "up", d1)
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(throughFile), 0o644))
	if _, err := r.LVS[0].Run(r.Binary, "reload"); err != nil {
		t.Fatal(err)
	}
	if got := r.steering(r.LVS[0]); !slices.Equal(got, marks) {
		t.Errorf("after a reload without the new server: %q", got)
	}
	if s, err := d1.Status(); err != nil || len(s.Foreign) > 0 {
		t.Errorf("foreign %q, %v", s.Foreign, err)
	}
	accepts := func() string {
		text, err := r.LVS[0].ReadFile("/proc/thread-self/root/proc/sys/net/ipv4/conf/eth0/accept_local")
		r.Check(err)
		return strings.TrimSpace(string(text))
	}
	if got := accepts(); got != "1" {
		t.Errorf("accept_local is %s while lvsha manages it", got)
	}
	if code, err := d1.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.TableIs(r.LVS[0], "")
	if got := accepts(); got != "0" {
		t.Errorf("accept_local is %s after a stop", got)
	}
}

// TestKernelThroughBlamesItself: what this machine is to blame for is named and is
// no failure of a server.
func TestKernelThroughBlamesItself(t *testing.T) {
	t.Parallel()
	r := newThrough(t)
	file := strings.NewReplacer(
		"manage_sysctls = true", "",
		"10.0.0.100/24", "172.16.9.100/32", "10.0.0.100", "172.16.9.100",
	).Replace(throughFile)
	// Nobody's services by mark are left alone.
	const theirs = "-A -f 5 -s rr"
	_, err := r.LVS[0].Run("ipvsadm", strings.Fields(theirs)...)
	r.Check(err)
	for _, h := range []*lab.Host{r.dr, r.tun} {
		dev := map[*lab.Host]string{r.dr: "lo", r.tun: "tunl0"}[h]
		r.ip(h, "addr add 172.16.9.100/32 dev "+dev)
	}
	d1 := r.Lvsha(r.LVS[0], file)
	r.Becomes(d1, "active")
	d2 := r.Lvsha(r.LVS[1], file)
	r.Becomes(d2, "backup")
	problem := func(d *lab.Daemon, what string) func() bool {
		return func() bool {
			s, err := d.Status()
			return err == nil && slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, what) })
		}
	}
	r.Eventually("accept_local is named on the active", 20*time.Second, problem(d1, "checks through service tun: net.ipv4.conf.eth0.accept_local = 0"))
	r.Eventually("accept_local is named on the backup", 20*time.Second, problem(d2, "checks through service dr: net.ipv4.conf.eth0.accept_local = 0"))
	r.Eventually("the route is named on the backup", 20*time.Second, problem(d2, "checks through service nat: this machine has no route to 172.16.9.100"))
	for _, service := range []string{"dr", "tun"} {
		r.is(service, "up", d1)
	}
	r.is("nat", "up", d1, d2)
	r.is("dr", "up", d2)
	if s := r.Server(d1, "tun"); !strings.HasPrefix(s.Reason, "taken for up") {
		t.Errorf("on the active: %+v", s)
	}

	// A dead server is not found so, and at once when the setting is right.
	r.ip(r.tun, "link set tunl0 down")
	r.Settle(3 * time.Second) // ten probes
	r.is("tun", "up", d1, d2)
	for _, h := range r.LVS {
		r.Check(h.Sysctl("net/ipv4/conf/eth0/accept_local", "1"))
	}
	r.ip(r.LVS[1], "route add 172.16.9.100/32 dev eth0")
	r.is("tun", "down", d1, d2)
	r.ip(r.tun, "link set tunl0 up")
	r.is("tun", "up", d1, d2)
	for _, d := range []*lab.Daemon{d1, d2} {
		r.Eventually("no problem of checks", 30*time.Second, func() bool {
			s, err := d.Status()
			return err == nil && !strings.Contains(fmt.Sprint(s.Problems), "check") && (d == d2 || slices.Equal(s.Foreign, []string{"mark 5"}))
		})
	}
	if code, err := d1.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.TableIs(r.LVS[0], theirs)
}
