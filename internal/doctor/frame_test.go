package doctor

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

var (
	ours   = mac{2, 0, 0, 0, 0, 1}
	theirs = mac{2, 0, 0, 0, 0, 2}
)

// answered is an echo request as the reply that a machine makes of it.
func answered(frame []byte, header int) []byte {
	b := append([]byte{}, frame...)
	copy(b[0:6], frame[6:12])
	copy(b[6:12], frame[0:6])
	source, size := 14+12, 4
	if header == 40 {
		source, size = 14+8, 16
	}
	copy(b[source:source+size], frame[source+size:source+2*size])
	copy(b[source+size:source+2*size], frame[source:source+size])
	b[14+header] = 0
	if header == 40 {
		b[14+header] = 129
	}
	return b
}

// TestFrames: what is asked is what is heard when somebody answers.
func TestFrames(t *testing.T) {
	for _, c := range []struct {
		from, to     string
		kind         uint16
		header, size int
	}{{"192.0.2.1", "192.0.2.10", etherIPv4, 20, 0}, {"2001:db8::1", "2001:db8::10", etherIPv6, 40, 0}, {"192.0.2.1", "192.0.2.10", etherIPv4, 20, 1400}} {
		from, to := netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
		packet := echo(from, to, 7, 9, c.size)
		if c.size != 0 && len(packet) != c.size {
			t.Errorf("%d bytes, want %d", len(packet), c.size)
		}
		frame := ethernet(theirs, ours, c.kind, packet)
		if h, ok := parse(frame); ok {
			t.Errorf("a request says something: %+v", h)
		}
		h, ok := parse(answered(frame, c.header))
		want := heard{from: theirs, reply: to, to: from, id: 7, seq: 9}
		if h != want || !ok {
			t.Errorf("%s: heard %+v, want %+v", c.to, h, want)
		}
		if c.header == 20 && (checksum(packet[:20]) != 0 || checksum(packet[20:]) != 0) {
			t.Error("a checksum is wrong")
		}
	}
	// ARP: the operation becomes a reply, and the addresses change places.
	ask := whoHas(netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.1"), ours)
	if _, ok := parse(ask); ok || len(ask) != 42 {
		t.Errorf("a request of %d bytes says something", len(ask))
	}
	ask[21] = 2
	copy(ask[28:32], []byte{192, 0, 2, 10})
	if h, ok := parse(ask); !ok || h.owner != netip.MustParseAddr("192.0.2.10") {
		t.Errorf("heard %+v", h)
	}
	solicitation := whoHas(netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("2001:db8::1"), ours)
	if got := mac(solicitation[:6]); got != (mac{0x33, 0x33, 0xff, 0, 0, 0x10}) || len(solicitation) != 14+40+32 {
		t.Errorf("a solicitation of %d bytes to %s", len(solicitation), got)
	}
	solicitation[54] = 136
	if h, ok := parse(solicitation); !ok || h.owner != netip.MustParseAddr("2001:db8::10") {
		t.Errorf("heard %+v", h)
	}
}

// TestWrapped: the headers of each tunnel.
func TestWrapped(t *testing.T) {
	server := netip.MustParseAddr("192.0.2.22")
	inner := []byte{0x45, 1, 2, 3}
	for _, c := range []struct {
		tunnel   ipvs.Tunnel
		ipv6     bool
		protocol int
		port     uint16
		packet   []byte
		overhead int
	}{
		{ipvs.Tunnel{}, false, 4, 0, inner, 20},
		{ipvs.Tunnel{}, true, 41, 0, inner, 20},
		{ipvs.Tunnel{Type: ipvs.GRE}, false, 47, 0, append([]byte{0, 0, 8, 0}, inner...), 24},
		{ipvs.Tunnel{Type: ipvs.GRE}, true, 47, 0, append([]byte{0, 0, 0x86, 0xdd}, inner...), 24},
		{ipvs.Tunnel{Type: ipvs.GRE, Checksum: ipvs.PlainChecksum}, false, 47, 0, append([]byte{0x80, 0, 8, 0, 0x30, 0xfb, 0, 0}, inner...), 28},
		{ipvs.Tunnel{Type: ipvs.GUE, Port: 6080}, false, 0, 6080, append([]byte{0, 4, 0, 0}, inner...), 32},
	} {
		q := wrapped(c.tunnel, server, inner, c.ipv6)
		if diff := cmp.Diff(c.packet, q.packet); diff != "" || q.protocol != c.protocol || q.port != c.port || overhead(c.tunnel, server) != c.overhead {
			t.Errorf("%s: protocol %d, port %d, overhead %d (-want +got):\n%s", c.tunnel, q.protocol, q.port, overhead(c.tunnel, server), diff)
		}
	}
}

// FuzzParse: no frame is the end of the doctor.
func FuzzParse(f *testing.F) {
	f.Add(whoHas(netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.1"), ours))
	f.Add(answered(ethernet(theirs, ours, etherIPv6, echo(netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), 1, 2, 0)), 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := parse(b); ok && !h.owner.IsValid() && !h.reply.IsValid() && !h.router.IsValid() && !h.tooBig.IsValid() {
			t.Errorf("heard nothing: %+v", h)
		}
	})
}
