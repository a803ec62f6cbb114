//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	"lvsha/ipvs"
)

// TestKernelMatrix: the file's service is the kernel's, and its packets arrive, for
// every family, protocol, forwarding method and scheduler. What arrived is printed, which
// TestWithIPVSKernel compares with ipvs/testdata/matrix.txt.
func TestKernelMatrix(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	names := slices.DeleteFunc(ipvs.SchedulerNames(), func(s string) bool { return s == "twos" }) // not in Debian's
	file := rig.GridFile
	type cell struct {
		row, scheduler string
		protocol       string
		vip            netip.AddrPort
	}
	var cells []cell
	for _, family := range []struct{ name, vips, servers, back string }{
		{"IPv4", "10.0.0.1%02d", "10.0.0.%d", "10.1.0.%d"}, {"IPv6", "2001:db8::1%02d", "2001:db8::%d", "2001:db8:1::%d"},
	} {
		for _, protocol := range []string{"tcp", "udp", "sctp"} {
			natServer := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(family.back, 23)), 6999)
			r.Tell(r.NAT, protocol, natServer)
			for m, method := range []string{"dr", "nat", "tun"} {
				vip := netip.MustParseAddr(fmt.Sprintf(family.vips, m))
				server := []string{fmt.Sprintf(family.servers, 21), natServer.String(), fmt.Sprintf(family.servers, 22)}[m]
				for i, scheduler := range names {
					at := netip.AddrPortFrom(vip, uint16(7000+i))
					if method != "nat" {
						r.Tell([]*lab.Host{r.DR, nil, r.TUN}[m], protocol, at)
					}
					name := fmt.Sprintf("%s-%s-%s-%s", family.name, protocol, method, scheduler)
					file += fmt.Sprintf("[service.%s]\nlisten = \"%s/%s\"\nscheduler = %q\nforward = %q\n[[service.%s.server]]\naddress = %q\n",
						name, at, protocol, scheduler, method, name, server)
					cells = append(cells, cell{fmt.Sprintf("%s %s %s", family.name, protocol, method), scheduler, protocol, at})
				}
			}
		}
	}
	r.Active(r.Lvsha(r.LVS[0], file))
	r.Eventually("the table is complete", 30*time.Second, func() bool { return strings.Count(r.Table(r.LVS[0]), "-A ") == len(cells) })
	got := make(map[string]map[string][]string) // row, what arrived, schedulers
	var rows []string
	for _, c := range cells {
		answer := r.Ask(r.Client, c.protocol, c.vip, 0)
		answer = strings.Replace(answer, fmt.Sprintf(":%d", c.vip.Port()), ":port", 1)
		if got[c.row] == nil {
			got[c.row] = make(map[string][]string)
			rows = append(rows, c.row)
		}
		got[c.row][answer] = append(got[c.row][answer], c.scheduler)
	}
	for _, row := range rows {
		for answer, schedulers := range got[row] {
			line := fmt.Sprintf("%s: %s with %s", row, answer, strings.Join(schedulers, " "))
			if len(schedulers) != len(names) {
				t.Error(line)
			}
			fmt.Println("matrix: " + line)
		}
	}
}

// TestKernelTunnels: every kind of tunnel in each family, and from one family to the
// other, as the real server unwraps it.
func TestKernelTunnels(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	r.Run(r.TUN, "ip", "addr add 10.0.0.24/24 dev eth0")
	r.Run(r.TUN, "ip", "addr add 2001:db8::24/64 dev eth0 nodad")
	for name, args := range map[string]string{
		"gre4": "gre local 10.0.0.22", "sum4": "gre local 10.0.0.24 icsum", "gre6": "ip6gre local 2001:db8::22", "sum6": "ip6gre local 2001:db8::24 icsum",
	} {
		r.Run(r.TUN, "ip", "link add "+name+" type "+args)
		r.Run(r.TUN, "ip", "link set "+name+" up")
		r.Check(r.TUN.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
	r.Run(r.TUN, "ip", "fou add port 6080 gue")
	r.Run(r.TUN, "ip", "-6 fou add port 6080 gue")
	// From 10.0.0.22 or 2001:db8::22, or from .24 where checksums are wanted.
	type tunnel struct{ name, tunnel, server string }
	tunnels := []tunnel{
		{"ipip", `{ type = "ipip" }`, "22"},
		{"gue", `{ type = "gue", port = 6080 }`, "22"},
		{"gue plain", `{ type = "gue", port = 6080, checksum = "plain" }`, "22"},
		{"gue remote", `{ type = "gue", port = 6080, checksum = "remote" }`, "22"},
		{"gre", `{ type = "gre" }`, "22"},
		{"gre plain", `{ type = "gre", checksum = "plain" }`, "24"},
	}
	file := rig.GridFile
	type cell struct {
		name, protocol string
		vip            netip.AddrPort
	}
	var cells []cell
	for _, inner := range []string{"10.0.0.102", "2001:db8::102"} {
		for _, outer := range []string{"10.0.0.", "2001:db8::"} {
			for i, w := range tunnels {
				at := netip.AddrPortFrom(netip.MustParseAddr(inner), uint16(7100+len(cells)))
				name := fmt.Sprintf("%s in %s by %s", rig.FamilyName(at.Addr().Is6()), rig.FamilyName(strings.Contains(outer, ":")), w.name)
				for _, protocol := range []string{"tcp", "udp"} {
					r.Tell(r.TUN, protocol, at)
					cells = append(cells, cell{name, protocol, at})
				}
				key := fmt.Sprintf("s%d-%d", len(cells), i)
				file += fmt.Sprintf("[service.%s]\nlisten = [\"%s/tcp\", \"%s/udp\"]\nforward = \"tun\"\ntunnel = %s\n[[service.%s.server]]\naddress = %q\n",
					key, at, at, w.tunnel, key, outer+w.server)
			}
		}
	}
	r.Active(r.Lvsha(r.LVS[0], file))
	r.Eventually("the table is complete", 30*time.Second, func() bool { return strings.Count(r.Table(r.LVS[0]), "-a ") == len(cells) })
	for _, c := range cells {
		want := fmt.Sprintf("tun %s>%s", map[bool]string{false: "10.0.0.9", true: "2001:db8::9"}[c.vip.Addr().Is6()], c.vip)
		got := r.Ask(r.Client, c.protocol, c.vip, 0)
		if got != want {
			t.Errorf("%s %s: %s, want %s", c.name, c.protocol, got, want)
		}
		fmt.Printf("matrix: %s %s: %s\n", c.name, c.protocol, strings.Replace(got, fmt.Sprintf(":%d", c.vip.Port()), ":port", 1))
	}
}

// TestKernelMarks: packets that a rule has marked get to the servers of the service by
// mark, whatever address and port they are for.
func TestKernelMarks(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Check(h.WriteFile("/tmp/marks.nft", []byte(`table inet site {
	chain marks {
		type filter hook prerouting priority mangle
		th dport 7200-7203 ip daddr 10.0.0.100 meta mark set 5
		th dport 7200-7203 ip6 daddr 2001:db8::100 meta mark set 5
		th dport 7200-7203 ip daddr 10.0.0.101 meta mark set 6
		th dport 7200-7203 ip6 daddr 2001:db8::101 meta mark set 6
	}
}
`), 0o644))
	r.Run(h, "nft", "-f /tmp/marks.nft")
	file := rig.GridFile + `
[service.dr]
listen = "mark 5"
forward = "dr"
check = { type = "tcp", port = 7200, interval = "300ms", timeout = "300ms", fall = 1 }
[[service.dr.server]]
address = "10.0.0.21"
[service.dr6]
listen = "mark 5 ipv6"
forward = "dr"
[[service.dr6.server]]
address = "2001:db8::21"
[service.nat]
listen = "mark 6"
forward = "nat"
[[service.nat.server]]
address = "10.1.0.23:6999"
[service.nat6]
listen = "mark 6 ipv6"
forward = "nat"
[[service.nat6.server]]
address = "2001:db8:1::23"
`
	own := netip.MustParseAddrPort("10.0.0.21:7200")
	r.Tell(r.DR, "tcp", own) // for the check
	type cell struct {
		name, protocol, to, want string
	}
	var cells []cell
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		r.Tell(r.NAT, protocol, netip.MustParseAddrPort("10.1.0.23:6999"))
		for _, c := range []struct{ name, to, server string }{
			{"dr", "10.0.0.100:7201", "10.0.0.100:7201"}, {"dr", "[2001:db8::100]:7202", "[2001:db8::100]:7202"},
			{"nat", "10.0.0.101:7203", "10.1.0.23:6999"}, {"nat", "[2001:db8::101]:7203", "[2001:db8:1::23]:7203"},
		} {
			if at := netip.MustParseAddrPort(c.server); at.Port() != 6999 {
				r.Tell(map[string]*lab.Host{"dr": r.DR, "nat": r.NAT}[c.name], protocol, at)
			}
			client := map[bool]string{false: "10.0.0.9", true: "2001:db8::9"}[strings.Contains(c.to, "[")]
			cells = append(cells, cell{c.name, protocol, c.to, fmt.Sprintf("%s %s>%s", c.name, client, c.server)})
		}
	}
	d := r.Lvsha(h, file)
	r.Active(d)
	r.TableIs(h,
		"-A -f 5 -s wlc", "-a -f 5 -r 10.0.0.21:0 -g -w 1", "-A -f 5 -6 -s wlc", "-a -f 5 -6 -r [2001:db8::21]:0 -g -w 1",
		"-A -f 6 -s wlc", "-a -f 6 -r 10.1.0.23:6999 -m -w 1", "-A -f 6 -6 -s wlc", "-a -f 6 -6 -r [2001:db8:1::23]:0 -m -w 1",
	)
	for _, c := range cells {
		got := r.Ask(r.Client, c.protocol, netip.MustParseAddrPort(c.to), 0)
		if got != c.want {
			t.Errorf("%s to %s: %s, want %s", c.protocol, c.to, got, c.want)
		}
		fmt.Printf("matrix: marked %s to %s: %s\n", c.protocol, c.to, got)
	}
	if s, err := d.Status(); err != nil || len(s.Services) != 4 || !slices.Equal(s.Services[1].Listen, []string{"mark 5 ipv6"}) || len(s.Foreign) > 0 {
		t.Errorf("status %+v, %v", s.Services, err)
	}
	// A crash and a reload leave them as they are, and a stop takes them away.
	table := r.Table(h)
	r.Check(d.Kill())
	d = r.Lvsha(h, file)
	r.Active(d)
	if got := r.Table(h); got != table {
		t.Errorf("after a crash:\n%s", got)
	}
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.TableIs(h, "")
}

// count asks several times, each from a socket of its own, and counts who answered.
func count(r *rig.Grid, protocol string, to netip.AddrPort, times int) map[string]int {
	r.Helper()
	out := make(map[string]int)
	for range times {
		name, _, _ := strings.Cut(r.Ask(r.Client, protocol, to, 0), " ")
		out[name]++
	}
	return out
}

// TestKernelOptions: what scheduler flags, one-packet scheduling and thresholds do to
// traffic.
func TestKernelOptions(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Run(r.TUN, "ip", "addr add 10.0.0.100/32 dev lo")
	file := rig.GridFile
	for port, options := range []string{
		`scheduler = "rr"`,
		"scheduler = \"rr\"\none_packet = true",
		`scheduler = "mh"`,
		"scheduler = \"mh\"\nscheduler_flags = [\"mh-port\", \"mh-fallback\"]",
		"scheduler = \"sh\"\nscheduler_flags = \"sh-port\"",
		"scheduler = \"rr\"\n#full",
	} {
		at := netip.AddrPortFrom(rig.VIP, uint16(7300+port))
		for _, server := range []*lab.Host{r.DR, r.TUN} {
			r.Tell(server, "udp", at)
			r.Tell(server, "tcp", at)
		}
		protocol, upper := "udp", ""
		if port == 5 {
			protocol, upper = "tcp", "upper_threshold = 1\n"
		}
		file += fmt.Sprintf("[service.s%d]\nlisten = \"%s/%s\"\nforward = \"dr\"\n%s\n[[service.s%[1]d.server]]\naddress = \"10.0.0.21\"\n%[5]s[[service.s%[1]d.server]]\naddress = \"10.0.0.22\"\n",
			port, at, protocol, options, upper)
	}
	r.Tell(r.NAT, "udp", netip.MustParseAddrPort("10.1.0.23:7306"))
	file += `
[service.nat]
listen = "10.0.0.101:7306/udp"
forward = "nat"
one_packet = true
[[service.nat.server]]
address = "10.1.0.23"
`
	r.Active(r.Lvsha(h, file))
	want := []string{
		"-A -u 10.0.0.101:7306 -s wlc -o", "-a -u 10.0.0.101:7306 -r 10.1.0.23:7306 -m -w 1",
		"-A -u 10.0.0.100:7300 -s rr", "-A -u 10.0.0.100:7301 -s rr -o", "-A -u 10.0.0.100:7302 -s mh",
		"-A -u 10.0.0.100:7303 -s mh -b mh-fallback,mh-port", "-A -u 10.0.0.100:7304 -s sh -b sh-port", "-A -t 10.0.0.100:7305 -s rr",
		"-a -t 10.0.0.100:7305 -r 10.0.0.21:7305 -g -w 1", "-a -t 10.0.0.100:7305 -r 10.0.0.22:7305 -g -w 1",
	}
	for port := range 5 {
		for _, server := range []string{"21", "22"} {
			want = append(want, fmt.Sprintf("-a -u 10.0.0.100:730%d -r 10.0.0.%s:730%[1]d -g -w 1", port, server))
		}
	}
	r.TableIs(h, want...)
	full := func() bool {
		out, err := h.Run("ipvsadm", "-Ln", "--thresholds", "-t", "10.0.0.100:7305")
		r.Check(err)
		return regexp.MustCompile(`10\.0\.0\.21:7305 +1 +0 `).MatchString(out)
	}
	r.Eventually("the threshold", 5*time.Second, full)

	// Datagrams of one socket.
	for _, c := range []struct {
		port int
		both bool
	}{{7300, false}, {7301, true}} {
		var conn net.Conn
		r.Check(r.Client.Do(func() (err error) {
			conn, err = net.Dial("udp4", fmt.Sprintf("10.0.0.100:%d", c.port))
			return err
		}))
		seen := make(map[string]int)
		b := make([]byte, 100)
		for range 10 {
			conn.SetDeadline(time.Now().Add(4 * time.Second))
			_, err := conn.Write([]byte("?"))
			r.Check(err)
			n, err := conn.Read(b)
			r.Check(err)
			name, _, _ := strings.Cut(string(b[:n]), " ")
			seen[name]++
		}
		conn.Close()
		if both := len(seen) == 2; both != c.both {
			t.Errorf("port %d: %v", c.port, seen)
		}
		t.Logf("10 datagrams of one socket to port %d: %v", c.port, seen)
	}
	// Sockets of their own, and so ports of their own.
	for _, c := range []struct {
		port int
		both bool
	}{{7302, false}, {7303, true}, {7304, true}} {
		seen := count(r, "udp", netip.AddrPortFrom(rig.VIP, uint16(c.port)), 20)
		if both := len(seen) == 2; both != c.both {
			t.Errorf("port %d: %v", c.port, seen)
		}
		t.Logf("20 sockets to port %d: %v", c.port, seen)
	}
	// Of one packet by NAT there is no answer.
	if got := r.Ask(r.Client, "udp", netip.MustParseAddrPort("10.0.0.101:7306"), 0); strings.HasPrefix(got, "nat") {
		t.Errorf("one packet by NAT was answered: %s", got)
	}
	// The server that is full with one.
	if seen := count(r, "tcp", netip.AddrPortFrom(rig.VIP, 7305), 6); seen["dr"] != 1 || seen["tun"] != 5 {
		t.Errorf("a server with an upper threshold of 1: %v", seen)
	}

	// What somebody takes away by hand comes back.
	r.Run(h, "ipvsadm", "-E -u 10.0.0.100:7303 -s mh")
	r.Run(h, "ipvsadm", "-e -t 10.0.0.100:7305 -r 10.0.0.21:7305 -g -w 1 -x 0")
	r.TableIs(h, want...)
	r.Eventually("the threshold again", 15*time.Second, full)
}

// TestKernelMixedFamilies: the kernel refuses a server of the other family beside a sync
// daemon, and says so in words.
func TestKernelMixedFamilies(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Run(h, "ipvsadm", "--start-daemon master --mcast-interface eth1")
	d := r.Lvsha(h, rig.GridFile+`
[service.mixed]
listen = "10.0.0.102:7000/tcp"
forward = "tun"
[[service.mixed.server]]
address = "2001:db8::22"
`)
	r.Active(d)
	r.Eventually("the kernel's refusal in words", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && strings.Contains(s.IPVS.State, "takes no server of another address family than its service's beside a sync daemon")
	})
	r.Run(h, "ipvsadm", "--stop-daemon master")
	r.TableIs(h, "-A -t 10.0.0.102:7000 -s wlc", "-a -t 10.0.0.102:7000 -r [2001:db8::22]:7000 -i -w 1 --tun-type ipip")
	if out, err := h.Run("ipvsadm", "--start-daemon", "master", "--mcast-interface", "eth1"); err == nil {
		t.Errorf("a sync daemon was started beside a mixed pool: %s", out)
	}
}

// TestKernelThroughIPv6: checks through services of IPv6, and of one family with servers
// of the other, on the active director and on the backup.
func TestKernelThroughIPv6(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	file := rig.GridFile
	for _, s := range []struct{ name, listen, forward, server string }{
		{"dr", "[2001:db8::100]:7000", "dr", "2001:db8::21"},
		{"tun", "[2001:db8::102]:7000", "tun", "2001:db8::22"},
		{"nat", "[2001:db8::101]:7000", "nat", "[2001:db8:1::23]:6999"},
		{"six-in-four", "[2001:db8::102]:7001", "tun", "10.0.0.22"},
		{"four-in-six", "10.0.0.102:7001", "tun", "2001:db8::22"},
	} {
		for _, protocol := range []string{"tcp", "udp"} {
			expect := ""
			if protocol == "udp" {
				expect = "reply = true, "
			}
			file += fmt.Sprintf("[service.%[1]s-%[2]s]\nlisten = \"%[3]s/%[2]s\"\nforward = %[4]q\ncheck = { type = %[2]q, %[5]sinterval = \"300ms\", timeout = \"300ms\", rise = 1, fall = 4, through = \"service\" }\n[[service.%[1]s-%[2]s.server]]\naddress = %[6]q\n",
				s.name, protocol, s.listen, s.forward, expect, s.server)
			at := netip.MustParseAddrPort(s.listen)
			if s.forward == "nat" {
				at = netip.MustParseAddrPort(s.server)
			}
			r.Tell(map[string]*lab.Host{"dr": r.DR, "tun": r.TUN, "nat": r.NAT}[s.forward], protocol, at)
		}
	}
	d1 := r.Lvsha(r.LVS[0], file)
	r.Active(d1)
	d2 := r.Lvsha(r.LVS[1], file)
	r.Roles(d1, d2)
	all := []string{"dr", "tun", "nat", "six-in-four", "four-in-six"}
	are := func(state string, names ...string) {
		t.Helper()
		for _, name := range names {
			for _, protocol := range []string{"tcp", "udp"} {
				for i, d := range []*lab.Daemon{d1, d2} {
					what := fmt.Sprintf("%s-%s is %s for lvs%d", name, protocol, state, i+1)
					if _, err := lab.Eventually("", 30*time.Second, func() bool { return r.Server(d, name+"-"+protocol).State == state }); err != nil {
						s, _ := d.Status()
						t.Fatalf("not so: %s: %+v\n%+v\nproblems %q", what, r.Server(d, name+"-"+protocol), s.IPVS, s.Problems)
					}
				}
			}
		}
	}
	are("up", all...)
	for _, f := range []struct {
		names       []string
		host        *lab.Host
		break_, fix string
	}{
		{[]string{"dr"}, r.DR, "addr del 2001:db8::100/128 dev lo", "addr add 2001:db8::100/128 dev lo nodad"},
		{[]string{"tun", "four-in-six"}, r.TUN, "link set ip6 down", "link set ip6 up"},
		{[]string{"six-in-four"}, r.TUN, "link set sit down", "link set sit up"},
		{[]string{"nat"}, r.NAT, "-6 route replace default via 2001:db8:1::99", "-6 route replace default via 2001:db8:1::254"},
	} {
		r.Run(f.host, "ip", f.break_)
		are("down", f.names...)
		r.Run(f.host, "ip", f.fix)
		are("up", all...)
	}
	for _, d := range []*lab.Daemon{d1, d2} {
		s, err := d.Status()
		if err != nil || len(s.Foreign) > 0 || strings.Contains(fmt.Sprint(s.Problems), "check") {
			t.Errorf("status: problems %q, foreign %q, %v", s.Problems, s.Foreign, err)
		}
	}
	// The addresses move, and no check notices.
	if _, err := r.LVS[0].Run(r.Binary, "yield"); err != nil {
		t.Fatal(err)
	}
	r.Roles(d2, d1)
	r.Settle(3 * time.Second) // ten probes
	are("up", all...)
}
