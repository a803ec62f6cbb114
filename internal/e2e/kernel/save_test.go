//go:build ipvskernel

package kernel_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// savedTable is a table with all that ipvsadm can say, in its own words.
const savedTable = `-A -t 10.0.0.200:0 -s rr -p 360
-a -t 10.0.0.200:0 -r 10.0.0.21:0 -m -w 1
-A -u 10.0.0.200:53 -s sh -o -b sh-port
-a -u 10.0.0.200:53 -r 10.0.0.21:53 -g -w 65535
-A -t 10.0.0.200:80 -s mh -b mh-fallback,mh-port
-a -t 10.0.0.200:80 -r 10.0.0.21:8080 -m -w 3 -x 100 -y 80
-a -t 10.0.0.200:80 -r 10.0.0.22:80 -g -w 0 -x 5
-a -t 10.0.0.200:80 -r 10.0.0.23:80 -i -w 1 --tun-type ipip
-a -t 10.0.0.200:80 -r 10.0.0.24:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 10.0.0.200:80 -r 10.0.0.25:80 -i -w 1 --tun-type gre --tun-csum
-a -t 10.0.0.200:80 -r [2001:db8::25]:80 -i -w 1 --tun-type ipip
-A -u 10.0.0.200:5060 -s rr -p 60 -M 255.255.255.0 --pe sip
-a -u 10.0.0.200:5060 -r 10.0.0.21:5060 -g -w 1
-A --sctp-service [2001:db8::200]:80 -s rr
-a --sctp-service [2001:db8::200]:80 -r [2001:db8::21]:80 -g -w 1
-A -f 5 -s wlc
-a -f 5 -r 10.0.0.21:0 -g -w 1
-A -f 5 -6 -s rr -p 300 -M 64
-a -f 5 -6 -r [2001:db8::21]:0 -g -w 1
`

// TestKernelSaveRestore: what lvsha saves ipvsadm restores, and the other way round.
func TestKernelSaveRestore(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	h := r.LVS[0]
	shell := func(script, input string) string {
		t.Helper()
		r.Check(h.WriteFile("/run/rules", []byte(input), 0o644))
		out, err := h.Run("sh", "-c", script)
		r.Check(err)
		return out
	}
	// Everything that ipvsadm shows, in several views; -S leaves thresholds out.
	views := func() string {
		t.Helper()
		return shell("ipvsadm -S -n; ipvsadm -L -n --thresholds; ipvsadm -L -n --tun-info", "")
	}
	shell("ipvsadm -R </run/rules", savedTable)
	want := views()
	saved := shell(r.Binary+" save", "")
	if saved != savedTable {
		t.Errorf("saved:\n%s", saved)
	}
	theirs := shell("ipvsadm -S -n", "")
	shell("ipvsadm -C; ipvsadm -R </run/rules", saved)
	if got := views(); got != want {
		t.Errorf("ipvsadm restores what lvsha saves:\n%s\nwant\n%s", got, want)
	}
	shell("ipvsadm -C; "+r.Binary+" restore /run/rules", saved)
	if got := views(); got != want {
		t.Errorf("lvsha restores what lvsha saves:\n%s\nwant\n%s", got, want)
	}
	// ipvsadm's own has no thresholds.
	shell("ipvsadm -C; "+r.Binary+" restore </run/rules", theirs)
	if got := shell(r.Binary+" save", ""); got != regexp.MustCompile(` -x \d+( -y \d+)?`).ReplaceAllString(savedTable, "") {
		t.Errorf("lvsha restores what ipvsadm saves\n%s\nas\n%s", theirs, got)
	}
	var services []struct {
		Service string
		Servers []struct{ Address string }
	}
	r.Check(json.Unmarshal([]byte(shell(r.Binary+" save --json", "")), &services))
	if len(services) != 7 || services[1].Service != "10.0.0.200:53/udp" || len(services[2].Servers) != 6 {
		t.Errorf("as JSON: %+v", services)
	}

	// All or nothing.
	shell("ipvsadm -C; ipvsadm -A -t 10.0.0.200:80 -s rr", "")
	was := views()
	for name, c := range map[string]struct{ rules, want string }{
		"a wrong line":   {savedTable + "-a -t 10.0.0.9:80 -r 10.0.0.21\n", "/run/rules:20: service 10.0.0.9:80/tcp has no line with -A before"},
		"a refusal":      {savedTable + "-A -t 10.0.0.201:80 -s rr\n-a -t 10.0.0.201:80 -r 10.0.0.255 -g\n", "the kernel takes 10.0.0.255 for no machine's address"},
		"no such engine": {savedTable + "-A -t 10.0.0.201:80 -s rr -p 60 --pe nosuch\n", `persistence engine "nosuch" is none of sip`},
	} {
		r.Check(h.WriteFile("/run/rules", []byte(c.rules), 0o644))
		if _, err := h.Run(r.Binary, "restore", "/run/rules"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if got := views(); got != was {
			t.Errorf("%s left\n%s", name, got)
		}
	}
	if out := shell(r.Binary+" restore --dry-run /run/rules", "-A -t 10.0.0.200:80 -s wrr\n"); !strings.Contains(out, "set scheduler of service 10.0.0.200:80/tcp from rr to wrr") || views() != was {
		t.Errorf("a dry run says %s and leaves\n%s", out, views())
	}

	// What is the daemon's is refused; what it does not have, and what is as it has it, is
	// not.
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+strings.Replace(serverFile, "check ", "# check", 1))
	r.TableIs(h, webService, web21, web22, "-A -t 10.0.0.200:80 -s rr")
	mine := webService + "\n" + web21 + "\n" + web22 + "\n-A -t 10.0.0.202:80 -s rr\n"
	if out := shell(r.Binary+" restore /run/rules", mine); !strings.Contains(out, "add service 10.0.0.202:80/tcp") || !strings.Contains(out, "1 service as they were") {
		t.Errorf("restoring beside the daemon: %s", out)
	}
	for _, holds := range []string{"runs", "was killed"} {
		r.Check(h.WriteFile("/run/rules", []byte(webService+"\n"+web21+"\n"), 0o644))
		if _, err := h.Run(r.Binary, "restore", "/run/rules"); err == nil || !strings.Contains(err.Error(), "service 10.0.0.100:80/tcp is lvsha's") {
			t.Errorf("what is the daemon's, which %s: %v", holds, err)
		}
		r.TableIs(h, webService, web21, web22, "-A -t 10.0.0.200:80 -s rr", "-A -t 10.0.0.202:80 -s rr")
		if holds == "runs" {
			r.Check(d.Kill())
		}
	}
}

// TestKernelTraffic: what is counted of a service and its servers, in status and in JSON.
func TestKernelTraffic(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Accept(r.NAT, 8080, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.CopyN(io.Discard, c, 100_000)
		c.Write(make([]byte, 50_000))
	})
	d := r.Lvsha(h, rig.GridFile+`
[service.nat]
listen  = "10.0.0.101:80/tcp"
forward = "nat"
scheduler = "rr"
[[service.nat.server]]
address = "10.1.0.23:8080"
`)
	r.Active(d)
	const connections = 10
	for range connections {
		c := connect(r.Rig, netip.MustParseAddrPort("10.0.0.101:80"))
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := c.Write(make([]byte, 100_000))
		r.Check(err)
		n, err := io.Copy(io.Discard, c)
		c.Close()
		if n != 50_000 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	r.Eventually("everything is counted", 30*time.Second, func() bool {
		s, err := d.Status()
		if err != nil || s.Services[0].Traffic == nil || s.Services[0].Servers[0].Traffic == nil {
			return false
		}
		whole, server := *s.Services[0].Traffic, *s.Services[0].Servers[0].Traffic
		return whole == server && whole.Connections == connections && whole.InBytes > connections*100_000 && whole.InBytes < connections*120_000 &&
			whole.OutBytes > connections*50_000 && whole.OutBytes < connections*60_000 && whole.InPackets > 0 && whole.OutPackets > 0
	})
	r.Eventually("there are rates", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.Services[0].Traffic.InByteRate > 0
	})
	out, err := h.Run(r.Binary, "status", "nat")
	r.Check(err)
	if want := fmt.Sprintf("%d connections so far, in ", connections); strings.Count(out, want) != 2 {
		t.Errorf("status lacks %q:\n%s", want, out)
	}
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
}

// connect opens a TCP connection from the client.
func connect(r *rig.Rig, to netip.AddrPort) net.Conn {
	r.Helper()
	conn, err := lab.Dial(r.Context(), r.Client, to)
	r.Check(err)
	return conn
}
