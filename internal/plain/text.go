// Package plain makes text from outside fit to be shown: what servers, peers and files
// say reaches a terminal, a log or an event only through it.
package plain

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Most is how many characters of a text from outside are kept.
const Most = 200

// Text is a text from outside on one line: characters that are not printable (control
// characters, those that change the direction of text, blanks other than the space) and
// octets that are not UTF-8 are question marks. Of more than most characters the last
// that is kept is an ellipsis.
func Text(s string, most int) string {
	// What is not shown need not be looked at: a character has at most four octets.
	if limit := utf8.UTFMax * (most + 1); len(s) > limit {
		s = s[:limit]
	}
	if len(s) <= most && clean(s) {
		return s
	}
	var b strings.Builder
	n, last := 0, 0
	for _, r := range s {
		if n == most {
			return b.String()[:last] + "…"
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		last = b.Len()
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// clean reports whether a text is printable ASCII.
func clean(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Escape writes out what is not printable, but for the ends of lines and tabulators, as
// \uXXXX: a terminal obeys none of it, and within a string of JSON it means the same as
// before.
func Escape(b []byte) []byte {
	if clean(strings.NewReplacer("\n", "", "\t", "").Replace(string(b))) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\n' || r == '\t' || r != utf8.RuneError && unicode.IsPrint(r):
			out = append(out, b[:n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// Writer escapes what is written through it (see Escape).
func Writer(w io.Writer) io.Writer { return &writer{to: w} }

type writer struct {
	to io.Writer
	// begun is the beginning of a character whose end is still to come.
	begun []byte
}

// Write is part of io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	text := b
	if len(w.begun) > 0 {
		text = append(w.begun, b...)
		w.begun = nil
	}
	for i := max(0, len(text)-utf8.UTFMax+1); i < len(text); i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			w.begun = append([]byte(nil), text[i:]...)
			text = text[:i]
			break
		}
	}
	if _, err := w.to.Write(Escape(text)); err != nil {
		return 0, err
	}
	return len(b), nil
}
