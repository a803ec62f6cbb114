//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// kindsFile has a service of every kind whose connections are handed over.
const kindsFile = `
[service.dr4]
listen = ["10.0.0.100:7001/tcp", "10.0.0.100:7001/udp"]
forward = "dr"
[[service.dr4.server]]
address = "10.0.0.21"
[service.dr6]
listen = ["[2001:db8::100]:7001/tcp", "[2001:db8::100]:7001/udp"]
forward = "dr"
[[service.dr6.server]]
address = "2001:db8::21"
[service.nat4]
listen = ["10.0.0.101:7001/tcp", "10.0.0.101:7001/udp"]
forward = "nat"
[[service.nat4.server]]
address = "10.1.0.23:7000"
[service.nat6]
listen = ["[2001:db8::101]:7001/tcp", "[2001:db8::101]:7001/udp"]
forward = "nat"
[[service.nat6.server]]
address = "[2001:db8:1::23]:7000"
[service.tun4]
listen = ["10.0.0.102:7001/tcp", "10.0.0.102:7001/udp"]
forward = "tun"
[[service.tun4.server]]
address = "10.0.0.22"
[service.tun6]
listen = ["[2001:db8::102]:7001/tcp", "[2001:db8::102]:7001/udp"]
forward = "tun"
[[service.tun6.server]]
address = "2001:db8::22"
[service.far4]
listen = ["10.0.0.100:7600/tcp", "10.0.0.100:7600/udp"]
forward = "fullnat"
snat = "10.0.0.150"
[[service.far4.server]]
address = "10.9.0.21"
[service.far6]
listen = ["[2001:db8::100]:7600/tcp", "[2001:db8::100]:7600/udp"]
forward = "fullnat"
snat = "2001:db8::150"
[[service.far6.server]]
address = "2001:db8:9::21"
[service.kept]
listen = "10.0.0.101:7002/tcp"
scheduler = "rr"
forward = "nat"
persistence = "300s"
[[service.kept.server]]
address = "10.1.0.23:7002"
[[service.kept.server]]
address = "10.1.0.23:7003"
[service.marked]
listen = ["10.0.0.101:7004-7005/tcp", "10.0.0.101:7004/udp"]
forward = "nat"
persistence = "300s"
[[service.marked.server]]
address = "10.1.0.23"
`

// TestKernelSyncKinds: connections of every kind survive that the backup is rebooted
// and the active director dies, and that it comes back.
func TestKernelSyncKinds(t *testing.T) {
	for _, transport := range []string{"multicast", "channel"} {
		t.Run(transport, func(t *testing.T) {
			r := rig.NewGrid(t)
			far := r.Far()
			for _, protocol := range []string{"tcp", "udp"} {
				for _, s := range []struct {
					on *lab.Host
					at string
				}{
					{r.DR, "10.0.0.100:7001"}, {r.DR, "[2001:db8::100]:7001"}, {r.NAT, "10.1.0.23:7000"}, {r.NAT, "[2001:db8:1::23]:7000"},
					{r.TUN, "10.0.0.102:7001"}, {r.TUN, "[2001:db8::102]:7001"}, {far, "10.9.0.21:7600"}, {far, "[2001:db8:9::21]:7600"},
					{r.NAT, "10.1.0.23:7002"}, {r.NAT, "10.1.0.23:7003"}, {r.NAT, "10.1.0.23:7004"}, {r.NAT, "10.1.0.23:7005"},
				} {
					r.Talk(s.on, protocol, netip.MustParseAddrPort(s.at))
				}
			}
			file := strings.NewReplacer(
				`"10.0.0.102/24",`, `"10.0.0.102/24", "10.0.0.150/24",`, `"2001:db8::102/64",`, `"2001:db8::102/64", "2001:db8::150/64",`,
			).Replace(rig.GridFile) + kindsFile + "[peer]\nkey_file = \"" + rig.KeyPath + "\"\n[sync]\ntransport = \"" + transport + "\"\n"
			if transport == "multicast" {
				file += "interface = \"eth1\"\n"
			}
			var keys [2][]byte
			for i, h := range r.LVS {
				head := fmt.Sprintf("[director.lvs%d]\n", i+1)
				file = strings.Replace(file, head, head+fmt.Sprintf("key = %q\n", r.NewKey(h)), 1)
				var err error
				keys[i], err = h.ReadFile(rig.KeyPath)
				r.Check(err)
			}
			s := &rig.SyncRig{Rig: r.Rig, File: file}
			for i := range r.LVS {
				s.Daemons[i] = r.Lvsha(r.LVS[i], file)
			}
			r.Roles(s.Daemons[0], s.Daemons[1])
			reboot := func(i int) time.Time {
				t.Helper()
				r.Check(r.Net.PowerOff(r.LVS[i]))
				if i == 0 {
					r.Active(s.Daemons[1])
				}
				booted := time.Now()
				r.Boot(i)
				r.Check(r.LVS[i].WriteFile(rig.KeyPath, keys[i], 0o600))
				s.Daemons[i] = r.Lvsha(r.LVS[i], file)
				return booted
			}

			type opened struct {
				*rig.Talking
				to, was string
			}
			var conns []opened
			for _, to := range []string{
				"10.0.0.100:7001", "[2001:db8::100]:7001", "10.0.0.101:7001", "[2001:db8::101]:7001", "10.0.0.102:7001", "[2001:db8::102]:7001",
				"10.0.0.100:7600", "[2001:db8::100]:7600", "10.0.0.101:7002", "10.0.0.101:7004", "10.0.0.101:7005",
			} {
				for _, protocol := range []string{"tcp", "udp"} {
					if protocol == "udp" && (strings.HasSuffix(to, ":7002") || strings.HasSuffix(to, ":7005")) {
						continue
					}
					r.Eventually("an answer from "+to, 30*time.Second, func() bool {
						c := r.Open(r.Client, protocol, netip.MustParseAddrPort(to))
						return rig.Answered(c.Says(2 * time.Second))
					})
					for range 3 {
						c := r.Open(r.Client, protocol, netip.MustParseAddrPort(to))
						was := c.Says(6 * time.Second)
						if !rig.Answered(was) {
							t.Fatalf("%s %s: %s", protocol, to, was)
						}
						conns = append(conns, opened{c, protocol + " " + to, was})
					}
				}
			}
			survive := func(when string) {
				t.Helper()
				for _, c := range conns {
					if got := c.Says(6 * time.Second); got != c.was {
						t.Errorf("%s, %s: %s, and before %s", when, c.to, got, c.was)
					}
				}
			}
			kept := func() string {
				return r.Open(r.Client, "tcp", netip.MustParseAddrPort("10.0.0.101:7002")).Says(6 * time.Second)
			}
			server := kept()

			t.Log(s.Synced(1, reboot(1)).Text)
			r.Roles(s.Daemons[0], s.Daemons[1])
			booted := reboot(0)
			survive("after a death")
			if got := kept(); got != server {
				t.Errorf("a client that is kept on %s was led to %s", server, got)
			}
			t.Log(s.Synced(0, booted).Text)
			r.Roles(s.Daemons[0], s.Daemons[1])
			survive("after the return")
			if got := kept(); got != server {
				t.Errorf("a client that is kept on %s was led to %s after the return", server, got)
			}
		})
	}
}
