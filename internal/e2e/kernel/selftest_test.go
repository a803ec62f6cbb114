//go:build ipvskernel

package kernel_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestKernelSelftest is the kernel's own test of IPVS
// (tools/testing/selftests/net/netfilter/ipvs.sh) with its addresses, and lvsha in the
// place of ipvsadm and of sysctl on both machines:
//
//	client .2 ── 10.0.0.0/24 ── veth10 .1 director .1 veth12 ── 172.16.0.0/24 ── veth21 .2 real .3 veth20 ──┐
//	                   └────────────────────────────────────────────────────────────────────────────────────┘
//
// The client has a route to 207.175.44.110 by the director, and sends 32 bytes to port
// 8080. What is dropped on its way by the reverse path is left as strict as distributions
// have it.
func TestKernelSelftest(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"dr", "nat", "tun"} {
		t.Run(method, func(t *testing.T) {
			binary, err := rig.Program()
			if err != nil {
				t.Fatal(err)
			}
			n, err := lab.NewNetwork()
			if err != nil {
				t.Fatal(err)
			}
			r := &rig.Rig{TB: t, Life: t, Net: n, Binary: binary}
			t.Cleanup(func() { r.Check(n.Close()) })
			front, err := n.Segment("front")
			r.Check(err)
			back, err := n.Segment("back")
			r.Check(err)
			host := func(name string) *lab.Host {
				h, err := n.Host(name)
				r.Check(err)
				return h
			}
			attach := func(h *lab.Host, s *lab.Segment, ifname, address string) {
				_, err := s.Attach(h, ifname, address)
				r.Check(err)
			}
			r.Client = host("client")
			attach(r.Client, front, "br0", "10.0.0.2/24")
			director := host("director")
			attach(director, front, "veth10", "10.0.0.1/24")
			attach(director, back, "veth12", "172.16.0.1/24")
			real := host("real")
			attach(real, back, "veth21", "172.16.0.2/24")
			if method != "nat" { // where the script removes it
				attach(real, front, "veth20", "10.0.0.3/24")
			}
			for _, h := range []*lab.Host{director, real} {
				r.Check(h.Sysctl("net/ipv4/ip_forward", "0"))
				for _, ifname := range []string{"all", "default"} {
					r.Check(h.Sysctl("net/ipv4/conf/"+ifname+"/rp_filter", "1"))
				}
			}
			r.Run(r.Client, "ip", "route add 207.175.44.110 via 10.0.0.1 dev br0")

			file := fmt.Sprintf(`
manage_sysctls = true
[director.director]
address = "10.0.0.1"
[vrrp.vip]
interface = "veth10"
vrid      = 1
advertise = "100ms"
addresses = ["207.175.44.110/32"]
[service.test]
listen    = "207.175.44.110:8080/tcp"
scheduler = "rr"
forward   = %q
[[service.test.server]]
address = "172.16.0.2"
`, method)
			if method == "nat" {
				r.Run(real, "ip", "route add default via 172.16.0.1 dev veth21")
			}
			r.Check(real.WriteFile(rig.ConfigPath, []byte(file), 0o644))
			out, err := real.Run(binary, "realserver", "up", "-c", rig.ConfigPath)
			r.Check(err)
			t.Log(strings.TrimSpace(out))
			received := make(chan []byte, 1)
			r.Accept(real, 8080, func(c net.Conn) {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				if got, err := io.ReadAll(c); err == nil && len(got) > 0 {
					received <- got
				}
			})
			d := r.Lvsha(director, file)
			r.Eventually("the director is active", 30*time.Second, func() bool { return d.Router("vip").State == "active" })
			r.TableIs(director, "-A -t 207.175.44.110:8080 -s rr",
				"-a -t 207.175.44.110:8080 -r 172.16.0.2:8080 "+map[string]string{"dr": "-g -w 1", "nat": "-m -w 1", "tun": "-i -w 1 --tun-type ipip"}[method])

			sent := make([]byte, 32)
			rand.Read(sent)
			conn := connect(r, netip.MustParseAddrPort("207.175.44.110:8080"))
			defer conn.Close()
			_, err = conn.Write(sent)
			r.Check(err)
			conn.Close()
			select {
			case got := <-received:
				if !bytes.Equal(got, sent) {
					t.Errorf("received %x, sent %x", got, sent)
				}
			case <-time.After(5 * time.Second):
				t.Error("nothing was received")
			}
			if got := sysctl(r, director, "net/ipv4/ip_forward"); got != map[bool]string{true: "1", false: "0"}[method == "nat"] {
				t.Errorf("ip_forward of the director is %s", got)
			}
			if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
				t.Errorf("stop: %d, %v", code, err)
			}
			r.TableIs(director, "")
			if got := sysctl(r, director, "net/ipv4/ip_forward"); got != "0" {
				t.Errorf("ip_forward of the director is %s after a stop", got)
			}
		})
	}
}
