package plain_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"lvsha/internal/plain"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                           "plain",
		"bell\a and \x1b[31mred":          "bell? and ?[31mred",
		"bad \xff utf-8":                  "bad ? utf-8",
		"csi \u009b2J":                    "csi ?2J",
		"two\nlines\r\n":                  "two?lines??",
		"over\u202eride":                  "over?ride",
		"isolate\u2066d":                  "isolate?d",
		"Grüße, 世界":                       "Grüße, 世界",
		strings.Repeat("é", 200):          strings.Repeat("é", 200),
		strings.Repeat("é", 201):          strings.Repeat("é", 199) + "…",
		strings.Repeat("a", 120<<10):      strings.Repeat("a", 199) + "…",
		strings.Repeat("\U0001d11e", 999): strings.Repeat("\U0001d11e", 199) + "…",
	} {
		if got := plain.Text(in, plain.Most); got != want {
			t.Errorf("%.40q: got %q, want %q", in, got, want)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := plain.Writer(&out)
	const text = "a\tb\n\x1b[2J\u009b\u202e\xffü世\U000e0001.\n"
	for i := range len(text) { // characters in pieces
		if n, err := w.Write([]byte(text)[i : i+1]); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), "a\tb\n\\u001b[2J\\u009b\\u202e\\ufffdü世\\udb40\\udc01.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, s := range []string{"\x1b\u202e\U000e0001\u0085", "plain"} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(plain.Escape(b), &back); err != nil || back != s {
			t.Errorf("%q comes back as %q (%v)", s, back, err)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[2J\u202e", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = max(1, most%300)
		got := plain.Text(s, most)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > most || strings.ContainsAny(got, "\x00\x1b\n\r\u202e\u009b") {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
