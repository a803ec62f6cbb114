package vrrp_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/vrrp"
)

// list is n addresses of a family, which for IPv6 begins with a link-local one.
func list(f vrrp.Family, n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		switch {
		case f == vrrp.IPv4:
			out = append(out, netip.AddrFrom4([4]byte{192, 0, byte(2 + i/256), byte(i)}))
		case i == 0:
			out = append(out, netip.MustParseAddr("fe80::5:1"))
		default:
			out = append(out, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i / 256), 15: byte(i)}))
		}
	}
	return out
}

// sumOf adds octets up as RFC 1071 says, slowly. It is 0xffff where they have
// their own checksum among them.
func sumOf(parts ...[]byte) uint16 {
	sum := uint64(0)
	for i, b := range slices.Concat(parts...) {
		sum += uint64(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// pseudoHeader is that of RFC 8200 section 8.1, or its form for IPv4.
func pseudoHeader(src, dst netip.Addr, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	if src.Is4() {
		return append(b, 0, 112, byte(length>>8), byte(length))
	}
	return append(b, 0, 0, byte(length>>8), byte(length), 0, 0, 0, 112)
}

// TestWireFormat holds every octet of what is sent to V3-PKT-01, 03, 04, 05, 06, 09
// and 10, V3-CSUM-01, 02, 03 and 08, and V2-PKT-01, 02, 03 and 04.
func TestWireFormat(t *testing.T) {
	for _, version := range []uint8{2, 3} {
		for _, family := range []vrrp.Family{vrrp.IPv4, vrrp.IPv6} {
			if version == 2 && family == vrrp.IPv6 {
				continue
			}
			for _, n := range []int{1, 2, 20, 255} {
				for _, interval := range []time.Duration{10 * time.Millisecond, time.Second, 255 * time.Second / 10, 40950 * time.Millisecond, 255 * time.Second} {
					inSeconds := interval%time.Second == 0
					if version == 2 && !inSeconds || version == 3 && interval > 40950*time.Millisecond {
						continue
					}
					for _, priority := range []uint8{0, 1, 100, 254, 255} {
						for _, dst := range []netip.Addr{vrrp.GroupAddress(family), list(family, 9)[8]} {
							for _, form := range []vrrp.Checksum{vrrp.ChecksumAuto, vrrp.ChecksumPseudo, vrrp.ChecksumRFC9568} {
								adv := vrrp.Advertisement{Version: version, VRID: 51, Priority: priority, Interval: interval, Addresses: list(family, n)}
								wireFormat(t, adv, list(family, 3)[2], dst, form)
							}
						}
					}
				}
			}
		}
	}
}

func wireFormat(t *testing.T, adv vrrp.Advertisement, src, dst netip.Addr, form vrrp.Checksum) {
	t.Helper()
	b, err := adv.AppendTo(nil, src, dst, form)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{adv.Version<<4 | 1, 51, adv.Priority, byte(len(adv.Addresses))}
	if adv.Version == 2 {
		want = append(want, 0, byte(adv.Interval/time.Second))
	} else {
		want = binary.BigEndian.AppendUint16(want, uint16(adv.Interval/(10*time.Millisecond)))
	}
	want = append(want, b[6], b[7])
	for _, a := range adv.Addresses {
		want = append(want, a.AsSlice()...)
	}
	if adv.Version == 2 {
		want = append(want, make([]byte, 8)...)
	}
	if !slices.Equal(b, want) {
		t.Fatalf("%+v is\n%x, want\n%x", adv, b, want)
	}
	covered := sumOf(b)
	if adv.Version == 3 && (!src.Is4() || form != vrrp.ChecksumRFC9568) {
		covered = sumOf(pseudoHeader(src, dst, len(b)), b)
	}
	if covered != 0xffff {
		t.Fatalf("%+v from %s to %s in form %d adds up to %#x", adv, src, dst, form, covered)
	}
	var got vrrp.Advertisement
	if _, reason := got.Decode(&vrrp.Packet{Source: src, Destination: dst, TTL: 255, Payload: b}, adv.Version, form); reason != vrrp.Accepted {
		t.Fatalf("%+v is not accepted: %s", adv, reason)
	}
	if fmt.Sprint(got) != fmt.Sprint(adv) {
		t.Fatalf("read back as %+v, want %+v", got, adv)
	}
}

// TestChecksumForms: which form is accepted as what, for each configuration, and
// that nothing else is.
func TestChecksumForms(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	plain, pseudo, group := "313364010064a802c0000264", "3133640100642382c0000264", "3133640100640572c0000264"
	for _, tt := range []struct {
		name   string
		hex    string
		accept vrrp.Checksum
		want   vrrp.Form
	}{
		{"V3-CSUM-04 auto, plain", plain, vrrp.ChecksumAuto, vrrp.FormPlain},
		{"V3-CSUM-04 auto, pseudo", pseudo, vrrp.ChecksumAuto, vrrp.FormPseudo},
		{"V3-CSUM-02 rfc9568, plain", plain, vrrp.ChecksumRFC9568, vrrp.FormPlain},
		{"V3-CSUM-04 rfc9568, pseudo", pseudo, vrrp.ChecksumRFC9568, 0},
		{"V3-CSUM-03 pseudo, pseudo", pseudo, vrrp.ChecksumPseudo, vrrp.FormPseudo},
		{"V3-CSUM-04 pseudo, plain", plain, vrrp.ChecksumPseudo, 0},
		{"V3-CSUM-08 over the group in unicast", group, vrrp.ChecksumAuto, 0},
		{"V3-CSUM-05 neither", plain[:12] + "0000" + plain[16:], vrrp.ChecksumAuto, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			var adv vrrp.Advertisement
			form, reason := adv.Decode(&vrrp.Packet{Source: src, Destination: dst, TTL: 255, Payload: b}, 3, tt.accept)
			if form != tt.want || (reason == vrrp.Accepted) != (tt.want != 0) || tt.want == 0 && reason != vrrp.BadChecksum {
				t.Errorf("form %d, %s", form, reason)
			}
		})
	}
}

// TestDecodeReasonsIPv6 and TestDecodeReasonsV2 are TestDecodeReasons for the
// others: hop limit, lengths and the rest hold there too.
func TestDecodeReasonsIPv6(t *testing.T) {
	const good = "3133640200643ef7" + "fe800000000000000000000000050001" + "20010db8000000000000000000000100"
	for _, tt := range []struct {
		name string
		hex  string
		ttl  uint8
		want vrrp.Reason
	}{
		{"V3-CSUM-01 good", good, 255, vrrp.Accepted},
		{"V3-RX-01 hop limit", good, 254, vrrp.BadTTL},
		{"V3-RX-01 hop limit unknown", good, 0, vrrp.BadTTL},
		{"V3-RX-03 version 2", "21" + good[2:], 255, vrrp.BadVersion},
		{"V3-MIX-06 version 2", "21" + good[2:], 255, vrrp.BadVersion},
		{"V3-RX-04", "30" + good[2:], 255, vrrp.BadType},
		{"V3-PKT-01 any other type", "3f" + good[2:], 255, vrrp.BadType},
		{"V3-RX-05", good[:6] + "00" + good[8:], 255, vrrp.BadCount},
		{"V3-RX-06 one address short", good[:48], 255, vrrp.BadLength},
		{"V3-RX-06 one octet short", good[:len(good)-2], 255, vrrp.BadLength},
		{"V3-RX-13 one octet more", good + "00", 255, vrrp.BadLength},
		{"V3-RX-07", good[:len(good)-2] + "01", 255, vrrp.BadChecksum},
		{"V3-PKT-07 counted as IPv4", "3133640800640000" + good[16:], 255, vrrp.BadLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := packet(t, "fe80::1", "ff02::12", tt.hex)
			p.TTL = tt.ttl
			var adv vrrp.Advertisement
			if _, got := adv.Decode(p, 3, vrrp.ChecksumAuto); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDecodeReasonsV2(t *testing.T) {
	const good = "213364010001b865c00002640000000000000000"
	for _, tt := range []struct {
		name string
		hex  string
		ttl  uint8
		want vrrp.Reason
	}{
		{"V2-RX-01 good", good, 255, vrrp.Accepted},
		{"V2-RX-01 TTL", good, 254, vrrp.BadTTL},
		{"V2-RX-01 version", "31" + good[2:], 255, vrrp.BadVersion},
		{"V2-RX-01 incomplete", good[:38], 255, vrrp.BadLength},
		{"V2-RX-01 checksum", good[:12] + "b866" + good[16:], 255, vrrp.BadChecksum},
		{"V2-RX-04 TTL before version", "31" + good[2:], 1, vrrp.BadTTL},
		{"V2-RX-04 version before type", "3f" + good[2:], 255, vrrp.BadVersion},
		{"V2-RX-04 type before count", "2f3364000001b865c00002640000000000000000", 255, vrrp.BadType},
		{"V2-RX-04 count before length", "213364000001b865c00002640000000000000000", 255, vrrp.BadCount},
		{"V2-RX-04 length before checksum", "213364020001b866c00002640000000000000000", 255, vrrp.BadLength},
		{"V2-PKT-03 data is covered", good[:len(good)-2] + "01", 255, vrrp.BadChecksum},
		// The sum is right: 0x0100 more in the data, as much less in the sum.
		{"V2-PKT-04 data is ignored", good[:12] + "b765" + good[16:24] + "0100" + good[28:], 255, vrrp.Accepted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := packet(t, "192.0.2.1", "224.0.0.18", tt.hex)
			p.TTL = tt.ttl
			var adv vrrp.Advertisement
			if _, got := adv.Decode(p, 2, vrrp.ChecksumAuto); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	p := packet(t, "fe80::1", "ff02::12", "2133640100640000"+strings.Repeat("00", 24))
	var adv vrrp.Advertisement
	if _, got := adv.Decode(p, 2, vrrp.ChecksumAuto); got != vrrp.BadVersion { // V2-PKT-05
		t.Errorf("version 2 over IPv6: %q", got)
	}
}

// TestConfigValidateRules has the rules that are the configuration's to hold.
func TestConfigValidateRules(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*vrrp.Config)
		want   string // empty: it is fine
	}{
		{"V3-PKT-02 first", func(c *vrrp.Config) { c.VRID = 1 }, ""},
		{"V3-PKT-02 last", func(c *vrrp.Config) { c.VRID = 255 }, ""},
		{"V3-PKT-02 zero", func(c *vrrp.Config) { c.VRID = 0 }, "vrid 0"},
		{"V3-PKT-03 lowest", func(c *vrrp.Config) { c.Priority = 1 }, ""},
		{"V3-PKT-03 owner", func(c *vrrp.Config) { c.Priority = 255 }, ""},
		{"V3-PKT-03 zero", func(c *vrrp.Config) { c.Priority = 0 }, "priority 0"},
		{"V3-PKT-06 shortest", func(c *vrrp.Config) { c.Interval = 10 * time.Millisecond }, ""},
		{"V3-PKT-06 longest", func(c *vrrp.Config) { c.Interval = 40950 * time.Millisecond }, ""},
		{"V3-PKT-06 zero", func(c *vrrp.Config) { c.Interval = 0 }, "interval 0s"},
		{"V3-PKT-06 too long", func(c *vrrp.Config) { c.Interval = 40960 * time.Millisecond }, "interval 40.96s"},
		{"V3-PKT-06 not centiseconds", func(c *vrrp.Config) { c.Interval = 15 * time.Millisecond }, "interval 15ms"},
		{"V3-PKT-07", func(c *vrrp.Config) {
			c.Addresses = append(c.Addresses, vrrp.Address{Prefix: netip.MustParsePrefix("2001:db8::1/64")})
		}, "is not of the family"},
		{"V3-PKT-08 and V3-V6-01", func(c *vrrp.Config) {
			c.Addresses = []vrrp.Address{{Prefix: netip.MustParsePrefix("2001:db8::1/64")}}
		}, "is not link-local"},
		{"V3-V6-01 first", func(c *vrrp.Config) { c.Addresses = priority6(1).Addresses }, ""},
		{"V2-PKT-02 longest", func(c *vrrp.Config) { c.Version, c.Interval = 2, 255*time.Second }, ""},
		{"V2-PKT-02 part of a second", func(c *vrrp.Config) { c.Version, c.Interval = 2, 1500*time.Millisecond }, "whole number of seconds"},
		{"V2-PKT-02 too long", func(c *vrrp.Config) { c.Version, c.Interval = 2, 256*time.Second }, "whole number of seconds"},
		{"V2-PKT-05", func(c *vrrp.Config) {
			c.Version, c.Interval, c.Addresses = 2, time.Second, priority6(1).Addresses
		}, "IPv4 only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := priority(100)
			tt.change(&c)
			switch got := c.Validate(); {
			case tt.want == "" && got != nil:
				t.Errorf("refused: %v", got)
			case tt.want != "" && (got == nil || !strings.Contains(got.Error(), tt.want)):
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
}
