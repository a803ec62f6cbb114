package netif

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnnouncement holds the frames to GV-09 of the conformance list: the
// request form of RFC 9568, and the same as a reply.
func TestAnnouncement(t *testing.T) {
	frames, err := announcement(net.HardwareAddr{0, 0, 0x5e, 0, 1, 0x33}, netip.MustParseAddr("192.0.2.100"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range frames {
		got = append(got, hex.EncodeToString(f))
	}
	want := []string{
		"ffffffffffff" + "00005e000133" + "0806" + "0001080006040001" + "00005e000133" + "c0000264" + "00005e000133" + "c0000264",
		"ffffffffffff" + "00005e000133" + "0806" + "0001080006040002" + "00005e000133" + "c0000264" + "00005e000133" + "c0000264",
	}
	for i := range got {
		// The frame is padded to Ethernet's minimum.
		if len(got[i]) > len(want[i]) {
			got[i] = got[i][:len(want[i])]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
}

func TestAnnouncementOfIPv6(t *testing.T) {
	if _, err := announcement(net.HardwareAddr{0, 0, 0x5e, 0, 1, 0x33}, netip.MustParseAddr("2001:db8::1")); err == nil {
		t.Error("ARP for IPv6 was encoded")
	}
}
