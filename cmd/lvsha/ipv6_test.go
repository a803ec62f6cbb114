package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
	"lvsha/vrrp"
)

// linkLocal6 is the virtual router's link-local address, derived from VRID 51.
var linkLocal6 = netip.MustParseAddr("fe80::5e:33")

// newRig6 is the same topology with IPv6 beside IPv4: 2001:db8::1 and so on, and
// the virtual address 2001:db8::100.
func newRig6(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.toIPv6()
	return r
}

// toIPv6 makes the rig one of IPv6.
func (r *rig) toIPv6() {
	r.Helper()
	r.vip = netip.MustParseAddr("2001:db8::100")
	for h, a := range map[*lab.Host]string{r.client: "2001:db8::9/64", r.lvs[0]: "2001:db8::1/64", r.lvs[1]: "2001:db8::2/64"} {
		_, err := h.Run("ip", "addr", "add", a, "dev", "eth0", "nodad")
		r.check(err)
	}
	for i, h := range r.lvs {
		r.check(h.Sysctl("net/ipv6/conf/all/forwarding", "1"))
		r.eventually(h.Name+" has a usable link-local address", 5*time.Second, func() bool {
			r.source[i] = r.ownLinkLocal(h)
			return r.source[i].IsValid()
		})
	}
}

// ownLinkLocal is the address that the kernel gave the interface, once it is
// known to be unique.
func (r *rig) ownLinkLocal(h *lab.Host) netip.Addr {
	r.Helper()
	out, err := h.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
	r.check(err)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if p, err := netip.ParsePrefix(fields[3]); err == nil && p.Addr() != linkLocal6 && !strings.Contains(line, "tentative") {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// TestV6Failover: each kind takes over from each over IPv6, in time, and alone; the
// checksums that keepalived leaves to the kernel are ours (V3-CSUM-07).
func TestV6Failover(t *testing.T) {
	for _, c := range []struct {
		active, backup string
		advertise      time.Duration
	}{
		{"lvsha", "lvsha", 100 * time.Millisecond},
		{"lvsha", "lvsha", 10 * time.Millisecond},
		{"lvsha", "keepalived", 100 * time.Millisecond},
		{"keepalived", "lvsha", 100 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s to %s %v", c.active, c.backup, c.advertise), func(t *testing.T) {
			r := newRig6(t)
			a := r.start(c.active, 0, 3, c.advertise)
			r.holds(0, 10*time.Second)
			r.start(c.backup, 1, 3, c.advertise)
			r.settle(bound(c.advertise) + 500*time.Millisecond)
			r.holds(0, time.Second) // the backup has joined and stays backup
			took, silence := r.failover(a)
			t.Logf("last advertisement to first answer %v (bound %v), silence %v", took, bound(c.advertise), silence)
			if took > bound(c.advertise)+100*time.Millisecond {
				t.Errorf("failover took %v, bound %v", took, bound(c.advertise))
			}
			r.oneActive()
		})
	}
}

// TestV6Preempt: the better director takes over from a living one. keepalived
// removes its addresses before ours are announced.
func TestV6Preempt(t *testing.T) {
	for _, c := range []struct {
		joins, holds string
		lost         int
	}{
		{"lvsha", "lvsha", 1},
		{"lvsha", "keepalived", 20},
		// See TestV6Stop.
		{"keepalived", "lvsha", 40},
	} {
		t.Run(c.joins+" joins "+c.holds, func(t *testing.T) {
			r := newRig6(t)
			r.start(c.holds, 1, 3, fast)
			r.holds(1, 10*time.Second)
			lost := r.lostWhile(func() {
				r.start(c.joins, 0, 3, fast)
				r.holds(0, 10*time.Second)
			})
			if lost > c.lost {
				t.Errorf("%d probes lost, at most %d", lost, c.lost)
			}
			r.oneActive()
		})
	}
}

// TestV6Stop: SIGTERM to the active director, make before break: it serves until
// the neighbour advertisement of the other one is heard.
func TestV6Stop(t *testing.T) {
	// keepalived announces before its kernel's work queue has made the addresses
	// local: the client is drawn to a machine that does not answer yet.
	for peer, most := range map[string]int{"lvsha": 1, "keepalived": 40} {
		for _, advertise := range []time.Duration{fast, time.Second} {
			t.Run(fmt.Sprintf("%s is the peer, %v", peer, advertise), func(t *testing.T) {
				r := newRig6(t)
				d := r.start("lvsha", 0, 3, advertise)
				r.holds(0, 10*time.Second)
				r.start(peer, 1, 3, advertise)
				r.settle(bound(advertise) + 500*time.Millisecond)
				lost := r.lostWhile(func() {
					r.check(d.stop())
					r.holds(1, 10*time.Second)
				})
				if lost > most {
					t.Errorf("%d probes lost by a stop, at most %d", lost, most)
				}
				if r.has(r.lvs[0], linkLocal6) || !r.has(r.lvs[1], linkLocal6) {
					t.Error("the link-local address did not move along")
				}
				r.oneActive()
			})
		}
	}
}

// TestV6Restart: the next process goes on where the last one was.
func TestV6Restart(t *testing.T) {
	for _, c := range []struct {
		sig   syscall.Signal
		pause time.Duration
	}{{syscall.SIGUSR2, 0}, {syscall.SIGKILL, 0}, {syscall.SIGKILL, time.Second}} {
		t.Run(fmt.Sprintf("%s and %v later", c.sig, c.pause), func(t *testing.T) {
			r := newRig6(t)
			active, backup := r.pair(fast)
			lost := r.lostWhile(func() {
				_, err := active.End(c.sig)
				r.check(err)
				r.settle(c.pause)
				active = r.again(r.lvs[0])
				r.becomes(active, "active")
				r.becomes(backup, "backup")
			})
			if lost != 0 {
				t.Errorf("%d probes lost by a restart", lost)
			}
			if s := backup.Router("web"); c.pause == 0 && s.Counters["became_active"] > 0 {
				t.Errorf("the backup took over: %+v", s)
			}
			r.holds(0, time.Second)
		})
	}
}

// TestV6Address: what the kernel is told of the addresses, and what it makes of
// them: the director's own connections do not come from a virtual address
// (V3-V6-06, NA-08), and its group of solicited nodes is joined (V3-V6-02).
func TestV6Address(t *testing.T) {
	r := newRig6(t)
	d := r.lvsha(r.lvs[0], r.inFamily(vrrpFile(3, fast)))
	r.becomes(d, "active")
	r.eventually("both addresses", time.Second, func() bool { return r.has(r.lvs[0], r.vip) && r.has(r.lvs[0], linkLocal6) })
	if got, want := d.Router("web").Addresses, []string{"fe80::5e:33/128", "2001:db8::100/64"}; !slices.Equal(got, want) {
		t.Errorf("status shows %q, want %q", got, want)
	}
	for address, want := range map[netip.Addr]string{r.vip: "scope global", linkLocal6: "scope link"} {
		out, err := r.lvs[0].Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "to", address.String())
		r.check(err)
		if !strings.Contains(out, want) || !strings.Contains(out, "nodad") || !strings.Contains(out, "preferred_lft 0sec") || !strings.Contains(out, "valid_lft forever") {
			t.Errorf("%s: %s", address, out)
		}
	}
	if out, err := r.lvs[0].Run("ip", "-6", "route", "get", "2001:db8::9"); err != nil || !strings.Contains(out, "src 2001:db8::1 ") {
		t.Errorf("own connections: %q, %v", out, err)
	}
	if out, err := r.lvs[0].Run("ip", "-6", "maddr", "show", "dev", "eth0"); err != nil || !strings.Contains(out, "ff02::1:ff00:100") || !strings.Contains(out, "ff02::12") {
		t.Errorf("groups: %q, %v", out, err)
	}
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r.has(r.lvs[0], r.vip) || r.has(r.lvs[0], linkLocal6) {
		t.Error("an address is left")
	}
}

// TestV6BothFamilies: an IPv4 and an IPv6 router under one VRID are two
// instances (V3-PKT-14), here with different directors active.
func TestV6BothFamilies(t *testing.T) {
	r := newRig6(t)
	file := vrrpFile(3, fast) + `
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["2001:db8::100/64"]
[director.lvs2.vrrp.six]
priority = 200
`
	one, two := r.lvsha(r.lvs[0], file), r.lvsha(r.lvs[1], file)
	r.eventually("each director active in one family", 10*time.Second, func() bool {
		return one.Router("web").State == "active" && two.Router("web").State == "backup" &&
			one.Router("six").State == "backup" && two.Router("six").State == "active"
	})
	r.eventually("addresses", time.Second, func() bool {
		return r.has(r.lvs[0], vip) && !r.has(r.lvs[0], r.vip) && !r.has(r.lvs[1], vip) && r.has(r.lvs[1], r.vip)
	})
	if _, err := two.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.eventually("one director active in both", 3*time.Second, func() bool {
		return one.Router("web").State == "active" && one.Router("six").State == "active"
	})
	if n := one.Router("web").Counters["became_active"]; n != 1 {
		t.Errorf("the IPv4 router became active %d times", n)
	}
}

// TestV6Unicast: advertisements go between the directors' own addresses.
func TestV6Unicast(t *testing.T) {
	r := newRig6(t)
	file := strings.Replace(r.inFamily(vrrpFile(3, fast)), "[vrrp.web]", "[vrrp.web]\nunicast = true", 1)
	active := r.lvsha(r.lvs[0], file)
	r.becomes(active, "active")
	backup := r.lvsha(r.lvs[1], file)
	r.becomes(backup, "backup")
	r.eventually("the peer by its name", 2*time.Second, func() bool {
		s := backup.Router("web")
		return len(s.Peers) == 1 && s.Peers[0].Address == "2001:db8::1" && s.Peers[0].LastSeen != nil && s.Reason == "lvs1 (2001:db8::1) advertises 150"
	})
	lost := r.lostWhile(func() {
		_, err := active.End(syscall.SIGTERM)
		r.check(err)
		r.holds(1, 5*time.Second)
	})
	if lost > 1 {
		t.Errorf("%d probes lost by a stop, at most 1", lost)
	}
	for _, a := range r.sniffer.Seen() {
		t.Errorf("seen in multicast: %+v", a)
	}
}

// TestV6Dropped: what must not be believed is counted under its reason
// (V3-RX-01, V3-RX-03, V3-RX-06, V3-RX-07, V3-RX-09, V3-RX-19).
func TestV6Dropped(t *testing.T) {
	r := newRig6(t)
	active, backup := r.pair(fast)
	client := r.ownLinkLocal(r.client)
	encode := func(addresses ...netip.Addr) []byte {
		adv := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 254, Interval: fast, Addresses: addresses}
		b, err := adv.AppendTo(nil, client, vrrp.GroupAddress(vrrp.IPv6), vrrp.ChecksumAuto)
		r.check(err)
		return b
	}
	good := encode(linkLocal6, r.vip)
	wrong := slices.Clone(good)
	binary.BigEndian.PutUint16(wrong[6:], binary.BigEndian.Uint16(wrong[6:])^1)
	var fd, index int
	r.check(r.client.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW, 112); err != nil {
			return err
		}
		ifreq, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq)
		index = int(ifreq.Uint32())
		return err
	}))
	defer unix.Close(fd)
	r.check(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
	for _, c := range []struct {
		counter string
		hops    int
		packet  []byte
	}{
		{"ttl_errors", 254, good},
		{"checksum_errors", 255, wrong},
		{"first_address_errors", 255, encode(r.vip, linkLocal6)},
		{"length_errors", 255, good[:len(good)-1]},
		{"version_errors", 255, append([]byte{0x21}, good[1:]...)},
	} {
		r.check(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, c.hops))
		r.check(unix.Sendto(fd, c.packet, 0, &unix.SockaddrInet6{Addr: vrrp.GroupAddress(vrrp.IPv6).As16(), ZoneId: uint32(index)}))
		for _, d := range []*lab.Daemon{active, backup} {
			r.eventually(c.counter, 2*time.Second, func() bool { return d.Router("web").Counters[c.counter] == 1 })
		}
	}
	if a, b := active.Router("web"), backup.Router("web"); a.State != "active" || b.State != "backup" || b.Counters["became_active"] != 0 {
		t.Errorf("after that: %+v, %+v", a, b)
	}
}

// TestV6Off: an interface without IPv6 is a fault that names the reason, and
// ends when IPv6 is switched on.
func TestV6Off(t *testing.T) {
	r := newRig6(t)
	r.check(r.lvs[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "1"))
	d := r.lvsha(r.lvs[0], r.inFamily(vrrpFile(3, fast)))
	r.becomes(d, "fault")
	if s := d.Router("web"); s.Reason != "eth0 has no usable IPv6 link-local address of its own" {
		t.Errorf("reason %q", s.Reason)
	}
	r.check(r.lvs[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "0"))
	r.becomes(d, "active")
	r.check(r.lvs[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "1"))
	r.becomes(d, "fault")
	code, err := d.End(syscall.SIGTERM)
	if err != nil || code != 0 {
		t.Errorf("stop: exit code %d, %v", code, err)
	}
}
