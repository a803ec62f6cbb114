//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// coversFile has services of several addresses and ports, which lvsha marks.
const coversFile = rig.GridFile + `
[service.shop]
listen = ["10.0.0.100:80/tcp", "10.0.0.100:443/tcp", "10.0.0.100:7400-7409/udp", "[2001:db8::100]:80/tcp", "[2001:db8::100]:7400-7409/udp"]
mark = 7
forward = "tun"
scheduler = "rr"
persistence = "5m"
[[service.shop.server]]
address = "10.0.0.21"
[[service.shop.server]]
address = "10.0.0.22"
[service.many]
listen = ["10.0.0.100-10.0.0.102:7500-7509/tcp", "10.0.0.101:0/udp"]
forward = "nat"
[[service.many.server]]
address = "10.1.0.23:6999"
`

// soloFile has a service that is one by address and port, or by mark.
const soloFile = `
[service.solo]
listen = "10.0.0.101:7620/tcp"
forward = "nat"
[[service.solo.server]]
address = "10.1.0.23:6999"
`

// ruleset are lvsha's tables of a host in nft's words.
func ruleset(r *rig.Rig, h *lab.Host) string {
	r.Helper()
	out, err := h.Run("nft", "-n", "list", "ruleset")
	r.Check(err)
	return out
}

// TestKernelCovers: many addresses and ports are one service, by marks that lvsha sets:
// a client of HTTP and HTTPS is on one server. The rules survive a crash, a reload
// changes what is another, what somebody takes away comes back, and a stop leaves
// nothing.
func TestKernelCovers(t *testing.T) {
	r := rig.NewGrid(t)
	h := r.LVS[0]
	// Both servers take packets of both families as they are, or out of a tunnel.
	r.Run(r.DR, "ip", "link add ipip type ipip local 10.0.0.21 ttl 64")
	r.Run(r.DR, "ip", "link add sit type sit local 10.0.0.21 ttl 64")
	for _, name := range []string{"ipip", "sit"} {
		r.Run(r.DR, "ip", "link set "+name+" up")
		r.Check(r.DR.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
	r.Run(r.TUN, "ip", "addr add 10.0.0.100/32 dev lo")
	r.Run(r.TUN, "ip", "addr add 2001:db8::100/128 dev lo nodad")
	for _, real := range []*lab.Host{r.DR, r.TUN} {
		for _, at := range []string{"10.0.0.100:80", "10.0.0.100:443", "[2001:db8::100]:80", "10.0.0.100:81"} {
			r.Tell(real, "tcp", netip.MustParseAddrPort(at))
		}
		for _, at := range []string{"10.0.0.100:7400", "10.0.0.100:7409", "[2001:db8::100]:7405"} {
			r.Tell(real, "udp", netip.MustParseAddrPort(at))
		}
	}
	r.Tell(r.NAT, "tcp", netip.MustParseAddrPort("10.1.0.23:6999"))
	r.Tell(r.NAT, "udp", netip.MustParseAddrPort("10.1.0.23:6999"))
	r.Run(h, "nft", "add table ip site")
	d := r.Lvsha(h, coversFile+soloFile)
	r.Active(d)
	r.Eventually("the table and the filter", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok" && s.Filter != nil && s.Filter.State == "ok" && strings.Count(r.Table(h), "-a ") == 6
	})
	asks := func(name string, cells ...string) {
		t.Helper()
		for _, c := range cells {
			protocol, at, _ := strings.Cut(c, " ")
			got := r.Ask(r.Client, protocol, netip.MustParseAddrPort(at), 0)
			if !strings.HasPrefix(got, name) {
				t.Errorf("%s: %s, want %s", c, got, name)
			}
			fmt.Printf("matrix: marked by lvsha, %s\n", c+": "+got[strings.Index(got, " ")+1:])
		}
	}
	// Round robin would tell the ports apart.
	first, _, _ := strings.Cut(r.Ask(r.Client, "tcp", netip.MustParseAddrPort("10.0.0.100:80"), 0), " ")
	asks(first, "tcp 10.0.0.100:80", "tcp 10.0.0.100:443", "tcp 10.0.0.100:80", "udp 10.0.0.100:7400", "udp 10.0.0.100:7409")
	six, _, _ := strings.Cut(r.Ask(r.Client, "tcp", netip.MustParseAddrPort("[2001:db8::100]:80"), 0), " ")
	asks(six, "tcp [2001:db8::100]:80", "udp [2001:db8::100]:7405")
	asks("nat", "tcp 10.0.0.100:7500", "tcp 10.0.0.101:7505", "tcp 10.0.0.102:7509", "udp 10.0.0.101:1", "udp 10.0.0.101:65535")
	// The director's own connections go the same way.
	if got := r.Ask(h, "tcp", netip.MustParseAddrPort("10.0.0.101:7505"), 0); !strings.HasPrefix(got, "nat ") {
		t.Errorf("from the director: %s", got)
	}
	// What is next to the ranges is nobody's.
	for _, c := range []string{"tcp 10.0.0.102:7510", "tcp 10.0.0.100:81", "udp 10.0.0.100:7399"} {
		protocol, at, _ := strings.Cut(c, " ")
		if got := r.Ask(r.Client, protocol, netip.MustParseAddrPort(at), 0); !strings.Contains(got, "refused") {
			t.Errorf("%s: %s", c, got)
		}
	}

	rules := ruleset(r.Rig, h)
	r.Check(d.Kill())
	if got := ruleset(r.Rig, h); got != rules {
		t.Errorf("after a crash:\n%s", got)
	}
	d = r.Again(h)
	r.Active(d)
	ok := func() bool {
		s, err := d.Status()
		return err == nil && s.Filter != nil && s.Filter.State == "ok"
	}
	r.Eventually("the filter is taken over", 10*time.Second, ok)
	if out := d.Output(); ruleset(r.Rig, h) != rules || strings.Contains(out, "tables replaced") {
		t.Errorf("rules that were there were not taken over:\n%s", out)
	}
	r.Run(h, "nft", "flush table ip lvsha-ipvs")
	r.Run(h, "nft", "delete table ip6 lvsha-ipvs")
	r.Eventually("the rules are back", 30*time.Second, func() bool { return ruleset(r.Rig, h) == rules })
	r.Eventually("the repair is counted", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.Filter.Repaired > 0 && len(s.Services) == 3 &&
			slices.Equal(s.Services[0].Covers, []string{"10.0.0.100-10.0.0.102:7500-7509/tcp", "10.0.0.101:0/udp"})
	})

	// One port more, and a service that becomes one by mark and is not any more, while a
	// client asks others and that one.
	stop, lost := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(lost)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, at := range []string{"10.0.0.101:7505", "10.0.0.101:7620"} {
				if got := r.Ask(r.Client, "tcp", netip.MustParseAddrPort(at), 0); !strings.HasPrefix(got, "nat ") {
					lost <- at + ": " + got
					return
				}
			}
		}
	}()
	for range 5 {
		for _, file := range []string{
			strings.Replace(coversFile, `"10.0.0.100:443/tcp"`, `"10.0.0.100:443/tcp", "10.0.0.100:81/tcp"`, 1) + strings.Replace(soloFile, "forward", "mark = 9\nforward", 1),
			coversFile + soloFile,
		} {
			r.Check(h.WriteFile(rig.ConfigPath, []byte(file), 0o644))
			r.Run(h, r.Binary, "reload")
			got := r.Ask(r.Client, "tcp", netip.MustParseAddrPort("10.0.0.100:81"), 0)
			if wants := file != coversFile+soloFile; strings.HasPrefix(got, first) != wants {
				t.Errorf("port 81, covered %v: %s", wants, got)
			}
		}
	}
	close(stop)
	if why, bad := <-lost; bad {
		t.Errorf("a reload cut off a client: %s", why)
	}
	if got := ruleset(r.Rig, h); got != rules {
		t.Errorf("after reloads:\n%s", got)
	}

	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	if got := ruleset(r.Rig, h); got != "table ip site {\n}\n" {
		t.Errorf("a stop left\n%s", got)
	}
	// After a crash, cleanup removes them.
	d = r.Again(h)
	r.Active(d)
	r.Eventually("the filter again", 10*time.Second, ok)
	r.Check(d.Kill())
	r.Run(h, r.Binary, "cleanup --all")
	if got := ruleset(r.Rig, h); got != "table ip site {\n}\n" {
		t.Errorf("cleanup left\n%s", got)
	}
}
