//go:build ipvskernel

package main_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
	"lvsha/ipvs"
)

// grid is a director with a real server for each forwarding method, in both families.
// The last octet of a virtual address is 100 for direct routing, 101 for NAT and 102 for
// tunnels, and the servers have those of theirs.
//
//	client .9, lvs1 .1, lvs2 .2 ── 10.0.0.0/24, 2001:db8::/64   ── dr .21 (.100 on lo), tun .22 (.102 on lo)
//	           lvs1 .1, lvs2 .2 ── 10.1.0.0/24, 2001:db8:1::/64 ── nat .23 (default route by .254)
type grid struct {
	*rig
	dr, tun, nat *lab.Host
	back         *lab.Segment
}

func newGrid(t testing.TB) *grid {
	t.Helper()
	r := &grid{rig: newRig6(t)}
	var err error
	r.back, err = r.net.Segment("back")
	r.check(err)
	host := func(name string, on *lab.Segment, address, address6 string) *lab.Host {
		h, err := r.net.Host(name)
		r.check(err)
		_, err = on.Attach(h, "eth0", address)
		r.check(err)
		r.run(h, "ip", "addr add "+address6+" dev eth0 nodad")
		for name, value := range map[string]string{"arp_ignore": "1", "arp_announce": "2", "rp_filter": "0"} {
			r.check(h.Sysctl("net/ipv4/conf/all/"+name, value))
			r.check(h.Sysctl("net/ipv4/conf/eth0/"+name, value))
		}
		return h
	}
	r.dr = host("dr", r.segment, "10.0.0.21/24", "2001:db8::21/64")
	r.tun = host("tun", r.segment, "10.0.0.22/24", "2001:db8::22/64")
	r.nat = host("nat", r.back, "10.1.0.23/24", "2001:db8:1::23/64")
	for i := range r.lvs {
		r.equip(i)
	}
	r.run(r.nat, "ip", "route add default via 10.1.0.254")
	r.run(r.nat, "ip", "-6 route add default via 2001:db8:1::254")
	r.run(r.dr, "ip", "addr add 10.0.0.100/32 dev lo")
	r.run(r.dr, "ip", "addr add 2001:db8::100/128 dev lo nodad")
	r.run(r.tun, "ip", "addr add 10.0.0.102/32 dev lo")
	r.run(r.tun, "ip", "addr add 2001:db8::102/128 dev lo nodad")
	r.run(r.tun, "ip", "link add ipip type ipip local 10.0.0.22 ttl 64")
	r.run(r.tun, "ip", "link add sit type sit local 10.0.0.22 ttl 64")
	r.run(r.tun, "ip", "link add ip6 type ip6tnl local 2001:db8::22 mode any")
	for _, name := range []string{"ipip", "sit", "ip6"} {
		r.run(r.tun, "ip", "link set "+name+" up")
		r.check(r.tun.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
	return r
}

// equip gives a director its place on the back.
func (r *grid) equip(i int) {
	r.Helper()
	h := r.lvs[i]
	_, err := r.back.Attach(h, "eth1", fmt.Sprintf("10.1.0.%d/24", i+1))
	r.check(err)
	r.run(h, "ip", fmt.Sprintf("addr add 2001:db8:1::%d/64 dev eth1 nodad", i+1))
	for _, name := range []string{"all", "eth0", "eth1"} {
		r.check(h.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
}

// boot makes a director whose power was taken anew, with a way to the far servers.
func (r *grid) boot(i int) {
	r.Helper()
	name := fmt.Sprintf("lvs%d", i+1)
	var err error
	r.lvs[i], err = r.net.Host(name)
	r.check(err)
	r.ports[i], err = r.segment.Attach(r.lvs[i], "eth0", address[name].String()+"/24")
	r.check(err)
	r.run(r.lvs[i], "ip", fmt.Sprintf("addr add 2001:db8::%d/64 dev eth0 nodad", i+1))
	r.check(r.lvs[i].Sysctl("net/ipv6/conf/all/forwarding", "1"))
	r.equip(i)
	r.run(r.lvs[i], "ip", "route add 10.9.0.0/24 via 10.0.0.8")
	r.run(r.lvs[i], "ip", "-6 route add 2001:db8:9::/64 via 2001:db8::8")
}

func (r *rig) run(h *lab.Host, program, args string) {
	r.Helper()
	_, err := h.Run(program, strings.Fields(args)...)
	r.check(err)
}

// protocols are what the servers speak, with their socket types.
var protocols = map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM, "sctp": unix.SOCK_STREAM}

// socket makes a socket of a protocol, in the present namespace.
func socket(protocol string, a netip.Addr) (fd int, err error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	number := map[string]int{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}[protocol]
	return unix.Socket(family, protocols[protocol]|unix.SOCK_CLOEXEC, number)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// tell has a host answer on an address with its name, who asked and what was asked:
// "dr 10.0.0.9>10.0.0.100:7000".
func (r *rig) tell(h *lab.Host, protocol string, at netip.AddrPort) {
	r.Helper()
	var file *os.File
	r.check(h.Do(func() error {
		fd, err := socket(protocol, at.Addr())
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), protocol)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(at)); err != nil {
			return fmt.Errorf("binding %s to %s: %w", protocol, at, err)
		}
		if protocol == "udp" {
			return nil
		}
		return unix.Listen(fd, 16)
	}))
	defer file.Close()
	answer := func(from net.Addr) []byte {
		asker := netip.MustParseAddrPort(from.String()).Addr().Unmap()
		return fmt.Appendf(nil, "%s %s>%s", h.Name, asker, at)
	}
	if protocol == "udp" {
		conn, err := net.FilePacketConn(file)
		r.check(err)
		r.Cleanup(func() { conn.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := conn.ReadFrom(b)
				if err != nil {
					return
				}
				conn.WriteTo(answer(from), from)
			}
		}()
		return
	}
	l, err := net.FileListener(file)
	r.check(err)
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(answer(c.RemoteAddr()))
			c.Close()
		}
	}()
}

// ask is what a host is told at an address, with a firewall mark if that is not zero; or
// why it is told nothing.
func (r *rig) ask(h *lab.Host, protocol string, to netip.AddrPort, mark int) string {
	var conn net.Conn
	err := h.Do(func() error {
		fd, err := socket(protocol, to.Addr())
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), protocol)
		defer file.Close()
		if mark != 0 {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
				return err
			}
		}
		// Which bounds connect too; a first packet that is lost is sent again after a second.
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 4}); err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(to)); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		conn, err = net.FileConn(file)
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(4 * time.Second))
	if protocol == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err.Error()
		}
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	return string(b[:n])
}

// gridFile is the file of the director, without services.
const gridFile = `
manage_sysctls = true
[director.lvs1]
address  = ["10.0.0.1", "2001:db8::1"]
priority = 150
[director.lvs2]
address  = ["10.0.0.2", "2001:db8::2"]
[vrrp.four]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["10.0.0.100/24", "10.0.0.101/24", "10.0.0.102/24", "10.1.0.254/24 dev eth1"]
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["2001:db8::100/64", "2001:db8::101/64", "2001:db8::102/64", "2001:db8:1::254/64 dev eth1"]
`

// active waits until a director has all addresses.
func (r *grid) active(d *lab.Daemon) {
	r.Helper()
	r.eventually("the director is active", 20*time.Second, func() bool { return d.Router("four").State == "active" && d.Router("six").State == "active" })
}

// TestKernelMatrix: the file's service is the kernel's, and its packets arrive, for
// every family, protocol, forwarding method and scheduler. What arrived is printed, which
// TestWithIPVSKernel compares with ipvs/testdata/matrix.txt.
func TestKernelMatrix(t *testing.T) {
	r := newGrid(t)
	names := slices.DeleteFunc(ipvs.SchedulerNames(), func(s string) bool { return s == "twos" }) // not in Debian's
	file := gridFile
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
			r.tell(r.nat, protocol, natServer)
			for m, method := range []string{"dr", "nat", "tun"} {
				vip := netip.MustParseAddr(fmt.Sprintf(family.vips, m))
				server := []string{fmt.Sprintf(family.servers, 21), natServer.String(), fmt.Sprintf(family.servers, 22)}[m]
				for i, scheduler := range names {
					at := netip.AddrPortFrom(vip, uint16(7000+i))
					if method != "nat" {
						r.tell([]*lab.Host{r.dr, nil, r.tun}[m], protocol, at)
					}
					name := fmt.Sprintf("%s-%s-%s-%s", family.name, protocol, method, scheduler)
					file += fmt.Sprintf("[service.%s]\nlisten = \"%s/%s\"\nscheduler = %q\nforward = %q\n[[service.%s.server]]\naddress = %q\n",
						name, at, protocol, scheduler, method, name, server)
					cells = append(cells, cell{fmt.Sprintf("%s %s %s", family.name, protocol, method), scheduler, protocol, at})
				}
			}
		}
	}
	r.active(r.lvsha(r.lvs[0], file))
	r.eventually("the table is complete", 20*time.Second, func() bool { return strings.Count(r.table(r.lvs[0]), "-A ") == len(cells) })
	got := make(map[string]map[string][]string) // row, what arrived, schedulers
	var rows []string
	for _, c := range cells {
		answer := r.ask(r.client, c.protocol, c.vip, 0)
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
	r := newGrid(t)
	r.run(r.tun, "ip", "addr add 10.0.0.24/24 dev eth0")
	r.run(r.tun, "ip", "addr add 2001:db8::24/64 dev eth0 nodad")
	for name, args := range map[string]string{
		"gre4": "gre local 10.0.0.22", "sum4": "gre local 10.0.0.24 icsum", "gre6": "ip6gre local 2001:db8::22", "sum6": "ip6gre local 2001:db8::24 icsum",
	} {
		r.run(r.tun, "ip", "link add "+name+" type "+args)
		r.run(r.tun, "ip", "link set "+name+" up")
		r.check(r.tun.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
	}
	r.run(r.tun, "ip", "fou add port 6080 gue")
	r.run(r.tun, "ip", "-6 fou add port 6080 gue")
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
	file := gridFile
	type cell struct {
		name, protocol string
		vip            netip.AddrPort
	}
	var cells []cell
	for _, inner := range []string{"10.0.0.102", "2001:db8::102"} {
		for _, outer := range []string{"10.0.0.", "2001:db8::"} {
			for i, w := range tunnels {
				at := netip.AddrPortFrom(netip.MustParseAddr(inner), uint16(7100+len(cells)))
				name := fmt.Sprintf("%s in %s by %s", familyName(at.Addr().Is6()), familyName(strings.Contains(outer, ":")), w.name)
				for _, protocol := range []string{"tcp", "udp"} {
					r.tell(r.tun, protocol, at)
					cells = append(cells, cell{name, protocol, at})
				}
				key := fmt.Sprintf("s%d-%d", len(cells), i)
				file += fmt.Sprintf("[service.%s]\nlisten = [\"%s/tcp\", \"%s/udp\"]\nforward = \"tun\"\ntunnel = %s\n[[service.%s.server]]\naddress = %q\n",
					key, at, at, w.tunnel, key, outer+w.server)
			}
		}
	}
	r.active(r.lvsha(r.lvs[0], file))
	r.eventually("the table is complete", 20*time.Second, func() bool { return strings.Count(r.table(r.lvs[0]), "-a ") == len(cells) })
	for _, c := range cells {
		want := fmt.Sprintf("tun %s>%s", map[bool]string{false: "10.0.0.9", true: "2001:db8::9"}[c.vip.Addr().Is6()], c.vip)
		got := r.ask(r.client, c.protocol, c.vip, 0)
		if got != want {
			t.Errorf("%s %s: %s, want %s", c.name, c.protocol, got, want)
		}
		fmt.Printf("matrix: %s %s: %s\n", c.name, c.protocol, strings.Replace(got, fmt.Sprintf(":%d", c.vip.Port()), ":port", 1))
	}
}

// TestKernelMarks: packets that a rule has marked get to the servers of the service by
// mark, whatever address and port they are for.
func TestKernelMarks(t *testing.T) {
	r := newGrid(t)
	h := r.lvs[0]
	r.check(h.WriteFile("/tmp/marks.nft", []byte(`table inet site {
	chain marks {
		type filter hook prerouting priority mangle
		th dport 7200-7203 ip daddr 10.0.0.100 meta mark set 5
		th dport 7200-7203 ip6 daddr 2001:db8::100 meta mark set 5
		th dport 7200-7203 ip daddr 10.0.0.101 meta mark set 6
		th dport 7200-7203 ip6 daddr 2001:db8::101 meta mark set 6
	}
}
`), 0o644))
	r.run(h, "nft", "-f /tmp/marks.nft")
	file := gridFile + `
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
	r.tell(r.dr, "tcp", own) // for the check
	type cell struct {
		name, protocol, to, want string
	}
	var cells []cell
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		r.tell(r.nat, protocol, netip.MustParseAddrPort("10.1.0.23:6999"))
		for _, c := range []struct{ name, to, server string }{
			{"dr", "10.0.0.100:7201", "10.0.0.100:7201"}, {"dr", "[2001:db8::100]:7202", "[2001:db8::100]:7202"},
			{"nat", "10.0.0.101:7203", "10.1.0.23:6999"}, {"nat", "[2001:db8::101]:7203", "[2001:db8:1::23]:7203"},
		} {
			if at := netip.MustParseAddrPort(c.server); at.Port() != 6999 {
				r.tell(map[string]*lab.Host{"dr": r.dr, "nat": r.nat}[c.name], protocol, at)
			}
			client := map[bool]string{false: "10.0.0.9", true: "2001:db8::9"}[strings.Contains(c.to, "[")]
			cells = append(cells, cell{c.name, protocol, c.to, fmt.Sprintf("%s %s>%s", c.name, client, c.server)})
		}
	}
	d := r.lvsha(h, file)
	r.active(d)
	r.tableIs(h,
		"-A -f 5 -s wlc", "-a -f 5 -r 10.0.0.21:0 -g -w 1", "-A -f 5 -6 -s wlc", "-a -f 5 -6 -r [2001:db8::21]:0 -g -w 1",
		"-A -f 6 -s wlc", "-a -f 6 -r 10.1.0.23:6999 -m -w 1", "-A -f 6 -6 -s wlc", "-a -f 6 -6 -r [2001:db8:1::23]:0 -m -w 1",
	)
	for _, c := range cells {
		got := r.ask(r.client, c.protocol, netip.MustParseAddrPort(c.to), 0)
		if got != c.want {
			t.Errorf("%s to %s: %s, want %s", c.protocol, c.to, got, c.want)
		}
		fmt.Printf("matrix: marked %s to %s: %s\n", c.protocol, c.to, got)
	}
	if s, err := d.Status(); err != nil || len(s.Services) != 4 || !slices.Equal(s.Services[1].Listen, []string{"mark 5 ipv6"}) || len(s.Foreign) > 0 {
		t.Errorf("status %+v, %v", s.Services, err)
	}
	// A crash and a reload leave them as they are, and a stop takes them away.
	table := r.table(h)
	r.check(d.Kill())
	d = r.lvsha(h, file)
	r.active(d)
	if got := r.table(h); got != table {
		t.Errorf("after a crash:\n%s", got)
	}
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	r.tableIs(h, "")
}

// count asks several times, each from a socket of its own, and counts who answered.
func (r *grid) count(protocol string, to netip.AddrPort, times int) map[string]int {
	r.Helper()
	out := make(map[string]int)
	for range times {
		name, _, _ := strings.Cut(r.ask(r.client, protocol, to, 0), " ")
		out[name]++
	}
	return out
}

// TestKernelOptions: what scheduler flags, one-packet scheduling and thresholds do to
// traffic.
func TestKernelOptions(t *testing.T) {
	r := newGrid(t)
	h := r.lvs[0]
	r.run(r.tun, "ip", "addr add 10.0.0.100/32 dev lo")
	file := gridFile
	for port, options := range []string{
		`scheduler = "rr"`,
		"scheduler = \"rr\"\none_packet = true",
		`scheduler = "mh"`,
		"scheduler = \"mh\"\nscheduler_flags = [\"mh-port\", \"mh-fallback\"]",
		"scheduler = \"sh\"\nscheduler_flags = \"sh-port\"",
		"scheduler = \"rr\"\n#full",
	} {
		at := netip.AddrPortFrom(vip, uint16(7300+port))
		for _, server := range []*lab.Host{r.dr, r.tun} {
			r.tell(server, "udp", at)
			r.tell(server, "tcp", at)
		}
		protocol, upper := "udp", ""
		if port == 5 {
			protocol, upper = "tcp", "upper_threshold = 1\n"
		}
		file += fmt.Sprintf("[service.s%d]\nlisten = \"%s/%s\"\nforward = \"dr\"\n%s\n[[service.s%[1]d.server]]\naddress = \"10.0.0.21\"\n%[5]s[[service.s%[1]d.server]]\naddress = \"10.0.0.22\"\n",
			port, at, protocol, options, upper)
	}
	r.tell(r.nat, "udp", netip.MustParseAddrPort("10.1.0.23:7306"))
	file += `
[service.nat]
listen = "10.0.0.101:7306/udp"
forward = "nat"
one_packet = true
[[service.nat.server]]
address = "10.1.0.23"
`
	r.active(r.lvsha(h, file))
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
	r.tableIs(h, want...)
	full := func() bool {
		out, err := h.Run("ipvsadm", "-Ln", "--thresholds", "-t", "10.0.0.100:7305")
		r.check(err)
		return regexp.MustCompile(`10\.0\.0\.21:7305 +1 +0 `).MatchString(out)
	}
	r.eventually("the threshold", 5*time.Second, full)

	// Datagrams of one socket.
	for _, c := range []struct {
		port int
		both bool
	}{{7300, false}, {7301, true}} {
		var conn net.Conn
		r.check(r.client.Do(func() (err error) {
			conn, err = net.Dial("udp4", fmt.Sprintf("10.0.0.100:%d", c.port))
			return err
		}))
		seen := make(map[string]int)
		b := make([]byte, 100)
		for range 10 {
			conn.SetDeadline(time.Now().Add(4 * time.Second))
			_, err := conn.Write([]byte("?"))
			r.check(err)
			n, err := conn.Read(b)
			r.check(err)
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
		seen := r.count("udp", netip.AddrPortFrom(vip, uint16(c.port)), 20)
		if both := len(seen) == 2; both != c.both {
			t.Errorf("port %d: %v", c.port, seen)
		}
		t.Logf("20 sockets to port %d: %v", c.port, seen)
	}
	// Of one packet by NAT there is no answer.
	if got := r.ask(r.client, "udp", netip.MustParseAddrPort("10.0.0.101:7306"), 0); strings.HasPrefix(got, "nat") {
		t.Errorf("one packet by NAT was answered: %s", got)
	}
	// The server that is full with one.
	if seen := r.count("tcp", netip.AddrPortFrom(vip, 7305), 6); seen["dr"] != 1 || seen["tun"] != 5 {
		t.Errorf("a server with an upper threshold of 1: %v", seen)
	}

	// What somebody takes away by hand comes back.
	r.run(h, "ipvsadm", "-E -u 10.0.0.100:7303 -s mh")
	r.run(h, "ipvsadm", "-e -t 10.0.0.100:7305 -r 10.0.0.21:7305 -g -w 1 -x 0")
	r.tableIs(h, want...)
	r.eventually("the threshold again", 15*time.Second, full)
}

// TestKernelMixedFamilies: the kernel refuses a server of the other family beside a sync
// daemon, and says so in words.
func TestKernelMixedFamilies(t *testing.T) {
	r := newGrid(t)
	h := r.lvs[0]
	r.run(h, "ipvsadm", "--start-daemon master --mcast-interface eth1")
	d := r.lvsha(h, gridFile+`
[service.mixed]
listen = "10.0.0.102:7000/tcp"
forward = "tun"
[[service.mixed.server]]
address = "2001:db8::22"
`)
	r.active(d)
	r.eventually("the kernel's refusal in words", 10*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && strings.Contains(s.IPVS.State, "takes no server of another address family than its service's beside a sync daemon")
	})
	r.run(h, "ipvsadm", "--stop-daemon master")
	r.tableIs(h, "-A -t 10.0.0.102:7000 -s wlc", "-a -t 10.0.0.102:7000 -r [2001:db8::22]:7000 -i -w 1 --tun-type ipip")
	if out, err := h.Run("ipvsadm", "--start-daemon", "master", "--mcast-interface", "eth1"); err == nil {
		t.Errorf("a sync daemon was started beside a mixed pool: %s", out)
	}
}

// TestKernelThroughIPv6: checks through services of IPv6, and of one family with servers
// of the other, on the active director and on the backup.
func TestKernelThroughIPv6(t *testing.T) {
	r := newGrid(t)
	file := gridFile
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
			r.tell(map[string]*lab.Host{"dr": r.dr, "tun": r.tun, "nat": r.nat}[s.forward], protocol, at)
		}
	}
	d1 := r.lvsha(r.lvs[0], file)
	r.active(d1)
	d2 := r.lvsha(r.lvs[1], file)
	r.eventually("the other is the backup", 20*time.Second, func() bool { return d2.Router("four").State == "backup" && d2.Router("six").State == "backup" })
	all := []string{"dr", "tun", "nat", "six-in-four", "four-in-six"}
	are := func(state string, names ...string) {
		t.Helper()
		for _, name := range names {
			for _, protocol := range []string{"tcp", "udp"} {
				for i, d := range []*lab.Daemon{d1, d2} {
					what := fmt.Sprintf("%s-%s is %s for lvs%d", name, protocol, state, i+1)
					if _, err := lab.Eventually("", 20*time.Second, func() bool { return r.server(d, name+"-"+protocol).State == state }); err != nil {
						s, _ := d.Status()
						t.Fatalf("not so: %s: %+v\n%+v\nproblems %q", what, r.server(d, name+"-"+protocol), s.IPVS, s.Problems)
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
		{[]string{"dr"}, r.dr, "addr del 2001:db8::100/128 dev lo", "addr add 2001:db8::100/128 dev lo nodad"},
		{[]string{"tun", "four-in-six"}, r.tun, "link set ip6 down", "link set ip6 up"},
		{[]string{"six-in-four"}, r.tun, "link set sit down", "link set sit up"},
		{[]string{"nat"}, r.nat, "-6 route replace default via 2001:db8:1::99", "-6 route replace default via 2001:db8:1::254"},
	} {
		r.run(f.host, "ip", f.break_)
		are("down", f.names...)
		r.run(f.host, "ip", f.fix)
		are("up", all...)
	}
	for _, d := range []*lab.Daemon{d1, d2} {
		s, err := d.Status()
		if err != nil || len(s.Foreign) > 0 || strings.Contains(fmt.Sprint(s.Problems), "check") {
			t.Errorf("status: problems %q, foreign %q, %v", s.Problems, s.Foreign, err)
		}
	}
	// The addresses move, and no check notices.
	if _, err := r.lvs[0].Run(r.binary, "yield"); err != nil {
		t.Fatal(err)
	}
	r.active(d2)
	r.settle(3 * time.Second) // ten probes
	are("up", all...)
}
