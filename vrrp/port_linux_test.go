package vrrp

import (
	"net/netip"
	"testing"

	"golang.org/x/net/ipv6"

	"lvsha/internal/cmsg"
)

// TestAncillary: a hop limit that the kernel did not tell is one that Decode
// refuses (V3-RX-01).
func TestAncillary(t *testing.T) {
	destination := netip.MustParseAddr("ff02::12")
	beside := cmsg.Parse((&ipv6.ControlMessage{Src: destination.AsSlice(), IfIndex: 7}).Marshal())
	packet := Packet{Source: netip.MustParseAddr("fe80::1"), Destination: destination, TTL: beside.Hops}
	if _, reason := new(Advertisement).Decode(&packet, 3, ChecksumAuto); reason != BadTTL {
		t.Errorf("without hop limit: %s", reason)
	}
}
