//go:build ipvskernel

package kernel_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// sysctl is a kernel parameter of a host, by its path below /proc/sys.
func sysctl(r *rig.Rig, h *lab.Host, name string) string {
	r.Helper()
	text, err := h.ReadFile("/proc/sys/" + name)
	r.Check(err)
	return strings.TrimSpace(string(text))
}

// sysctls are several of them: "a=1 b=2".
func sysctls(r *rig.Rig, h *lab.Host, names ...string) string {
	r.Helper()
	var out []string
	for _, name := range names {
		out = append(out, name+"="+sysctl(r, h, name))
	}
	return strings.Join(out, " ")
}

const natFile = `
[director.lvs1]
address  = ["10.0.0.1", "2001:db8::1"]
[vrrp.web]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["10.0.0.100/24"]
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["2001:db8::100/64"]
[service.nat]
listen  = "10.0.0.100:80/tcp"
forward = "nat"
scheduler   = "mh"
persistence = "5m"
[[service.nat.server]]
address = "10.1.0.23:8080"
[service.nat6]
listen  = "[2001:db8::100]:80/tcp"
forward = "nat"
[[service.nat6.server]]
address = "[2001:db8:1::23]:8080"
`

// TestKernelSysctls: parameters that the services need are named while lvsha may not
// set them, and set when it may; a crash and a restart keep them, what somebody else
// sets is set again, and a stop, like a cleanup, puts back exactly what was found.
func TestKernelSysctls(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Check(h.Sysctl("net/ipv4/ip_forward", "0"))
	names := []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/eth0/accept_ra",
		"net/ipv4/conf/all/send_redirects", "net/ipv4/conf/eth0/send_redirects", "net/ipv4/conf/eth1/send_redirects",
		"net/ipv4/vs/expire_nodest_conn", "net/ipv4/vs/expire_quiescent_template", "net/ipv4/vs/conn_reuse_mode", "net/ipv4/vs/sloppy_tcp",
	}
	for i, value := range []string{"0", "0", "0", "1", "1", "1", "1", "0", "0", "0", "0"} {
		r.Check(h.Sysctl(names[i], value))
	}
	found := sysctls(r.Rig, h, names...)
	const set = "net/ipv4/ip_forward=1 net/ipv4/conf/all/accept_redirects=0 net/ipv6/conf/all/forwarding=1 net/ipv6/conf/eth0/accept_ra=2 " +
		"net/ipv4/conf/all/send_redirects=0 net/ipv4/conf/eth0/send_redirects=0 net/ipv4/conf/eth1/send_redirects=0 " +
		"net/ipv4/vs/expire_nodest_conn=1 net/ipv4/vs/expire_quiescent_template=1 net/ipv4/vs/conn_reuse_mode=1 net/ipv4/vs/sloppy_tcp=1"
	is := func(what, want string) {
		t.Helper()
		// They are set when the table is filled, beside everything else.
		lab.Eventually("", 30*time.Second, func() bool { return sysctls(r.Rig, h, names...) == want })
		if got := sysctls(r.Rig, h, names...); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
	}

	d := r.Lvsha(h, natFile)
	r.Becomes(d, "active")
	for _, want := range []string{"sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.all.forwarding=1"} {
		r.Eventually("the status has "+want, 30*time.Second, func() bool {
			s, err := d.Status()
			return err == nil && strings.Count(strings.Join(s.Problems, "\n"), want) == 1
		})
	}
	is("without manage_sysctls", found)

	r.Check(h.WriteFile(rig.ConfigPath, []byte("manage_sysctls = true\n"+natFile), 0o644))
	if _, err := h.Run(r.Binary, "reload"); err != nil {
		t.Fatal(err)
	}
	is("with manage_sysctls", set)
	if s, err := d.Status(); err != nil || strings.Contains(strings.Join(s.Problems, "\n"), "sysctl") {
		t.Errorf("problems %q, %v", s.Problems, err)
	}
	r.Check(d.Kill())
	is("after a crash", set)
	d = r.Again(h)
	r.Becomes(d, "active")
	if code, err := d.End(syscall.SIGUSR2); code != 0 || err != nil {
		t.Errorf("hold: %d, %v", code, err)
	}
	is("held for a restart", set)
	d = r.Again(h)
	r.Becomes(d, "active")
	// As a file in sysctl.d does that is applied late.
	r.Check(h.Sysctl("net/ipv4/ip_forward", "0"))
	_, err := lab.Eventually("", 25*time.Second, func() bool { return sysctls(r.Rig, h, names...) == set })
	if err != nil {
		is("after somebody else has set one", set)
	}
	// This one stays what somebody has made of it.
	r.Check(d.Kill())
	r.Check(h.Sysctl("net/ipv4/vs/conn_reuse_mode", "2"))
	d = r.Again(h)
	r.Becomes(d, "active")
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	is("after a stop", strings.Replace(found, "conn_reuse_mode=0", "conn_reuse_mode=2", 1))

	r.Check(h.Sysctl("net/ipv4/vs/conn_reuse_mode", "0"))
	d = r.Again(h)
	r.Becomes(d, "active")
	is("again", set)
	r.Check(d.Kill())
	out, err := h.Run(r.Binary, "cleanup", "--all")
	r.Check(err)
	is("after a cleanup", found)
	if !strings.Contains(out, "set net.ipv4.ip_forward to 0 again") {
		t.Errorf("cleanup says %s", out)
	}
}
