package failover_test

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// frames are VRRP frames of both families as they pass an interface of a host.
func frames(r *rig.Rig, h *lab.Host, enough int) [][]byte {
	r.Helper()
	var fd int
	r.Check(h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		// ETH_P_ALL in network order.
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: ifi.Index})
	}))
	defer unix.Close(fd)
	var out [][]byte
	b := make([]byte, 2048)
	for end := time.Now().Add(15 * time.Second); len(out) < enough; {
		if time.Now().After(end) {
			r.Fatalf("%d advertisements were seen on %s, want %d", len(out), h.Name, enough)
		}
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil || n < 14+20 {
			continue
		}
		if v4 := b[12] == 8 && b[13] == 0 && b[14+9] == 112; v4 || b[12] == 0x86 && b[13] == 0xdd && b[14+6] == 112 {
			out = append(out, bytes.Clone(b[:n]))
		}
	}
	return out
}

// TestWire holds the headers around an advertisement to V3-PKT-11, V3-PKT-15,
// V3-PKT-16, V3-TX-03 and V2-PKT-05 on a real segment, and V3-TX-07: none comes back.
func TestWire(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]int{"version 3": 3, "version 2": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t)
			// A second address of its own, which is not the primary one.
			_, err := r.LVS[0].Run("ip", "addr", "add", "10.0.0.11/24", "dev", "eth0")
			r.Check(err)
			d := r.Lvsha(r.LVS[0], rig.VRRPFile(version, time.Second))
			r.Becomes(d, "active")
			f := frames(r, r.Client, 1)[0]
			if got := hex.EncodeToString(f[:6]); got != "01005e000012" {
				t.Errorf("Ethernet destination %s", got)
			}
			ip := f[14:]
			length := map[int]int{2: 20 + 20, 3: 20 + 12}[version]
			if ip[0] != 0x45 || ip[1] != 0xc0 || int(ip[2])<<8|int(ip[3]) != length || ip[8] != 255 || ip[9] != 112 {
				t.Errorf("IP header %x", ip[:20])
			}
			if src, dst := net.IP(ip[12:16]).String(), net.IP(ip[16:20]).String(); src != "10.0.0.1" || dst != "224.0.0.18" {
				t.Errorf("from %s to %s", src, dst)
			}
			r.Settle(1100 * time.Millisecond)
			if c := d.Router("web").Counters; c["advertisements_sent"] < 2 || c["own_packets"] != 0 {
				t.Errorf("counters %v", c)
			}
		})
	}
	t.Run("IPv6", func(t *testing.T) {
		t.Parallel()
		r := rig.NewIPv6(t)
		d := r.Lvsha(r.LVS[0], r.InFamily(rig.VRRPFile(3, rig.Fast)))
		r.Becomes(d, "active")
		f := frames(r, r.Client, 1)[0]
		if got := hex.EncodeToString(f[:6]); got != "333300000012" {
			t.Errorf("Ethernet destination %s", got)
		}
		ip := f[14:]
		// The traffic class has its halves in two octets.
		if ip[0] != 0x6c || ip[1]&0xf0 != 0 || int(ip[4])<<8|int(ip[5]) != 8+2*16 || ip[6] != 112 || ip[7] != 255 {
			t.Errorf("IP header %x", ip[:40])
		}
		src, dst := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		if src != r.Source[0] || !src.IsLinkLocalUnicast() || dst.String() != "ff02::12" {
			t.Errorf("from %s to %s", src, dst)
		}
		r.Settle(2 * rig.Fast)
		if c := d.Router("web").Counters; c["advertisements_sent"] < 2 || c["own_packets"] != 0 {
			t.Errorf("counters %v", c)
		}
	})
}
