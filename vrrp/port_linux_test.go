package vrrp

import (
	"net/netip"
	"testing"

	"golang.org/x/net/ipv6"
)

// TestAncillary: what is beside an IPv6 packet, and a hop limit that is missing
// is one that Decode refuses (V3-RX-01).
func TestAncillary(t *testing.T) {
	destination := netip.MustParseAddr("ff02::12")
	with := (&ipv6.ControlMessage{HopLimit: 255, Src: destination.AsSlice(), IfIndex: 7}).Marshal()
	if got := ancillary(with); got.hopLimit != 255 || got.index != 7 || got.destination != destination {
		t.Errorf("read %+v", got)
	}
	without := (&ipv6.ControlMessage{Src: destination.AsSlice(), IfIndex: 7}).Marshal()
	packet := Packet{Source: netip.MustParseAddr("fe80::1"), Destination: destination, TTL: ancillary(without).hopLimit}
	if _, reason := new(Advertisement).Decode(&packet, 3, ChecksumAuto); reason != BadTTL {
		t.Errorf("without hop limit: %s", reason)
	}
	for n := range with {
		ancillary(with[:n])
	}
}
