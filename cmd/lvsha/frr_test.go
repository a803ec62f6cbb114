package main_test

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"lvsha/internal/lab"
)

// macvlan is the interface below which FRR's vrrpd keeps the virtual addresses,
// with the virtual MAC. It is down by protocol while FRR is backup.
const macvlan = "vrrp51"

// frr starts zebra and vrrpd for the same virtual router. vrrpd wants the interface
// of the addresses to be there.
func (r *rig) frr(i, priority int, advertise time.Duration) director {
	r.Helper()
	h := r.lvs[i]
	mac, addresses, lines := "00:00:5e:00:01:33", []string{r.vip.String() + "/24"}, " vrrp 51 ip 10.0.0.100\n"
	if r.vip.Is6() {
		// It advertises from a link-local address of this interface, which must not be
		// that of the virtual router.
		r.source[i] = netip.MustParseAddr(fmt.Sprintf("fe80::f:%d", i+1))
		mac, addresses = "00:00:5e:00:02:33", []string{linkLocal6.String() + "/64", r.vip.String() + "/64", r.source[i].String() + "/64"}
		lines = " vrrp 51 ipv6 fe80::5e:33\n vrrp 51 ipv6 2001:db8::100\n"
	}
	// The kernel would answer for the addresses on eth0 too.
	r.check(h.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
	commands := [][]string{
		{"link", "add", macvlan, "link", "eth0", "address", mac, "type", "macvlan", "mode", "bridge"},
		{"link", "set", macvlan, "addrgenmode", "none"},
		{"link", "set", macvlan, "protodown", "on"},
	}
	for _, a := range addresses {
		add := []string{"addr", "add", a, "dev", macvlan}
		if r.vip.Is6() {
			add = append(add, "nodad")
		}
		commands = append(commands, add)
	}
	for _, c := range append(commands, []string{"link", "set", macvlan, "up"}) {
		_, err := h.Run("ip", c...)
		r.check(err)
	}
	_, err := h.Run("install", "-d", "-o", "frr", "-g", "frr", "/run/frr")
	r.check(err)
	r.check(h.WriteFile("/run/frr/zebra.conf", nil, 0o644))
	r.check(h.WriteFile("/run/frr/vrrpd.conf", []byte(fmt.Sprintf("interface eth0\n vrrp 51 version 3\n vrrp 51 priority %d\n vrrp 51 advertisement-interval %d\n%s",
		priority, advertise.Milliseconds(), lines)), 0o644))
	var daemons []*lab.Process
	for _, name := range []string{"zebra", "vrrpd"} {
		p, err := h.Start(nil, "/usr/lib/frr/"+name, "-u", "frr", "-g", "frr", "-f", "/run/frr/"+name+".conf", "-i", "/run/frr/"+name+".pid",
			"-z", "/run/frr/zserv", "--vty_socket", "/run/frr", "-P", "0", "--log", "stdout")
		r.check(err)
		r.life.Cleanup(func() {
			if r.life.Failed() {
				r.life.Logf("%s on %s printed:\n%s", name, h.Name, p.Output())
			}
		})
		r.eventually(name+" listens", 10*time.Second, func() bool {
			_, err := h.Run("test", "-S", "/run/frr/"+name+".vty")
			return err == nil
		})
		daemons = append(daemons, p)
	}
	return director{
		kind: "FRR",
		kill: func() error { return errors.Join(daemons[1].Kill(), daemons[0].Kill()) },
		stop: func() error {
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
