package bfd_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/bfd"
)

// golden is GV-13 of the conformance list: Down, multiplier 3, discriminator
// 0x11, 1 s and 300 ms.
const golden = "20400318 00000011 00000000 000f4240 000493e0 00000000"

var goldenPacket = bfd.Packet{State: bfd.Down, Multiplier: 3, MyDiscriminator: 0x11, MinTx: time.Second, MinRx: 300 * time.Millisecond}

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPacketGV13(t *testing.T) {
	want := octets(t, golden)
	if diff := cmp.Diff(want, goldenPacket.Append(nil)); diff != "" {
		t.Errorf("Append (-want +got):\n%s", diff)
	}
	var p bfd.Packet
	if reason := p.Decode(want); reason != bfd.Accepted {
		t.Fatalf("Decode: %q", reason)
	}
	if diff := cmp.Diff(goldenPacket, p); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
}

// TestPacketFlags: every flag is where RFC 5880 section 4.1 has it.
func TestPacketFlags(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet bfd.Packet
		octet  byte
	}{
		{"AdminDown", bfd.Packet{State: bfd.AdminDown}, 0},
		{"Init", bfd.Packet{State: bfd.Init}, 0x80},
		{"Up", bfd.Packet{State: bfd.Up}, 0xc0},
		{"poll", bfd.Packet{Poll: true}, 0x20},
		{"final", bfd.Packet{Final: true}, 0x10},
		{"demand", bfd.Packet{Demand: true}, 0x02},
	} {
		c.packet.Multiplier, c.packet.MyDiscriminator, c.packet.Diag = 1, 1, bfd.DiagReverseConcatenatedPathDown
		b := c.packet.Append(nil)
		if b[1] != c.octet || b[0] != 0x28 {
			t.Errorf("%s: octets %#x %#x, want 0x28 %#x", c.name, b[0], b[1], c.octet)
		}
		var back bfd.Packet
		if reason := back.Decode(b); reason != bfd.Accepted || back != c.packet {
			t.Errorf("%s: %q, %v", c.name, reason, back)
		}
	}
}

// TestReceiveBFD_RX_01: what is discarded, and in which order: every row has what
// the rows below it complain about too.
func TestReceiveBFD_RX_01(t *testing.T) {
	for _, c := range []struct {
		name, packet string
		want         bfd.Reason
	}{
		{"no length", "004000", bfd.TooShort},
		{"version 0", "00450017 00000000", bfd.BadVersion},
		{"version 2", "40450017 00000000", bfd.BadVersion},
		{"length below 24", "20410017 00000000", bfd.BadLength},
		{"length below 26 with authentication", "20450019 00000000 00000000 00000000 00000000 00000000 00", bfd.BadLength},
		{"length beyond the payload", "20410018 00000000 00000000 00000000 00000000 000000", bfd.BadLength},
		{"multiplier 0", "20410018 00000000 00000000 00000000 00000000 00000000", bfd.ZeroMultiplier},
		{"multipoint", "20410118 00000000 00000000 00000000 00000000 00000000", bfd.Multipoint},
		{"discriminator 0", "20400118 00000000 00000000 00000000 00000000 00000000", bfd.ZeroDiscriminator},
		{"acceptable", "20400118 00000001 00000000 00000000 00000000 00000000", bfd.Accepted},
		{"longer payload", "20400118 00000001 00000000 00000000 00000000 00000000 ffff", bfd.Accepted},
	} {
		var p bfd.Packet
		if got := p.Decode(octets(t, c.packet)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(octets(f, golden))
	f.Add(octets(f, "20e4031a 00000011 00000022 ffffffff ffffffff 00000000 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p bfd.Packet
		if p.Decode(b) != bfd.Accepted {
			return
		}
		if p.Multiplier == 0 || p.MyDiscriminator == 0 || len(b) < 24 {
			t.Errorf("accepted %v", p)
		}
		var back bfd.Packet
		if reason := back.Decode(p.Append(nil)); reason != bfd.Accepted {
			t.Errorf("our own packet is refused: %q", reason)
		}
		back.Auth = p.Auth
		if back != p {
			t.Errorf("%v became %v", p, back)
		}
	})
}
