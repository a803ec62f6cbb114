package vrrp

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// FuzzParseIPv4 and FuzzParseARP want any octets to be read or refused.
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
