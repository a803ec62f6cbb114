package failover_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	"lvsha/vrrp"
)

// TestV6Address: what the kernel is told of the addresses, and what it makes of
// them: the director's own connections do not come from a virtual address
// (V3-V6-06, NA-08), and its group of solicited nodes is joined (V3-V6-02).
func TestV6Address(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	d := r.Lvsha(r.LVS[0], r.InFamily(rig.VRRPFile(3, rig.Fast)))
	r.Becomes(d, "active")
	r.Eventually("both addresses", 10*time.Second, func() bool { return r.Has(r.LVS[0], r.VIP) && r.Has(r.LVS[0], rig.LinkLocal6) })
	if got, want := d.Router("web").Addresses, []string{"fe80::5e:33/128", "2001:db8::100/64"}; !slices.Equal(got, want) {
		t.Errorf("status shows %q, want %q", got, want)
	}
	for address, want := range map[netip.Addr]string{r.VIP: "scope global", rig.LinkLocal6: "scope link"} {
		out, err := r.LVS[0].Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "to", address.String())
		r.Check(err)
		if !strings.Contains(out, want) || !strings.Contains(out, "nodad") || !strings.Contains(out, "preferred_lft 0sec") || !strings.Contains(out, "valid_lft forever") {
			t.Errorf("%s: %s", address, out)
		}
	}
	if out, err := r.LVS[0].Run("ip", "-6", "route", "get", "2001:db8::9"); err != nil || !strings.Contains(out, "src 2001:db8::1 ") {
		t.Errorf("own connections: %q, %v", out, err)
	}
	if out, err := r.LVS[0].Run("ip", "-6", "maddr", "show", "dev", "eth0"); err != nil || !strings.Contains(out, "ff02::1:ff00:100") || !strings.Contains(out, "ff02::12") {
		t.Errorf("groups: %q, %v", out, err)
	}
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r.Has(r.LVS[0], r.VIP) || r.Has(r.LVS[0], rig.LinkLocal6) {
		t.Error("an address is left")
	}
}

// TestV6BothFamilies: an IPv4 and an IPv6 router under one VRID are two
// instances (V3-PKT-14), here with different directors active.
func TestV6BothFamilies(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	file := rig.VRRPFile(3, rig.Fast) + `
[vrrp.six]
interface = "eth0"
vrid      = 51
advertise = "100ms"
addresses = ["2001:db8::100/64"]
[director.lvs2.vrrp.six]
priority = 200
`
	one, two := r.Lvsha(r.LVS[0], file), r.Lvsha(r.LVS[1], file)
	r.Eventually("each director active in one family", 30*time.Second, func() bool {
		return one.Router("web").State == "active" && two.Router("web").State == "backup" &&
			one.Router("six").State == "backup" && two.Router("six").State == "active"
	})
	r.Eventually("addresses", 10*time.Second, func() bool {
		return r.Has(r.LVS[0], rig.VIP) && !r.Has(r.LVS[0], r.VIP) && !r.Has(r.LVS[1], rig.VIP) && r.Has(r.LVS[1], r.VIP)
	})
	if _, err := two.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.Eventually("one director active in both", 10*time.Second, func() bool {
		return one.Router("web").State == "active" && one.Router("six").State == "active"
	})
	if n := one.Router("web").Counters["became_active"]; n != 1 {
		t.Errorf("the IPv4 router became active %d times", n)
	}
}

// TestV6Dropped: what must not be believed is counted under its reason
// (V3-RX-01, V3-RX-03, V3-RX-06, V3-RX-07, V3-RX-09, V3-RX-19).
func TestV6Dropped(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	active, backup := r.Pair(rig.Fast)
	var client netip.Addr
	r.Eventually("the client's link-local address", 30*time.Second, func() bool {
		client = r.OwnLinkLocal(r.Client)
		return client.IsValid()
	})
	encode := func(addresses ...netip.Addr) []byte {
		adv := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 254, Interval: rig.Fast, Addresses: addresses}
		b, err := adv.AppendTo(nil, client, vrrp.GroupAddress(vrrp.IPv6), vrrp.ChecksumAuto)
		r.Check(err)
		return b
	}
	good := encode(rig.LinkLocal6, r.VIP)
	wrong := slices.Clone(good)
	binary.BigEndian.PutUint16(wrong[6:], binary.BigEndian.Uint16(wrong[6:])^1)
	var fd, index int
	r.Check(r.Client.Do(func() (err error) {
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
	r.Check(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
	// The checksums are for this address.
	r.Check(unix.Bind(fd, &unix.SockaddrInet6{Addr: client.As16(), ZoneId: uint32(index)}))
	for _, c := range []struct {
		counter string
		hops    int
		packet  []byte
	}{
		{"ttl_errors", 254, good},
		{"checksum_errors", 255, wrong},
		{"first_address_errors", 255, encode(r.VIP, rig.LinkLocal6)},
		{"length_errors", 255, good[:len(good)-1]},
		{"version_errors", 255, append([]byte{0x21}, good[1:]...)},
	} {
		r.Check(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, c.hops))
		r.Check(unix.Sendto(fd, c.packet, 0, &unix.SockaddrInet6{Addr: vrrp.GroupAddress(vrrp.IPv6).As16(), ZoneId: uint32(index)}))
		for _, d := range []*lab.Daemon{active, backup} {
			r.Eventually(c.counter, 10*time.Second, func() bool { return d.Router("web").Counters[c.counter] == 1 })
		}
	}
	if a, b := active.Router("web"), backup.Router("web"); a.State != "active" || b.State != "backup" || b.Counters["became_active"] != 0 {
		t.Errorf("after that: %+v, %+v", a, b)
	}
}

// TestV6Off: an interface without IPv6 is a fault that names the reason, and
// ends when IPv6 is switched on.
func TestV6Off(t *testing.T) {
	t.Parallel()
	r := rig.NewIPv6(t)
	r.Check(r.LVS[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "1"))
	d := r.Lvsha(r.LVS[0], r.InFamily(rig.VRRPFile(3, rig.Fast)))
	r.Becomes(d, "fault")
	if s := d.Router("web"); s.Reason != "eth0 has no usable IPv6 link-local address of its own" {
		t.Errorf("reason %q", s.Reason)
	}
	r.Check(r.LVS[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "0"))
	r.Becomes(d, "active")
	r.Check(r.LVS[0].Sysctl("net/ipv6/conf/eth0/disable_ipv6", "1"))
	r.Becomes(d, "fault")
	code, err := d.End(syscall.SIGTERM)
	if err != nil || code != 0 {
		t.Errorf("stop: exit code %d, %v", code, err)
	}
}
