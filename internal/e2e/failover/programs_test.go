package failover_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// own is a director's own address.
func (m *match) own(i int) netip.Addr {
	if m.VIP.Is4() {
		return rig.Addresses[m.LVS[i].Name]
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i+1))
}

// start starts a director's program.
func (m *match) start(i, priority int) {
	m.Helper()
	switch m.programs[i] {
	case "lvsha":
		file := rig.VRRPFile(m.version, m.advertise)
		file = strings.Replace(file, "priority = 150", fmt.Sprintf("priority = %d", []int{priority, 150}[i]), 1)
		if m.unicast {
			file += "unicast = true\n"
		}
		if priority == 150 {
			file += fmt.Sprintf("announce = { again = \"0s\", refresh = %q }\n", refresh.String())
		}
		m.running[i] = m.LvshaDirector(i, file)
	case "keepalived":
		file := rig.KeepalivedFile(m.version, m.advertise, priority)
		if m.unicast {
			more := fmt.Sprintf("  unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n", m.own(i), m.own(1-i))
			if m.VIP.Is6() {
				more += "  unicast_ttl 255\n" // 64 if not told
			}
			file = strings.Replace(file, "  virtual_ipaddress {", more+"  virtual_ipaddress {", 1)
		}
		m.running[i] = m.KeepalivedDirector(i, file)
	case "FRR":
		m.running[i] = frr(m.Rig, i, priority, m.advertise)
	}
}

// boot is what a reboot makes of a director: its link is good and nothing is left
// of what it held.
func (m *match) boot(i int) {
	m.Helper()
	m.Check(m.Ports[i].Mend())
	_, err := m.LVS[i].Run("rm", "-rf", "/run/lvsha", "/run/frr", "/run/keepalived.pid", "/run/vrrp.pid")
	m.Check(err)
	if m.programs[i] == "FRR" {
		_, err := m.LVS[i].Run("ip", "link", "del", rig.Macvlan)
		m.Check(err)
	}
	for _, a := range []netip.Addr{m.VIP, rig.LinkLocal6} {
		_, err := m.LVS[i].Run("ip", "addr", "flush", "dev", "eth0", "to", a.String())
		m.Check(err)
	}
}

// frr starts zebra and vrrpd for the same virtual router. vrrpd wants the interface
// of the addresses to be there.
func frr(r *rig.Rig, i, priority int, advertise time.Duration) rig.Director {
	r.Helper()
	h := r.LVS[i]
	mac, addresses, lines := "00:00:5e:00:01:33", []string{r.VIP.String() + "/24"}, " vrrp 51 ip 10.0.0.100\n"
	if r.VIP.Is6() {
		// It advertises from a link-local address of this interface, which must not be
		// that of the virtual router.
		r.Source[i] = netip.MustParseAddr(fmt.Sprintf("fe80::f:%d", i+1))
		mac, addresses = "00:00:5e:00:02:33", []string{rig.LinkLocal6.String() + "/64", r.VIP.String() + "/64", r.Source[i].String() + "/64"}
		lines = " vrrp 51 ipv6 fe80::5e:33\n vrrp 51 ipv6 2001:db8::100\n"
	}
	// The kernel would answer for the addresses on eth0 too.
	r.Check(h.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
	commands := [][]string{
		{"link", "add", rig.Macvlan, "link", "eth0", "address", mac, "type", "macvlan", "mode", "bridge"},
		{"link", "set", rig.Macvlan, "addrgenmode", "none"},
		{"link", "set", rig.Macvlan, "protodown", "on"},
	}
	for _, a := range addresses {
		add := []string{"addr", "add", a, "dev", rig.Macvlan}
		if r.VIP.Is6() {
			add = append(add, "nodad")
		}
		commands = append(commands, add)
	}
	for _, c := range append(commands, []string{"link", "set", rig.Macvlan, "up"}) {
		_, err := h.Run("ip", c...)
		r.Check(err)
	}
	_, err := h.Run("install", "-d", "-o", "frr", "-g", "frr", "/run/frr")
	r.Check(err)
	r.Check(h.WriteFile("/run/frr/zebra.conf", nil, 0o644))
	r.Check(h.WriteFile("/run/frr/vrrpd.conf", []byte(fmt.Sprintf("interface eth0\n vrrp 51 version 3\n vrrp 51 priority %d\n vrrp 51 advertisement-interval %d\n%s",
		priority, advertise.Milliseconds(), lines)), 0o644))
	var daemons []*lab.Process
	for _, name := range []string{"zebra", "vrrpd"} {
		p, err := h.Start(nil, "/usr/lib/frr/"+name, "-u", "frr", "-g", "frr", "-f", "/run/frr/"+name+".conf", "-i", "/run/frr/"+name+".pid",
			"-z", "/run/frr/zserv", "--vty_socket", "/run/frr", "-P", "0", "--log", "stdout")
		r.Check(err)
		r.Life.Cleanup(func() {
			if r.Life.Failed() {
				r.Life.Logf("%s on %s printed:\n%s", name, h.Name, p.Output())
			}
		})
		r.Eventually(name+" listens", 30*time.Second, func() bool {
			_, err := h.Run("test", "-S", "/run/frr/"+name+".vty")
			return err == nil
		})
		daemons = append(daemons, p)
	}
	return rig.Director{
		Kill: func() error { return errors.Join(daemons[1].Kill(), daemons[0].Kill()) },
		Stop: func() error {
			for i := range daemons {
				d := daemons[len(daemons)-1-i]
				if err := d.Signal(syscall.SIGTERM); err != nil {
					return err
				}
				if _, err := d.Wait(10 * time.Second); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
