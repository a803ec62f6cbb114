package connsync

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// comparable addresses of go-cmp.
var addresses = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

var (
	tcp4 = Record{
		Key:    ConnKey{Protocol: protocolTCP, Client: ap("192.0.2.9:40000"), Virtual: ap("192.0.2.10:80")},
		Server: ap("192.0.2.21:80"), Flags: ForwardDR | NoOutput, State: tcpEstablished, Timeout: 900,
	}
	tcp6 = Record{
		Key:    ConnKey{Protocol: protocolTCP, Client: ap("[2001:db8::9]:40000"), Virtual: ap("[2001:db8::10]:80")},
		Server: ap("[2001:db8::21]:80"), Flags: ForwardNAT, State: tcpEstablished, Timeout: 900,
	}
	udp4 = Record{
		Key:    ConnKey{Protocol: protocolUDP, Client: ap("192.0.2.9:5000"), Virtual: ap("192.0.2.10:53")},
		Server: ap("192.0.2.21:53"), Flags: ForwardTUN | NoOutput | Inactive, Timeout: 300,
	}
	template4 = Record{
		Key:    ConnKey{Protocol: protocolTCP, Template: true, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:80")},
		Server: ap("192.0.2.21:80"), Flags: ForwardDR | NoOutput | Template, State: 1, Timeout: 360,
	}
	markTemplate4 = Record{
		Key:    ConnKey{Template: true, Client: ap("192.0.2.9:0"), Virtual: ap("0.0.0.7:0")},
		Server: ap("192.0.2.21:0"), Flags: ForwardDR | NoOutput | Template, State: 1, Mark: 7, Timeout: 360,
	}
	ftp = Record{
		Key:    ConnKey{Protocol: protocolTCP, Client: ap("192.0.2.9:40001"), Virtual: ap("192.0.2.10:21")},
		Server: ap("192.0.2.21:21"), Flags: SeqMask, State: tcpEstablished, Timeout: 900,
		Options: string([]byte{optSeq, seqSize}) + strings.Repeat("\x01", seqSize),
	}
	sip = Record{
		Key:    ConnKey{Protocol: protocolUDP, Template: true, Client: ap("192.0.2.9:0"), Virtual: ap("192.0.2.10:5060"), Engine: "sip a@b.c"},
		Server: ap("192.0.2.21:5060"), Flags: Template, State: 1, Timeout: 360,
		Options: string([]byte{optEngineData, 5}) + "a@b.c" + string([]byte{optEngine, 3}) + "sip",
	}
	ignored = Record{
		Key:    ConnKey{Protocol: protocolUDP, Client: ap("192.0.2.9:5001"), Virtual: ap("192.0.2.10:53")},
		Server: ap("192.0.2.21:53"), Flags: Inactive, Timeout: 300, Options: string([]byte{0x7f, 1, 0}),
	}
)

func TestMessageOfRecords(t *testing.T) {
	all := []Record{tcp4, tcp6, sip, udp4, template4, markTemplate4, ftp, ignored}
	b, left := AppendMessage([]byte("before"), 7, 1472, all)
	b = b[len("before"):]
	if len(left) != 0 {
		t.Fatalf("%d records are left", len(left))
	}
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Message{ID: 7, Records: all}, m, addresses); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	// As many as fit, with the padding of a record of odd length before the next one.
	for limit := headerSize + recordSize4; limit < len(b); limit++ {
		count := 0
		for rest := all; len(rest) > 0; {
			var out []byte
			if out, rest = AppendMessage(nil, 7, limit, rest); len(out) > limit && out[4] != 1 {
				t.Fatalf("a message of %d octets and %d records, limit %d", len(out), out[4], limit)
			}
			m, err := Decode(out)
			if err != nil {
				t.Fatal(err)
			}
			count += len(m.Records)
		}
		if count != len(all) {
			t.Fatalf("%d records with the limit %d", count, limit)
		}
	}
	if b, left := AppendMessage(nil, 7, 1472, nil); len(b) != 0 || left != nil {
		t.Errorf("a message of no records: %x", b)
	}
}

// TestDecodeAsKernel: what the kernel drops whole, from a record on, or alone.
func TestDecodeAsKernel(t *testing.T) {
	const other = 255
	two := func(change func(b []byte) []byte) []byte {
		b, _ := AppendMessage(nil, 1, 1472, []Record{tcp4, udp4})
		b = change(b)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	first, second := headerSize, headerSize+recordSize4
	optioned := func(options string) []byte {
		r := udp4
		r.Options = options
		b, _ := AppendMessage(nil, 1, 1472, []Record{tcp4, r, tcp6})
		return b
	}
	tests := []struct {
		name    string
		b       []byte
		records int
		skipped int
		err     string
	}{
		{"nothing", nil, 0, 0, "cut short"},
		{"a header", []byte{0, 1, 0, 8, 0, 1, 0, 0}, 0, 0, ""},
		{"another length", []byte{0, 1, 0, 9, 0, 1, 0, 0}, 0, 0, "cut short"},
		{"version 0", []byte{1, 1, 0, 8, 0, 0, 0, 0}, 0, 0, "version 0"},
		{"version 2", []byte{0, 1, 0, 8, 0, 2, 0, 0}, 0, 0, "version 0"},
		{"spare", []byte{0, 1, 0, 8, 0, 1, 0, 1}, 0, 0, "version 0"},
		{"two", two(func(b []byte) []byte { return b }), 2, 0, ""},
		{"more than said", two(func(b []byte) []byte { b[4] = 1; return b }), 1, 0, ""},
		{"less than said", two(func(b []byte) []byte { b[4] = 3; return b }), 2, 0, "cut short"},
		{"cut", two(func(b []byte) []byte { return b[:len(b)-1] }), 1, 0, "cut short"},
		{"type", two(func(b []byte) []byte { b[second] = 2; return b }), 1, 0, "type 2"},
		{"IPv6 that does not fit", two(func(b []byte) []byte { b[second] = 1; return b }), 1, 0, "cut short"},
		{"record version", two(func(b []byte) []byte { b[first+2] |= 0x10; return b }), 0, 0, "version 1"},
		{"too small", two(func(b []byte) []byte { b[first+3] = recordSize4 - 1; return b }), 0, 0, "cut short"},
		{"state", two(func(b []byte) []byte { b[first+9] = other; return b }), 1, 1, ""},
		{"one-packet", two(func(b []byte) []byte { b[first+6] |= 0x20; return b }), 1, 1, ""},
		{"template without a client's port", two(func(b []byte) []byte { b[first+6] |= 0x18; return b }), 1, 1, ""},
		{"option twice", optioned("\x02\x01a\x02\x01a"), 1, 0, "twice"},
		{"option of no length", optioned("\x02\x00"), 1, 0, "cut short"},
		{"option beyond the end", optioned("\x02\x09a"), 1, 0, "cut short"},
		{"half an option", optioned("\x02"), 1, 0, "cut short"},
		{"sequence numbers of another length", optioned("\x01\x01a"), 1, 0, "wrong length"},
		{"engine of a long name", optioned("\x03\x11abcdefghijklmnopq"), 1, 0, "wrong length"},
		{"unknown option", optioned("\x09\x01a"), 2, 1, ""},
		{"unknown option that may be ignored", optioned("\x49\x01a"), 3, 0, ""},
	}
	for _, tt := range tests {
		m, err := Decode(tt.b)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if len(m.Records) != tt.records || m.Skipped != tt.skipped || (tt.err == "") != (err == nil) || !strings.Contains(text, tt.err) {
			t.Errorf("%s: %d records, %d skipped, %v; want %d, %d, %q", tt.name, len(m.Records), m.Skipped, err, tt.records, tt.skipped, tt.err)
		}
	}
	if _, err := Decode([]byte{1, 1, 0, 8, 0, 0, 0, 0}); !errors.Is(err, ErrVersion0) {
		t.Errorf("version 0: %v", err)
	}
}

// TestCaptured: messages of a real kernel's master daemon (6.1), one a line, read and
// written again are the same octets.
func TestCaptured(t *testing.T) {
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for line := range strings.Lines(string(text)) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil || m.Skipped > 0 {
			t.Errorf("%x: %v, %d skipped", b, err, m.Skipped)
		}
		records += len(m.Records)
		again, left := AppendMessage(nil, m.ID, len(b), m.Records)
		if !bytes.Equal(b, again) || len(left) != 0 {
			t.Errorf("%x was written again as\n%x", b, again)
		}
	}
	if records == 0 {
		t.Error("there are no records")
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := AppendMessage(nil, 7, 1472, []Record{tcp4, tcp6, sip, udp4, template4, markTemplate4, ftp, ignored})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		for left := m.Records; len(left) > 0; {
			var out []byte
			before := left
			out, left = AppendMessage(nil, m.ID, 1472, left)
			again, err := Decode(out)
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if diff := cmp.Diff(before[:len(again.Records)], again.Records, addresses); diff != "" {
				t.Fatalf("read back (-want +got):\n%s", diff)
			}
		}
	})
}
