package vrrp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// sequentialKey is the key of the draft's appendix: octets 00 to 1f.
func sequentialKey() AuthKey {
	var b [32]byte
	for i := range b {
		b[i] = byte(i)
	}
	return AuthKey{ID: 1, Secret: string(b[:])}
}

// newAuthenticator has the appendix's key and keepalived's window of 5 s.
func newAuthenticator(change func(*Auth), peers ...string) *authenticator {
	cfg := Config{Interval: time.Second, Auth: &Auth{Keys: []AuthKey{sequentialKey()}, Send: 1}}
	if change != nil {
		change(cfg.Auth)
	}
	for _, p := range peers {
		cfg.Unicast = append(cfg.Unicast, netip.MustParseAddr(p))
	}
	a := &authenticator{}
	a.configure(&cfg)
	return a
}

// signedVector is a signed packet as somebody else made it.
type signedVector struct {
	name, hex, src, dst string
	adv                 Advertisement
	form                Checksum
	wall                time.Time
}

// signedVectors are GV-08 and the images of keepalived's test/auth_hmac_test.c,
// which are those of the draft's appendix, and what a keepalived 2.4.3 sent.
func signedVectors() []signedVector {
	adv := func(priority uint8, vip string) Advertisement {
		return Advertisement{Version: 3, VRID: 51, Priority: priority, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr(vip)}}
	}
	list4 := []netip.Addr{netip.MustParseAddr("10.0.0.100")}
	list6 := []netip.Addr{netip.MustParseAddr("fe80::5e:33"), netip.MustParseAddr("2001:db8::100")}
	return []signedVector{
		{"GV-08", "3133640100642382c0000264" + "010100006600000080000000" + "5967751c7cfc3753a94913aba4824fd1",
			"192.0.2.1", "192.0.2.2", adv(100, "192.0.2.100"), ChecksumPseudo, time.Unix(0x66000000, 5e8)},
		{"appendix IPv4", "3133c80100644402c0000264" + "010100006800000080000000" + "1b84bc4e8e43892dc6d98448f8ee2265",
			"198.51.100.10", "224.0.0.18", adv(200, "192.0.2.100"), ChecksumRFC9568, time.Unix(0x68000000, 5e8)},
		{"appendix IPv6", "3133c8010064a2e9" + "fe800000000000000000000000000100" + "010100006800000080000000" + "c8c56146ebfd66ee10ec4d8186461b78",
			"fe80::10", "fe80::20", adv(200, "fe80::100"), ChecksumAuto, time.Unix(0x68000000, 5e8)},
		// Heard from keepalived 2.4.3, built from source, with the same key.
		{"keepalived 2.4.3, IPv4 multicast", "31339601001443c30a000064" + "010100006b0362e764030000" + "883c84d12cd4f5a2b93ca2d45b806b63",
			"10.0.0.1", "224.0.0.18", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list4}, ChecksumPseudo, time.Unix(0x6b0362e7, 390670777)},
		{"keepalived 2.4.3, IPv4 multicast, v3_checksum_as_v2", "3133960100142e530a000064" + "010100006b0362ece58e0000" + "099d8aabe5157a3140e3c352307dda32",
			"10.0.0.1", "224.0.0.18", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list4}, ChecksumRFC9568, time.Unix(0x6b0362ec, 896697999)},
		{"keepalived 2.4.3, IPv4 unicast", "31339601001419d40a000064" + "010100006b0362f25ebd0000" + "f8aa8440ff123fd32a69570bf3908736",
			"10.0.0.1", "10.0.0.2", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list4}, ChecksumPseudo, time.Unix(0x6b0362f2, 370071412)},
		{"keepalived 2.4.3, IPv4 unicast, v3_checksum_as_v2", "3133960100142e530a000064" + "010100006b0362f7d7640000" + "313049beb13fc4d3c8bfe299a732cc7c",
			"10.0.0.1", "10.0.0.2", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list4}, ChecksumRFC9568, time.Unix(0x6b0362f7, 841369629)},
		{"keepalived 2.4.3, IPv6 multicast", "313396020014929efe8000000000000000000000005e003320010db8000000000000000000000100" + "010100006b0363035b060000" + "d238f240d2fff7b52ffddd4b341e9901",
			"fe80::a025:44ff:fe99:29d", "ff02::12", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list6}, ChecksumAuto, time.Unix(0x6b036303, 355560303)},
		{"keepalived 2.4.3, IPv6 unicast", "3133960200140aa3fe8000000000000000000000005e003320010db8000000000000000000000100" + "010100006b03630eea750000" + "4577367df590382d9d6e2484f4188ad7",
			"2001:db8::1", "2001:db8::2", Advertisement{Version: 3, VRID: 51, Priority: 150, Interval: 200 * time.Millisecond, Addresses: list6}, ChecksumAuto, time.Unix(0x6b03630e, 915847779)},
		{"keepalived 2.4.3, version 2 multicast", "2133960100013e660a0000640000000000000000" + "010100006b03631dfd8c0000" + "985c8f8304e2732694f47a8c406ab501",
			"10.0.0.1", "224.0.0.18", Advertisement{Version: 2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: list4}, ChecksumAuto, time.Unix(0x6b03631d, 990417481)},
		{"keepalived 2.4.3, version 2 unicast", "2133960100013e660a0000640000000000000000" + "010100006b03632f57cf0000" + "4a94162e0458026d00a969b126903de3",
			"10.0.0.1", "10.0.0.2", Advertisement{Version: 2, VRID: 51, Priority: 150, Interval: time.Second, Addresses: list4}, ChecksumAuto, time.Unix(0x6b03632f, 343002320)},
	}
}

// packet is the vector as it was received.
func (v signedVector) packet(t testing.TB) *Packet {
	return &Packet{Source: netip.MustParseAddr(v.src), Destination: netip.MustParseAddr(v.dst), TTL: 255, Payload: unhex(t, v.hex)}
}

// TestSignedVectors: KA-HMAC-01 to 05, both ways.
func TestSignedVectors(t *testing.T) {
	for _, v := range signedVectors() {
		t.Run(v.name, func(t *testing.T) {
			src, dst := netip.MustParseAddr(v.src), netip.MustParseAddr(v.dst)
			b, err := v.adv.AppendTo(nil, src, dst, v.form)
			if err != nil {
				t.Fatal(err)
			}
			m := &member{router: &Router{cfg: Config{Interval: time.Second, Auth: &Auth{Keys: []AuthKey{sequentialKey()}, Send: 1}}, link: LinkChange{Source: src}}}
			signed := outgoing{dst, append(b, make([]byte, trailerLen)...)}
			// Another peer gets a copy with the same signature (KA-HMAC-03).
			other := outgoing{dst: dst.Next()}
			if b, err = v.adv.AppendTo(nil, src, other.dst, v.form); err != nil {
				t.Fatal(err)
			}
			other.payload = append(b, make([]byte, trailerLen)...)
			m.sign(v.wall, []outgoing{signed, other})
			if n := len(b); !bytes.Equal(signed.payload[n:], other.payload[n:]) {
				t.Errorf("the trailers are %x and %x", signed.payload[n:], other.payload[n:])
			}
			if _, _, reason := new(Advertisement).decodeBy(&Packet{Source: src, Destination: other.dst, TTL: 255, Payload: other.payload}, rules{ttl: 255, trailer: true}); reason != Accepted {
				t.Errorf("the copy: %s", reason)
			}
			if got := hex.EncodeToString(signed.payload); got != v.hex {
				t.Errorf("made %s\nwant %s", got, v.hex)
			}
			var adv Advertisement
			_, trailer, reason := adv.decodeBy(v.packet(t), rules{ttl: 255, trailer: true})
			if reason != Accepted || !trailer || !slices.Equal(adv.Addresses, v.adv.Addresses) || adv.Priority != v.adv.Priority {
				t.Errorf("decoded %+v, trailer %v: %s", adv, trailer, reason)
			}
			if reason, offset := newAuthenticator(nil).verify(v.wall.Add(time.Second), v.packet(t)); reason != Accepted || offset != time.Second {
				t.Errorf("verified as %q, %s behind", reason, offset)
			}
		})
	}
}

// TestTrailerMutations is keepalived's table: one changed octet each.
func TestTrailerMutations(t *testing.T) {
	v := signedVectors()[2]
	const trailer = 24
	for _, tt := range []struct {
		name string
		at   int
		want Reason
	}{
		{"priority", 2, AuthInvalid},
		{"interval", 5, AuthInvalid},
		{"KA-HMAC-02 checksum", 6, Accepted},
		{"address", 8 + 15, AuthInvalid},
		{"type", trailer, AuthMalformed},
		{"key id", trailer + 1, AuthUnknownKey},
		{"reserved", trailer + 2, AuthMalformed},
		{"reserved, second octet", trailer + 3, AuthMalformed},
		{"seconds", trailer + 7, AuthInvalid},
		{"fraction", trailer + 9, AuthInvalid},
		{"counter", trailer + 11, AuthInvalid},
		{"first octet of the HMAC", trailer + 12, AuthInvalid},
		{"last octet of the HMAC", trailer + 27, AuthInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := v.packet(t)
			p.Payload[tt.at] ^= 1
			a := newAuthenticator(nil)
			if got, _ := a.verify(v.wall, p); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want != Accepted && len(a.marks) != 0 {
				t.Errorf("a refused packet left marks %v", a.marks)
			}
		})
	}
	for name, change := range map[string]func(*Packet){
		"source":  func(p *Packet) { p.Source = netip.MustParseAddr("fe80::20") },
		"vrid":    func(p *Packet) { p.Payload[1] = 52 },
		"version": func(p *Packet) { p.Payload[0] = 0x21 },
		"family":  func(p *Packet) { p.Source = netip.MustParseAddr("254.128.0.0") },
	} {
		p := v.packet(t)
		change(p)
		if got, _ := newAuthenticator(nil).verify(v.wall, p); got != AuthInvalid {
			t.Errorf("another %s: %q", name, got)
		}
	}
	// The destination is not covered (KA-HMAC-03).
	p := v.packet(t)
	p.Destination = netip.MustParseAddr("fe80::99")
	if got, _ := newAuthenticator(nil).verify(v.wall, p); got != Accepted {
		t.Errorf("another destination: %q", got)
	}
}

// stamped is a signed packet from a source at a time.
func stamped(from *authenticator, source string, wall time.Time) *Packet {
	src := netip.MustParseAddr(source)
	b := append([]byte("\x31\x33\x64\x01\x00\x64\x05\x72\xc0\x00\x02\x64"), make([]byte, trailerLen)...)
	from.sign(wall, src, b)
	return &Packet{Source: src, Destination: group4, TTL: 255, Payload: b}
}

// TestWindow: KA-HMAC-05 and 06, the edges of freshness by whole seconds, and
// before the HMAC is computed.
func TestWindow(t *testing.T) {
	at := time.Unix(2_000_000_000, 0)
	for _, tt := range []struct {
		behind time.Duration
		want   Reason
	}{
		{0, Accepted},
		{5 * time.Second, Accepted},
		{-5 * time.Second, Accepted},
		{6 * time.Second, AuthStale},
		{-6 * time.Second, AuthStale},
		{100 * time.Second, AuthStale},
		{1 << 31 * time.Second, AuthStale},
	} {
		a := newAuthenticator(nil)
		p := stamped(newAuthenticator(nil), "10.0.0.2", at.Add(-tt.behind))
		got, offset := a.verify(at, p)
		if got != tt.want || (tt.behind < time.Hour && offset != tt.behind) {
			t.Errorf("%s behind: %q, said to be %s behind", tt.behind, got, offset)
		}
		p.Payload[len(p.Payload)-1] ^= 1
		if got, _ := newAuthenticator(nil).verify(at, p); tt.want == AuthStale && got != AuthStale {
			t.Errorf("%s behind and forged: %q", tt.behind, got)
		}
		if got, _ := newAuthenticator(func(a *Auth) { a.Monotonic = true }).verify(at, stamped(newAuthenticator(nil), "10.0.0.2", at.Add(-tt.behind))); got != Accepted {
			t.Errorf("%s behind, where only growth counts: %q", tt.behind, got)
		}
	}
	for _, tt := range []struct {
		interval, window, want time.Duration
	}{
		{10 * time.Millisecond, 0, 5 * time.Second},
		{time.Second, 0, 5 * time.Second},
		{1700 * time.Millisecond, 0, 6 * time.Second},
		{40950 * time.Millisecond, 0, 123 * time.Second},
		{time.Second, 300 * time.Second, 300 * time.Second},
	} {
		c := Config{Interval: tt.interval, Auth: &Auth{Window: tt.window}}
		if got := c.authWindow(); got != tt.want {
			t.Errorf("window for %s and %s is %s, want %s", tt.interval, tt.window, got, tt.want)
		}
	}
}

// TestSequence: KA-HMAC-04, what is sent grows whatever the clock does.
func TestSequence(t *testing.T) {
	at := time.Unix(2_000_000_000, 123456789)
	a := newAuthenticator(nil)
	next := func(wall time.Time) uint64 { a.sent = a.next(wall); return a.sent }
	first := next(at)
	if want := uint64(2_000_000_000)<<32 | 8090<<16; first != want {
		t.Errorf("first is %#x, want %#x", first, want)
	}
	if got := next(at); got != first+1 {
		t.Errorf("at the same time %#x, want %#x", got, first+1)
	}
	if got := next(at.Add(-3 * time.Second)); got != first+2 {
		t.Errorf("after a step back within the window %#x, want %#x", got, first+2)
	}
	if got, want := next(at.Add(time.Second)), sequenceOf(at.Add(time.Second)); got != want {
		t.Errorf("a second later %#x, want the clock %#x", got, want)
	}
	// The counter carries over into the fraction.
	a.sent |= 0xffff
	if got, want := next(at), sequenceOf(at.Add(time.Second))+1<<16; got != want {
		t.Errorf("after the last counter %#x, want %#x", got, want)
	}
	if got, want := next(at.Add(-time.Hour)), sequenceOf(at.Add(-time.Hour)); got != want {
		t.Errorf("after a step back beyond the window %#x, want the clock %#x", got, want)
	}
	a.auth.Monotonic = true
	if got, want := next(at.Add(-10*time.Hour)), sequenceOf(at.Add(-time.Hour))+1; got != want {
		t.Errorf("where only growth counts %#x, want %#x", got, want)
	}
	// A fresh process of 2040, when the seconds are beyond 31 bits, and one that
	// goes on into 2106, when they wrap.
	late := time.Unix(2_208_988_800, 0)
	a = newAuthenticator(nil)
	if got := next(late); got != sequenceOf(late) {
		t.Errorf("in 2040 %#x", got)
	}
	a.sent, a.auth.Monotonic = 0, true
	if got := next(late); got != sequenceOf(late) {
		t.Errorf("in 2040, where only growth counts, %#x", got)
	}
	a = newAuthenticator(nil)
	wrap := time.Unix(1<<32-1, 0)
	next(wrap)
	if got := next(wrap.Add(2 * time.Second)); got>>32 != 1 {
		t.Errorf("after the wrap %#x", got)
	}
}

// TestReplay: KA-HMAC-04 to 06.
func TestReplay(t *testing.T) {
	at := time.Unix(2_000_000_000, 0)
	expect := func(what string, a *authenticator, wall time.Time, p *Packet, want Reason) {
		t.Helper()
		if got, _ := a.verify(wall, p); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	peer, a := newAuthenticator(nil), newAuthenticator(nil)
	old := stamped(peer, "10.0.0.2", at)
	fresh := stamped(peer, "10.0.0.2", at)
	expect("newer", a, at, fresh, Accepted)
	expect("again", a, at, fresh, AuthReplay)
	expect("older", a, at, old, AuthReplay)
	expect("the same copy at another receiver", newAuthenticator(nil), at, fresh, Accepted)
	expect("another sender of the same time", a, at, stamped(newAuthenticator(nil), "10.0.0.3", at), Accepted)

	// A mark that was left in the future expires with the window.
	a = newAuthenticator(nil)
	a.marks = []mark{{netip.MustParseAddr("10.0.0.2"), sequenceOf(at.Add(time.Hour)), 0}}
	p := stamped(newAuthenticator(nil), "10.0.0.2", at)
	expect("mark beyond the window", a, at, p, Accepted)
	expect("and then again", a, at, p, AuthReplay)
	a = newAuthenticator(func(a *Auth) { a.Monotonic = true })
	a.marks = []mark{{netip.MustParseAddr("10.0.0.2"), sequenceOf(at.Add(time.Hour)), 0}}
	expect("mark where only growth counts", a, at, p, AuthReplay)

	// A wrap of the seconds is growth (RFC 1982).
	a, peer = newAuthenticator(nil), newAuthenticator(nil)
	wrap := time.Unix(1<<32-1, 0)
	expect("before the wrap", a, wrap, stamped(peer, "10.0.0.2", wrap), Accepted)
	expect("after the wrap", a, wrap.Add(2*time.Second), stamped(peer, "10.0.0.2", wrap.Add(2*time.Second)), Accepted)
}

// TestMarks: four senders to the group are remembered and the one that was quiet
// longest goes; each unicast peer has a place of its own for as long as it is one.
func TestMarks(t *testing.T) {
	at := time.Unix(2_000_000_000, 0)
	senders := func(a *authenticator) string {
		var out []string
		for _, m := range a.marks {
			out = append(out, m.sender.String()[len("10.0.0."):])
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	a := newAuthenticator(nil)
	for _, n := range []int{1, 2, 3, 4, 1, 5} {
		wall := at.Add(time.Duration(len(a.marks)) * time.Millisecond)
		if n == 1 && len(a.marks) > 0 {
			wall = wall.Add(time.Second)
		}
		if got, _ := a.verify(at, stamped(newAuthenticator(nil), fmt.Sprintf("10.0.0.%d", n), wall)); got != Accepted {
			t.Fatalf("sender %d: %q", n, got)
		}
	}
	if got := senders(a); got != "1 3 4 5" {
		t.Errorf("remembered %s, want 1 3 4 5", got)
	}

	var peers []string
	for n := range 6 {
		peers = append(peers, fmt.Sprintf("10.0.0.%d", n+1))
	}
	a = newAuthenticator(nil, peers...)
	for _, p := range peers {
		a.verify(at, stamped(newAuthenticator(nil), p, at))
	}
	if got := senders(a); got != "1 2 3 4 5 6" {
		t.Errorf("remembered %s, want all peers", got)
	}
	// A reload changes keys and peers, and keeps what was heard of those that stay.
	next := Config{Interval: time.Second, Auth: &Auth{Keys: []AuthKey{{ID: 2, Secret: strings.Repeat("x", 32)}, sequentialKey()}, Send: 2},
		Unicast: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.7")}}
	a.configure(&next)
	if got := senders(a); got != "2" {
		t.Errorf("after a reload it remembers %s, want 2", got)
	}
	if got, _ := a.verify(at, stamped(newAuthenticator(nil), "10.0.0.2", at)); got != AuthReplay {
		t.Errorf("a replay after a reload: %q", got)
	}
}

// TestSignAllocations: a packet costs no garbage once the first has passed.
func TestSignAllocations(t *testing.T) {
	at := time.Unix(2_000_000_000, 0)
	one, two := newAuthenticator(nil), newAuthenticator(nil)
	p := stamped(one, "10.0.0.2", at)
	n := testing.AllocsPerRun(100, func() {
		one.sign(at, p.Source, p.Payload)
		if reason, _ := two.verify(at, p); reason != Accepted {
			t.Fatal(reason)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

// BenchmarkSign is one advertisement with 20 addresses.
func BenchmarkSign(b *testing.B) {
	at := time.Unix(2_000_000_000, 0)
	one := newAuthenticator(nil)
	packet := make([]byte, headerLen+20*4+trailerLen)
	for b.Loop() {
		one.sign(at, group4, packet)
	}
}

// FuzzTrailer wants any octets behind a packet to be refused, unless they are
// those that the key makes.
func FuzzTrailer(f *testing.F) {
	for _, v := range signedVectors() {
		b := unhex(f, v.hex)
		f.Add(b, v.wall.Unix())
	}
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, seconds int64) {
		wall := time.Unix(seconds, 0)
		for _, src := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::10")} {
			p := &Packet{Source: src, Destination: GroupAddress(familyOf(src)), TTL: 255, Payload: b}
			var adv Advertisement
			if _, signed, reason := adv.decodeBy(p, rules{ttl: 255, trailer: true}); reason != Accepted || !signed {
				continue
			}
			a := newAuthenticator(nil)
			reason, _ := a.verify(wall, p)
			if (reason == Accepted) != (len(a.marks) == 1) {
				t.Fatalf("%s with marks %v", reason, a.marks)
			}
			if reason == Accepted {
				p.Payload = bytes.Clone(b)
				p.Payload[len(b)-trailerLen+7] ^= 1
				if reason, _ := newAuthenticator(func(a *Auth) { a.Monotonic = true }).verify(wall, p); reason != AuthInvalid {
					t.Fatalf("a changed sequence: %s", reason)
				}
			}
		}
	})
}
