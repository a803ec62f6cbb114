//go:build ipvskernel

package kernel_test

import (
	"bufio"
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

// from asks a service from an address of the client's, and returns who answers.
func from(r *rig.Rig, source, protocol, to, text string) string {
	r.Helper()
	var conn net.Conn
	err := r.Client.Do(func() (err error) {
		local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(source, "0"))
		if err != nil {
			return err
		}
		d := net.Dialer{Timeout: 4 * time.Second, LocalAddr: local}
		if protocol == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: local.IP}
		}
		conn, err = d.Dial(protocol, to)
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(4 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		return err.Error()
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	name, _, _ := strings.Cut(string(b[:n]), " ")
	return name
}

// TestKernelPersistence: what counts as one client under each kind of persistence, with
// round robin, which would send every connection to another server.
func TestKernelPersistence(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	r.Run(r.TUN, "ip", "addr add 10.0.0.100/32 dev lo")
	for _, a := range []string{"10.0.0.10", "10.0.0.11", "10.0.0.12"} {
		r.Run(r.Client, "ip", "addr add "+a+"/24 dev eth0")
	}
	file := rig.GridFile
	service := func(name, listen, more string) {
		file += fmt.Sprintf("[service.%[1]s]\nlisten = %[2]s\nforward = \"dr\"\nscheduler = \"rr\"\npersistence = \"5m\"\n%[3]s\n[[service.%[1]s.server]]\naddress = \"10.0.0.21\"\n[[service.%[1]s.server]]\naddress = \"10.0.0.22\"\n",
			name, listen, more)
	}
	service("port", `["10.0.0.100:7700/tcp", "10.0.0.100:7701/tcp"]`, "")
	service("client", `"10.0.0.100:0/tcp"`, "")
	service("network", `"10.0.0.100:7710/tcp"`, "persistence_mask = 29")
	service("mark", `["10.0.0.100:7720/tcp", "10.0.0.100:7721/tcp"]`, `mark = "auto"`)
	service("call", `"10.0.0.100:5060/udp"`, `persistence_engine = "sip"`)
	for _, server := range []*lab.Host{r.DR, r.TUN} {
		for _, port := range []uint16{7700, 7701, 7705, 7706, 7710, 7720, 7721} {
			r.Talk(server, "tcp", netip.AddrPortFrom(rig.VIP, port))
		}
		r.Talk(server, "udp", netip.AddrPortFrom(rig.VIP, 5060))
	}
	d := r.Lvsha(h, file)
	r.Active(d)
	ready := func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok" && s.Filter != nil && s.Filter.State == "ok" && strings.Count(r.Table(h), "-a ") == 12
	}
	r.Eventually("the table", 10*time.Second, ready)
	// shared is whether all these are one client, over several tries of each.
	shared := func(name string, want bool, cells ...string) {
		t.Helper()
		where := make(map[string]string)
		servers := make(map[string]bool)
		for range 3 {
			for _, c := range cells {
				source, to, _ := strings.Cut(c, ">")
				server := from(r.Rig, source, "tcp", to, "?")
				if was, seen := where[c]; seen && was != server {
					t.Errorf("%s: %s is at %s, and was at %s", name, c, server, was)
				}
				where[c], servers[server] = server, true
			}
		}
		if got := len(servers) == 1; got != want {
			t.Errorf("%s: %v", name, where)
		}
		fmt.Printf("matrix: persistence %s: %s are one client: %t\n", name, strings.Join(cells, " "), len(servers) == 1)
	}
	shared("per port", false, "10.0.0.9>10.0.0.100:7700", "10.0.0.10>10.0.0.100:7700")
	shared("per client", true, "10.0.0.9>10.0.0.100:7705", "10.0.0.9>10.0.0.100:7706")
	shared("per client", false, "10.0.0.9>10.0.0.100:7705", "10.0.0.10>10.0.0.100:7706")
	shared("by network", true, "10.0.0.9>10.0.0.100:7710", "10.0.0.10>10.0.0.100:7710", "10.0.0.12>10.0.0.100:7710")
	shared("by mark", true, "10.0.0.9>10.0.0.100:7720", "10.0.0.9>10.0.0.100:7721")
	shared("by mark", false, "10.0.0.9>10.0.0.100:7721", "10.0.0.10>10.0.0.100:7720")

	// Calls of one client, each from a port of its own.
	call := func(id int) string {
		return from(r.Rig, "10.0.0.9", "udp", "10.0.0.100:5060", fmt.Sprintf("INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9\r\nFrom: <sip:a@example.com>\r\nTo: <sip:b@example.com>\r\nCall-ID: call-%d@10.0.0.9\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", id))
	}
	where, servers := make(map[int]string), make(map[string]bool)
	for range 3 {
		for id := range 8 {
			server := call(id)
			if was, seen := where[id]; seen && was != server {
				t.Errorf("call %d is at %s, and was at %s", id, server, was)
			}
			where[id], servers[server] = server, true
		}
	}
	if len(servers) != 2 || !servers["dr"] || !servers["tun"] {
		t.Errorf("calls are at %v", where)
	}
	fmt.Printf("matrix: persistence by call: calls stay, and those of one client are with %d servers\n", len(servers))

	// The engine comes back when somebody's edit has taken it away, and can be changed
	// in place.
	table := r.Table(h)
	r.Run(h, "ipvsadm", "-E -u 10.0.0.100:5060 -s rr -p 300")
	r.Eventually("the engine is back", 45*time.Second, func() bool { return r.Table(h) == table })
	r.Check(h.WriteFile(rig.ConfigPath, []byte(strings.Replace(file, `persistence_engine = "sip"`, "", 1)), 0o644))
	r.Run(h, r.Binary, "reload")
	r.Eventually("the engine is gone", 45*time.Second, func() bool { return r.Table(h) == strings.Replace(table, " --pe sip", "", 1) })
	if strings.Contains(table, "--pe sip") != true {
		t.Errorf("there was no engine:\n%s", table)
	}
}

// TestKernelTimeouts: those of the file are set and kept, and a stop puts back what was
// found.
func TestKernelTimeouts(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	timeouts := func() string {
		out, err := h.Run("ipvsadm", "-Ln", "--timeout")
		r.Check(err)
		return strings.TrimSpace(strings.TrimPrefix(out, "Timeout (tcp tcpfin udp): "))
	}
	r.Run(h, "ipvsadm", "--set 1000 100 200")
	file := rig.GridFile + "[ipvs]\ntimeouts = { tcp = \"2h\", udp = \"30s\" }\n" + `
[service.web]
listen = "10.0.0.100:80/tcp"
forward = "dr"
[[service.web.server]]
address = "10.0.0.21"
`
	d := r.Lvsha(h, file)
	r.Active(d)
	r.Eventually("the timeouts", 30*time.Second, func() bool { return timeouts() == "7200 100 30" })
	r.Run(h, "ipvsadm", "--set 5 6 7")
	r.Eventually("the timeouts again", 30*time.Second, func() bool { return timeouts() == "7200 6 30" })
	r.Check(d.Kill())
	d = r.Again(h)
	r.Active(d)
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop: %d, %v", code, err)
	}
	if got := timeouts(); got != "1000 6 200" {
		t.Errorf("after a stop: %s", got)
	}
	d = r.Again(h)
	r.Active(d)
	r.Eventually("the timeouts after a start", 30*time.Second, func() bool { return timeouts() == "7200 6 30" })
	r.Check(d.Kill())
	r.Run(h, r.Binary, "cleanup --all")
	if got := timeouts(); got != "1000 6 200" {
		t.Errorf("after a cleanup: %s", got)
	}
}

// passive is an FTP server with nothing but PASV: on the second connection it says who
// asks.
func passive(r *rig.Rig, h *lab.Host, at netip.AddrPort) {
	r.Helper()
	var l net.Listener
	r.Check(h.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	}))
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, "220 ready\r\n")
				if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
					return
				}
				var data net.Listener
				if err := h.Do(func() (err error) {
					data, err = net.Listen("tcp", netip.AddrPortFrom(at.Addr(), 0).String())
					return err
				}); err != nil {
					return
				}
				defer data.Close()
				port := netip.MustParseAddrPort(data.Addr().String()).Port()
				fmt.Fprintf(c, "227 Entering Passive Mode (%s,%d,%d).\r\n", strings.ReplaceAll(at.Addr().String(), ".", ","), port>>8, port&0xff)
				data.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
				d, err := data.Accept()
				if err != nil {
					return
				}
				defer d.Close()
				asker := netip.MustParseAddrPort(d.RemoteAddr().String()).Addr()
				fmt.Fprintf(d, "%s %s", h.Name, asker)
			}()
		}
	}()
}

// get fetches by passive FTP, and returns where the data came from and what it was.
func get(r *rig.Rig, at string) (from, data string) {
	r.Helper()
	var conn net.Conn
	dial := func(to string) (err error) {
		return r.Client.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", to, 4*time.Second)
			return err
		})
	}
	if err := dial(at); err != nil {
		return "", err.Error()
	}
	control := conn
	defer control.Close()
	control.SetDeadline(time.Now().Add(8 * time.Second))
	lines := bufio.NewReader(control)
	if _, err := lines.ReadString('\n'); err != nil {
		return "", err.Error()
	}
	io.WriteString(control, "PASV\r\n")
	line, err := lines.ReadString('\n')
	if err != nil {
		return "", err.Error()
	}
	var a [4]byte
	var high, low int
	_, numbers, _ := strings.Cut(line, "(")
	if _, err := fmt.Sscanf(numbers, "%d,%d,%d,%d,%d,%d", &a[0], &a[1], &a[2], &a[3], &high, &low); err != nil {
		return "", fmt.Sprintf("%q: %v", line, err)
	}
	from = netip.AddrFrom4(a).String()
	if err := dial(fmt.Sprintf("%s:%d", from, high<<8|low)); err != nil {
		return from, err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(8 * time.Second))
	b, err := io.ReadAll(conn)
	if err != nil {
		return from, err.Error()
	}
	return from, string(b)
}

// TestKernelFTP: the kernel's helper leads the second connection of passive FTP to the
// server too, and connections over port 21 alone do not.
func TestKernelFTP(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	h := r.LVS[0]
	passive(r.Rig, r.NAT, netip.MustParseAddrPort("10.1.0.23:21"))
	passive(r.Rig, r.NAT, netip.MustParseAddrPort("10.1.0.23:2121"))
	d := r.Lvsha(h, rig.GridFile+`
[service.files]
listen = "10.0.0.101:21/tcp"
forward = "nat"
helper = "ftp"
[[service.files.server]]
address = "10.1.0.23"
[service.bare]
listen = "10.0.0.101:2121/tcp"
forward = "nat"
[[service.bare.server]]
address = "10.1.0.23"
`)
	r.Active(d)
	r.Eventually("the table and the parameters", 30*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok" && strings.Count(r.Table(h), "-a ") == 2 && !strings.Contains(fmt.Sprint(s.Problems), "ftp")
	})
	for _, c := range []struct{ at, from, data string }{{"10.0.0.101:21", "10.0.0.101", "nat 10.0.0.9"}, {"10.0.0.101:2121", "10.1.0.23", ""}} {
		from, data := get(r.Rig, c.at)
		if from != c.from || c.data != "" && data != c.data || c.data == "" && strings.HasPrefix(data, "nat") {
			t.Errorf("%s: data from %s: %q, want %s: %q", c.at, from, data, c.from, c.data)
		}
		fmt.Printf("matrix: passive ftp at %s: data is at %s\n", c.at, from)
	}
}
