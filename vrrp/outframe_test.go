package vrrp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

// TestOutFrame: a frame from the virtual MAC (V3-PKT-13, V3-TX-02) is what the
// kernel would have made, but for the sender (V3-PKT-15), and what we read.
func TestOutFrame(t *testing.T) {
	for _, c := range []struct {
		family   Family
		src, dst string
		want     string
	}{
		{IPv4, "192.0.2.1", "224.0.0.18", "01005e000012" + "00005e000133" + "0800" + "45c000180000" + "4000ff70d8a1" + "c0000201" + "e0000012" + "01020304"},
		{IPv6, "fe80::1", "ff02::12", "333300000012" + "00005e000233" + "86dd" + "6c000000" + "000470ff" + "fe800000000000000000000000000001" + "ff020000000000000000000000000012" + "01020304"},
	} {
		payload := []byte{1, 2, 3, 4}
		got := appendFrame(nil, VirtualMAC(c.family, 51), netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst), payload)
		if hex.EncodeToString(got) != c.want {
			t.Errorf("got  %x\nwant %s", got, c.want)
		}
		if c.family == IPv6 {
			continue
		}
		var p Packet
		if !parseIPv4(&p, got[14:]) || p.TTL != 255 || p.Source.String() != c.src || p.Destination.String() != c.dst || !bytes.Equal(p.Payload, payload) {
			t.Errorf("read as %+v", p)
		}
		if fold(addWords(0, got[14:34])) != 0xffff {
			t.Errorf("checksum of the header %x", got[14:34])
		}
	}
}
