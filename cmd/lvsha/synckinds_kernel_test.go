//go:build ipvskernel

package main_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

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
			r := newGrid(t)
			far := r.far()
			for _, protocol := range []string{"tcp", "udp"} {
				for _, s := range []struct {
					on *lab.Host
					at string
				}{
					{r.dr, "10.0.0.100:7001"}, {r.dr, "[2001:db8::100]:7001"}, {r.nat, "10.1.0.23:7000"}, {r.nat, "[2001:db8:1::23]:7000"},
					{r.tun, "10.0.0.102:7001"}, {r.tun, "[2001:db8::102]:7001"}, {far, "10.9.0.21:7600"}, {far, "[2001:db8:9::21]:7600"},
					{r.nat, "10.1.0.23:7002"}, {r.nat, "10.1.0.23:7003"}, {r.nat, "10.1.0.23:7004"}, {r.nat, "10.1.0.23:7005"},
				} {
					r.talk(s.on, protocol, netip.MustParseAddrPort(s.at))
				}
			}
			file := strings.NewReplacer(
				`"10.0.0.102/24",`, `"10.0.0.102/24", "10.0.0.150/24",`, `"2001:db8::102/64",`, `"2001:db8::102/64", "2001:db8::150/64",`,
			).Replace(gridFile) + kindsFile + "[peer]\nkey_file = \"" + keyPath + "\"\n[sync]\ntransport = \"" + transport + "\"\n"
			if transport == "multicast" {
				file += "interface = \"eth1\"\n"
			}
			var keys [2][]byte
			for i, h := range r.lvs {
				head := fmt.Sprintf("[director.lvs%d]\n", i+1)
				file = strings.Replace(file, head, head+fmt.Sprintf("key = %q\n", r.newKey(h)), 1)
				var err error
				keys[i], err = h.ReadFile(keyPath)
				r.check(err)
			}
			s := &syncRig{rig: r.rig, file: file}
			for i := range r.lvs {
				s.daemons[i] = r.lvsha(r.lvs[i], file)
			}
			r.active(s.daemons[0])
			reboot := func(i int) time.Time {
				t.Helper()
				r.check(r.net.PowerOff(r.lvs[i]))
				if i == 0 {
					r.active(s.daemons[1])
				}
				booted := time.Now()
				r.boot(i)
				r.check(r.lvs[i].WriteFile(keyPath, keys[i], 0o600))
				s.daemons[i] = r.lvsha(r.lvs[i], file)
				return booted
			}

			type opened struct {
				*talking
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
					r.eventually("an answer from "+to, 20*time.Second, func() bool {
						c := r.open(r.client, protocol, netip.MustParseAddrPort(to))
						return answered(c.says(2 * time.Second))
					})
					for range 3 {
						c := r.open(r.client, protocol, netip.MustParseAddrPort(to))
						was := c.says(6 * time.Second)
						if !answered(was) {
							t.Fatalf("%s %s: %s", protocol, to, was)
						}
						conns = append(conns, opened{c, protocol + " " + to, was})
					}
				}
			}
			survive := func(when string) {
				t.Helper()
				for _, c := range conns {
					if got := c.says(6 * time.Second); got != c.was {
						t.Errorf("%s, %s: %s, and before %s", when, c.to, got, c.was)
					}
				}
			}
			kept := func() string {
				return r.open(r.client, "tcp", netip.MustParseAddrPort("10.0.0.101:7002")).says(6 * time.Second)
			}
			server := kept()

			t.Log(s.synced(1, reboot(1)).Text)
			booted := reboot(0)
			survive("after a death")
			if got := kept(); got != server {
				t.Errorf("a client that is kept on %s was led to %s", server, got)
			}
			t.Log(s.synced(0, booted).Text)
			r.active(s.daemons[0])
			survive("after the return")
			if got := kept(); got != server {
				t.Errorf("a client that is kept on %s was led to %s after the return", server, got)
			}
		})
	}
}
