package main_test

import (
	"encoding/binary"
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
	return newRigOf(t, true)
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

// TestV6Dropped: what must not be believed is counted under its reason
// (V3-RX-01, V3-RX-03, V3-RX-06, V3-RX-07, V3-RX-09, V3-RX-19).
func TestV6Dropped(t *testing.T) {
	r := newRig6(t)
	active, backup := r.pair(fast)
	var client netip.Addr
	r.eventually("the client's link-local address", 10*time.Second, func() bool {
		client = r.ownLinkLocal(r.client)
		return client.IsValid()
	})
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
	// The checksums are for this address.
	r.check(unix.Bind(fd, &unix.SockaddrInet6{Addr: client.As16(), ZoneId: uint32(index)}))
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
