package peer

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestFrame(t *testing.T) {
	for _, f := range []frame{
		{typ: framePing},
		{typ: frameMessage, kind: "health", payload: []byte("up")},
		{typ: frameMessage, kind: strings.Repeat("k", MaxKindName), payload: make([]byte, MaxPayload)},
		{typ: 200, kind: "x"},
	} {
		b := appendFrame(nil, f)
		got, err := readFrame(bytes.NewReader(b), maxFrame)
		if err != nil || got.typ != f.typ || got.kind != f.kind || !bytes.Equal(got.payload, f.payload) {
			t.Errorf("%d %q: got %d %q, %d octets, %v", f.typ, f.kind, got.typ, got.kind, len(got.payload), err)
		}
		for _, n := range []int{1, 4, len(b) - 1} {
			if _, err := readFrame(bytes.NewReader(b[:n]), maxFrame); err != io.ErrUnexpectedEOF {
				t.Errorf("%d of %d octets: %v", n, len(b), err)
			}
		}
	}
}

// FuzzFrame: nothing that arrives does harm, and what is understood is what
// was said.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frame{typ: frameHello, payload: Hello{Protocol: 1, Epoch: "x", Kinds: map[string]int{"a": DefaultWindow}}.encode()}))
	f.Add(appendFrame(nil, frame{typ: frameMessage, kind: "health", payload: []byte("up")}))
	f.Add(appendFrame(nil, frame{typ: frameCredit, kind: "health", payload: credit(100)}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 2, 3, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b), maxFrame)
		if err != nil {
			return
		}
		if again := appendFrame(nil, got); !bytes.HasPrefix(b, again) {
			t.Errorf("%x is read as %x", b, again)
		}
		switch got.typ {
		case frameHello:
			if h, err := parseHello(got.payload); err == nil {
				if again, err := parseHello(h.encode()); err != nil || again.Epoch != h.Epoch {
					t.Errorf("%+v is not read again: %v", h, err)
				}
			}
		case frameCredit:
			if n, err := parseCredit(got.payload); err == nil && (n < 0 || n > maxWindow) {
				t.Errorf("a credit of %d", n)
			}
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "two\n\x1b[2J": "two?…", "ümläut": "ümlä…", "\xff\xfe": "??", "": ""} {
		if got := Printable(in, 5); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(text)
	if err != nil || !again.Equal(key) {
		t.Errorf("a key is not read again: %v", err)
	}
	pin, err := ParsePin(PinOf(key).String())
	if err != nil || pin != PinOf(key) {
		t.Errorf("a pin is not read again: %v", err)
	}
	for _, bad := range []string{"", "ed25519:", "rsa:AAAA", pin.String() + "=", pin.String()[:20], "ed25519:" + strings.Repeat("A", 43), pin.String()[:30] + "\n" + pin.String()[30:]} {
		if p, err := ParsePin(bad); err == nil {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
	for _, bad := range []string{"", "a5a5a5", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParseKey([]byte(bad)); err == nil {
			t.Errorf("%q is read as a key", bad)
		}
	}
}
