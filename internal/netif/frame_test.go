package netif

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ethernet"
)

// TestAnnouncement holds the frames to GV-09 of the conformance list: the
// request form of RFC 9568, and the same as a reply (ARP-01 to 06).
func TestAnnouncement(t *testing.T) {
	frames, err := announcement(net.HardwareAddr{0, 0, 0x5e, 0, 1, 0x33}, netip.MustParseAddr("192.0.2.100"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range frames {
		got = append(got, frameText(t, f))
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

// frameText is a frame as octets.
func frameText(t *testing.T, f *ethernet.Frame) string {
	t.Helper()
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// TestNeighbourAdvertisement holds the frame to GV-12 of the conformance list
// (V3-V6-03, NA-01, NA-02, NA-06).
func TestNeighbourAdvertisement(t *testing.T) {
	frame, err := neighbourAdvertisement(net.HardwareAddr{0, 0, 0x5e, 0, 2, 0x33}, netip.MustParseAddr("fe80::5:1"), netip.MustParseAddr("2001:db8::100"))
	if err != nil {
		t.Fatal(err)
	}
	want := "333300000001" + "00005e000233" + "86dd" + "60000000" + "0020" + "3aff" +
		"fe800000000000000000000000050001" + "ff020000000000000000000000000001" +
		"8800492ca0000000" + "20010db8000000000000000000000100" + "020100005e000233"
	if diff := cmp.Diff(want, frameText(t, frame)); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

// TestAnnouncementIPv6 has the announced address as the source (NA-03).
func TestAnnouncementIPv6(t *testing.T) {
	frames, err := announcement(net.HardwareAddr{0, 0, 0x5e, 0, 2, 0x33}, netip.MustParseAddr("2001:db8::100"))
	if err != nil || len(frames) != 1 {
		t.Fatal(frames, err)
	}
	const address = "20010db8000000000000000000000100"
	if got := frameText(t, frames[0]); got[44:76] != address || got[124:156] != address {
		t.Errorf("source %s, target %s, want both %s", got[44:76], got[124:156], address)
	}
}
