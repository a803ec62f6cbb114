package vrrp_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/vrrp"
)

// vector is a golden vector of the conformance list, section 7.
type vector struct {
	name     string
	hex      string
	src, dst string
	adv      vrrp.Advertisement
	form     vrrp.Checksum
	got      vrrp.Form
}

func vectors() []vector {
	v4 := []netip.Addr{netip.MustParseAddr("192.0.2.100")}
	v6 := []netip.Addr{netip.MustParseAddr("fe80::5:1"), netip.MustParseAddr("2001:db8::100")}
	list6 := "fe800000000000000000000000050001" + "20010db8000000000000000000000100"
	adv := func(version, priority uint8, list []netip.Addr) vrrp.Advertisement {
		return vrrp.Advertisement{Version: version, VRID: 51, Priority: priority, Interval: time.Second, Addresses: list}
	}
	password := adv(2, 100, v4)
	password.AuthType = 1
	copy(password.AuthData[:], "password")
	return []vector{
		{"GV-01", "213364010001b865c00002640000000000000000", "192.0.2.1", "224.0.0.18", adv(2, 100, v4), vrrp.ChecksumAuto, vrrp.FormPlain},
		{"GV-02", "213364010101e9bcc000026470617373776f7264", "192.0.2.1", "224.0.0.18", password, vrrp.ChecksumAuto, vrrp.FormPlain},
		{"GV-03", "313364010064a802c0000264", "192.0.2.1", "224.0.0.18", adv(3, 100, v4), vrrp.ChecksumRFC9568, vrrp.FormPlain},
		{"GV-04", "3133640100640572c0000264", "192.0.2.1", "224.0.0.18", adv(3, 100, v4), vrrp.ChecksumAuto, vrrp.FormPseudo},
		{"GV-05", "3133640100642382c0000264", "192.0.2.1", "192.0.2.2", adv(3, 100, v4), vrrp.ChecksumPseudo, vrrp.FormPseudo},
		{"GV-06", "3133640200643ef7" + list6, "fe80::1", "ff02::12", adv(3, 100, v6), vrrp.ChecksumAuto, vrrp.FormPseudo},
		{"GV-07", "313300020064a2f7" + list6, "fe80::1", "ff02::12", adv(3, 0, v6), vrrp.ChecksumAuto, vrrp.FormPseudo},
	}
}

func packet(t testing.TB, src, dst, text string) *vrrp.Packet {
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return &vrrp.Packet{Source: netip.MustParseAddr(src), Destination: netip.MustParseAddr(dst), TTL: 255, Payload: b}
}

// TestGoldenVectors is V3-CSUM-01, 02 and 03, V2-PKT-03 and V2-AUTH-01 in octets that
// others agree on, both ways.
func TestGoldenVectors(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			b, err := v.adv.AppendTo(nil, netip.MustParseAddr(v.src), netip.MustParseAddr(v.dst), v.form)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.hex, hex.EncodeToString(b)); diff != "" {
				t.Errorf("encoded (-want +got):\n%s", diff)
			}
			var got vrrp.Advertisement
			form, reason := got.Decode(packet(t, v.src, v.dst, v.hex), 0, vrrp.ChecksumAuto)
			if reason != vrrp.Accepted || form != v.got {
				t.Fatalf("decoded with form %d: %s", form, reason)
			}
			if diff := cmp.Diff(v.adv, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeReasons has one packet for each reason, and the order of the tests
// of V3-RX: a packet with several faults is dropped for the first.
func TestDecodeReasons(t *testing.T) {
	const good = "3133640100640572c0000264"
	for _, tt := range []struct {
		name    string
		hex     string
		ttl     uint8
		version uint8
		accept  vrrp.Checksum
		want    vrrp.Reason
	}{
		{"V3-RX-01", good, 254, 3, vrrp.ChecksumAuto, vrrp.BadTTL},
		{"V3-RX-01 before 02", "31", 1, 3, vrrp.ChecksumAuto, vrrp.BadTTL},
		{"V3-RX-02", good[:14], 255, 3, vrrp.ChecksumAuto, vrrp.BadLength},
		{"V3-RX-02 empty", "", 255, 3, vrrp.ChecksumAuto, vrrp.BadLength},
		{"V3-RX-03", good, 255, 2, vrrp.ChecksumAuto, vrrp.BadVersion},
		{"V3-RX-03 unknown", "41" + good[2:], 255, 0, vrrp.ChecksumAuto, vrrp.BadVersion},
		{"V3-RX-04", "32" + good[2:], 255, 3, vrrp.ChecksumAuto, vrrp.BadType},
		{"V3-RX-05", "313364000064057200000000", 255, 3, vrrp.ChecksumAuto, vrrp.BadCount},
		{"V3-RX-06", "3133640200640572c0000264", 255, 3, vrrp.ChecksumAuto, vrrp.BadLength},
		{"V3-RX-07", "3133640100640573c0000264", 255, 3, vrrp.ChecksumAuto, vrrp.BadChecksum},
		{"V3-RX-07 pseudo to rfc9568", good, 255, 3, vrrp.ChecksumRFC9568, vrrp.BadChecksum},
		{"V3-RX-07 plain to pseudo", "313364010064a802c0000264", 255, 3, vrrp.ChecksumPseudo, vrrp.BadChecksum},
		{"V3-RX-13", good + "00000000", 255, 3, vrrp.ChecksumAuto, vrrp.BadLength},
		{"V3-RX-14 CARP", "2133640100010000" + strings.Repeat("00", 28), 255, 3, vrrp.ChecksumAuto, vrrp.BadVersion},
		{"V2-RX-04 without authentication octets", "213364010001b865c0000264", 255, 2, vrrp.ChecksumAuto, vrrp.BadLength},
		{"V2-RX-04", "213364010001b865c00002640000000000000000", 255, 2, vrrp.ChecksumAuto, vrrp.Accepted},
		{"V3-PKT-05 reserved nibble", "313364010064" + "0000" + "c0000264", 255, 3, vrrp.ChecksumAuto, vrrp.BadChecksum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := packet(t, "192.0.2.1", "224.0.0.18", tt.hex)
			p.TTL = tt.ttl
			var adv vrrp.Advertisement
			if _, got := adv.Decode(p, tt.version, tt.accept); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// updated is a checksum after one word changed (RFC 1624 equation 3).
func updated(sum, from, to uint16) uint16 {
	x := uint32(^sum) + uint32(^from) + uint32(to)
	for x > 0xffff {
		x = x>>16 + x&0xffff
	}
	return ^uint16(x)
}

// TestReservedNibble is V3-PKT-05: what stands in it is ignored.
func TestReservedNibble(t *testing.T) {
	p := packet(t, "192.0.2.1", "224.0.0.18", "313364010064a802c0000264")
	p.Payload[4] |= 0xf0
	binary.BigEndian.PutUint16(p.Payload[6:], updated(0xa802, 0x0064, 0xf064))
	var adv vrrp.Advertisement
	if _, reason := adv.Decode(p, 3, vrrp.ChecksumRFC9568); reason != vrrp.Accepted || adv.Interval != time.Second {
		t.Errorf("interval %s: %s", adv.Interval, reason)
	}
}

// TestChecksumOfEveryPriority is V3-CSUM-09: packets that differ in priority
// alone have sums that differ as one's complement arithmetic says.
func TestChecksumOfEveryPriority(t *testing.T) {
	src, dst := netip.MustParseAddr("192.0.2.1"), vrrp.GroupAddress(vrrp.IPv4)
	for priority := range 256 {
		adv := vectors()[3].adv
		adv.Priority = uint8(priority)
		b, err := adv.AppendTo(nil, src, dst, vrrp.ChecksumPseudo)
		if err != nil {
			t.Fatal(err)
		}
		want := updated(0x0572, 100<<8|1, uint16(priority)<<8|1)
		if got := binary.BigEndian.Uint16(b[6:]); got != want {
			t.Errorf("priority %d: sum %#x, want %#x", priority, got, want)
		}
	}
}

func TestAppendToRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")
	list4, list6 := []netip.Addr{v4}, []netip.Addr{v6}
	for name, adv := range map[string]vrrp.Advertisement{
		"V3-PKT-02":            {Version: 3, VRID: 0, Interval: time.Second, Addresses: list4},
		"V3-PKT-04":            {Version: 3, VRID: 1, Interval: time.Second},
		"V3-PKT-06 zero":       {Version: 3, VRID: 1, Addresses: list4},
		"V3-PKT-06 long":       {Version: 3, VRID: 1, Interval: 41 * time.Second, Addresses: list4},
		"V3-PKT-07":            {Version: 3, VRID: 1, Interval: time.Second, Addresses: []netip.Addr{v4, v6}},
		"V2-PKT-02":            {Version: 2, VRID: 1, Interval: 100 * time.Millisecond, Addresses: list4},
		"V2-PKT-05":            {Version: 2, VRID: 1, Interval: time.Second, Addresses: list6},
		"version":              {Version: 4, VRID: 1, Interval: time.Second, Addresses: list4},
		"more than 255 at all": {Version: 3, VRID: 1, Interval: time.Second, Addresses: make([]netip.Addr, 256)},
	} {
		if b, err := adv.AppendTo([]byte("x"), v4, vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto); err == nil || string(b) != "x" {
			t.Errorf("%s: got %x, %v", name, b, err)
		}
	}
}

// FuzzDecode is V3-RX-14: any octets have one verdict, and what is accepted
// encodes to the same octets, but for the reserved nibble.
func FuzzDecode(f *testing.F) {
	for _, v := range vectors() {
		b, _ := hex.DecodeString(v.hex)
		f.Add(b, v.src, v.dst)
	}
	f.Add([]byte{}, "192.0.2.1", "224.0.0.18")
	f.Add([]byte(strings.Repeat("\x21", 36)), "192.0.2.1", "224.0.0.18")
	f.Fuzz(func(t *testing.T, b []byte, from, to string) {
		src, err1 := netip.ParseAddr(from)
		dst, err2 := netip.ParseAddr(to)
		if err1 != nil || err2 != nil || src.Is4() != dst.Is4() || src.Zone() != "" || src.Is4In6() {
			return
		}
		p := &vrrp.Packet{Source: src, Destination: dst, TTL: 255, Payload: b}
		var adv vrrp.Advertisement
		form, reason := adv.Decode(p, 0, vrrp.ChecksumAuto)
		if reason != vrrp.Accepted || adv.VRID == 0 || adv.Interval == 0 {
			return
		}
		how := vrrp.ChecksumPseudo
		if form == vrrp.FormPlain {
			how = vrrp.ChecksumRFC9568
		}
		again, err := adv.AppendTo(nil, src, dst, how)
		if err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if adv.Version == 3 && b[4]&0xf0 != 0 {
			return
		}
		// 0 and 0xffff are the same sum.
		if diff := cmp.Diff(b, again); diff != "" && binary.BigEndian.Uint16(b[6:]) != 0xffff {
			t.Errorf("encoded again (-want +got):\n%s", diff)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	good := vrrp.Config{Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 100, Interval: time.Second,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/24")}}}
	if err := good.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	bad := vrrp.Config{Version: 2, Interval: 100 * time.Millisecond, Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("2001:db8::1/64")}},
		Unicast: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	want := strings.Join([]string{
		"interface is missing",
		"vrid 0 is outside 1 to 255",
		"priority 0 is outside 1 to 255",
		"advertisement interval 100ms is not a whole number of seconds from 1s to 255s (version 2)",
		"version 2 is for IPv4 only",
		"the first virtual address 2001:db8::1/64 is not link-local",
		"unicast peer 192.0.2.1 is not of the family of the addresses",
	}, "\n")
	if diff := cmp.Diff(want, fmt.Sprint(bad.Validate())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
