//go:build ipvskernel

package kernel_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestKernelProtect: of what is sent to the sync daemons' group, that of the other
// director on the interface of the connection synchronisation gets in, and nothing else;
// without protection all does, and connections are told either way.
func TestKernelProtect(t *testing.T) {
	t.Parallel()
	r := rig.NewGrid(t)
	r.Tell(r.DR, "tcp", netip100(7900))
	service := `
[service.web]
listen = "10.0.0.100:7900/tcp"
forward = "dr"
[[service.web.server]]
address = "10.0.0.21"
`
	const sync = "[sync]\ninterface = \"eth1\"\nid = 4\n"
	protect := "protect = [\"10.1.0.1\", \"10.1.0.2\"]\n"
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 81), Port: 8848}

	// Who hears the group on the first director, beside its kernel.
	heard := make(chan string, 100)
	for _, ifname := range []string{"eth0", "eth1"} {
		var conn *net.UDPConn
		r.Check(r.LVS[0].Do(func() error {
			ifi, err := net.InterfaceByName(ifname)
			if err != nil {
				return err
			}
			conn, err = net.ListenMulticastUDP("udp4", ifi, group)
			return err
		}))
		r.Cleanup(func() { conn.Close() })
		go func() {
			b := make([]byte, 2000)
			for {
				n, _, err := conn.ReadFrom(b)
				if err != nil {
					return
				}
				if text := string(b[:n]); strings.HasPrefix(text, "test ") {
					select {
					case heard <- text:
					default: // enough
					}
				}
			}
		}()
	}
	// send sends to the group from a host's interface, again and again until it is heard,
	// or what was sent after it over another way is.
	senders := []struct {
		name   string
		host   *lab.Host
		ifname string
	}{
		{"test client", r.Client, "eth0"}, {"test other interface", r.LVS[1], "eth0"}, {"test neighbour", r.NAT, "eth0"}, {"test director", r.LVS[1], "eth1"},
	}
	sent := func() map[string]bool {
		t.Helper()
		for len(heard) > 0 {
			<-heard
		}
		for _, s := range senders {
			r.Check(s.host.Do(func() error {
				ifi, err := net.InterfaceByName(s.ifname)
				if err != nil {
					return err
				}
				addrs, err := ifi.Addrs()
				if err != nil {
					return err
				}
				var local net.IP
				for _, a := range addrs {
					if ip := a.(*net.IPNet).IP.To4(); ip != nil && local == nil {
						local = ip
					}
				}
				// The address chooses the interface by its route.
				c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: local})
				if err != nil {
					return err
				}
				defer c.Close()
				raw, err := c.SyscallConn()
				if err != nil {
					return err
				}
				if err := multicastBy(raw, ifi.Index); err != nil {
					return err
				}
				_, err = c.WriteTo([]byte(s.name), group)
				return err
			}))
		}
		seen := make(map[string]bool)
		deadline := time.After(5 * time.Second)
		for !seen["test director"] {
			select {
			case text := <-heard:
				seen[text] = true
			case <-deadline:
				return seen
			}
		}
		// Those on the other segment may be a little later.
		for late := time.After(500 * time.Millisecond); ; {
			select {
			case text := <-heard:
				seen[text] = true
			case <-late:
				return seen
			}
		}
	}
	d1 := r.Lvsha(r.LVS[0], rig.GridFile+service+sync)
	r.Active(d1)
	d2 := r.Lvsha(r.LVS[1], rig.GridFile+service+sync+protect)
	r.Roles(d1, d2)
	synced := func() bool {
		s, err := d1.Status()
		return err == nil && s.Sync != nil && len(s.Sync.Daemons) == 2
	}
	r.Eventually("the sync daemons", 20*time.Second, synced)
	if seen := sent(); len(seen) != 4 {
		t.Errorf("without protection: %v", seen)
	}
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(rig.GridFile+service+sync+protect), 0o644))
	r.Run(r.LVS[0], r.Binary, "reload")
	if seen := sent(); len(seen) != 1 || !seen["test director"] {
		t.Errorf("with protection: %v", seen)
	}
	fmt.Println("matrix: sync protection lets in the other director on its interface alone")

	// Connections are told all the same.
	if got := r.Ask(r.Client, "tcp", netip100(7900), 0); !strings.HasPrefix(got, "dr ") {
		t.Fatal(got)
	}
	r.Eventually("the other director knows the connection", 30*time.Second, func() bool {
		r.Ask(r.Client, "tcp", netip100(7900), 0)
		text, err := r.LVS[1].ReadFile("/proc/thread-self/net/ip_vs_conn")
		r.Check(err)
		return strings.Contains(string(text), "0A000064 1EDC")
	})
	if s, err := d2.Status(); err != nil || s.Filter == nil || s.Filter.State != "ok" {
		t.Errorf("status %+v, %v", s.Filter, err)
	}
}
