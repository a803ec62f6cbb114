package vrrp

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

// FuzzParseIPv4, FuzzParseARP and FuzzParseNA want any octets to be read or refused.
func FuzzParseIPv4(f *testing.F) {
	f.Add([]byte{})
	f.Add(unhex(f, "45c0002000000000ff700000c0000201e0000012"+"3133640100640572c0000264"))
	f.Add(unhex(f, "46c0002400000000ff700000c0000201e000001294040000"+"3133640100640572c0000264"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if parseIPv4(&p, b) && (len(p.Payload) > len(b)-20 || !p.Source.Is4()) {
			t.Errorf("read %+v from %x", p, b)
		}
	})
}

func FuzzParseARP(f *testing.F) {
	f.Add(unhex(f, "ffffffffffff00005e00013308060001080006040001"+"00005e000133c000026400005e000133c0000264"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if parseARP(&p, b) && (!p.Announcement || !p.Source.Is4()) {
			t.Errorf("read %+v from %x", p, b)
		}
	})
}

// goldenNA is GV-12 of the conformance list.
const goldenNA = "333300000001" + "00005e000233" + "86dd" + "60000000" + "0020" + "3aff" +
	"fe800000000000000000000000050001" + "ff020000000000000000000000000001" +
	"8800492ca0000000" + "20010db8000000000000000000000100" + "020100005e000233"

func FuzzParseNA(f *testing.F) {
	f.Add(unhex(f, goldenNA))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if parseNA(&p, b) && (!p.Announcement || !p.Source.Is6()) {
			t.Errorf("read %+v from %x", p, b)
		}
	})
}

// TestParseNA refuses what is not an unsolicited neighbour advertisement that a
// host would believe.
func TestParseNA(t *testing.T) {
	want := Packet{Source: netip.MustParseAddr("2001:db8::100"), MAC: [6]byte{0, 0, 0x5e, 0, 2, 0x33}, Announcement: true}
	good := unhex(t, goldenNA)
	for name, change := range map[string]func([]byte) []byte{
		"as it is": func(b []byte) []byte { return b },
		"padded":   func(b []byte) []byte { return append(b, 1, 2, 3) },
		"without option, from the Ethernet header": func(b []byte) []byte {
			b[19], b = 24, b[:naOptions]
			return resum(b)
		},
	} {
		var got Packet
		if b := change(slices.Clone(good)); !parseNA(&got, b) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v", name, got)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"short":             func(b []byte) []byte { return b[:naOptions-1] },
		"cut":               func(b []byte) []byte { return b[:len(b)-1] },
		"hop limit":         func(b []byte) []byte { b[ip6Hops] = 254; return b },
		"checksum":          func(b []byte) []byte { b[naHeader+2] ^= 1; return b },
		"solicitation":      func(b []byte) []byte { b[naHeader] = 135; return resum(b) },
		"code":              func(b []byte) []byte { b[naHeader+1] = 1; return resum(b) },
		"solicited":         func(b []byte) []byte { b[naFlags] |= naSolicited; return resum(b) },
		"option of nothing": func(b []byte) []byte { b[naOptions+1] = 0; return resum(b) },
		"option too long":   func(b []byte) []byte { b[naOptions+1] = 2; return resum(b) },
		"ethertype":         func(b []byte) []byte { b[13] = 0; return b },
		"payload length":    func(b []byte) []byte { b[19] = 8; return b },
	} {
		var got Packet
		if parseNA(&got, change(slices.Clone(good))) {
			t.Errorf("%s: read %+v", name, got)
		}
	}
}

// resum puts the right checksum into a neighbour advertisement.
func resum(b []byte) []byte {
	b[naHeader+2], b[naHeader+3] = 0, 0
	src, dst := netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54]))
	sum := ^fold(addWords(pseudoSumOf(protocolICMPv6, src, dst, len(b)-naHeader), b[naHeader:]))
	b[naHeader+2], b[naHeader+3] = byte(sum>>8), byte(sum)
	return b
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParseIPv4 has options in the header and padding behind the packet.
func TestParseIPv4(t *testing.T) {
	var p Packet
	if !parseIPv4(&p, unhex(t, "46c0002400000000ff700000c0000201e000001294040000"+"3133640100640572c0000264"+"0000000000")) {
		t.Fatal("refused")
	}
	if got := hex.EncodeToString(p.Payload); got != "3133640100640572c0000264" || p.TTL != 255 || p.Source != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("read %+v", p)
	}
	for _, bad := range []string{"", "45", "60c0002000000000ff700000c0000201e0000012", "45c0002000000000ff110000c0000201e0000012" + "3133640100640572c0000264", "45c0ffff00000000ff700000c0000201e0000012"} {
		if parseIPv4(&p, unhex(t, bad)) {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestParseARP refuses what is not gratuitous.
func TestParseARP(t *testing.T) {
	const gratuitous = "ffffffffffff00005e00013308060001080006040002" + "00005e000133c000026400005e000133c0000264"
	var p Packet
	if !parseARP(&p, unhex(t, gratuitous)) || p.Source != netip.MustParseAddr("192.0.2.100") || p.MAC != [6]byte{0, 0, 0x5e, 0, 1, 0x33} {
		t.Errorf("read %+v", p)
	}
	if parseARP(&p, unhex(t, gratuitous[:len(gratuitous)-2]+"65")) {
		t.Error("an ordinary request was read")
	}
}
