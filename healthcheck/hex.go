package healthcheck

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Hex are bytes as pairs of hexadecimal digits; blanks between them are ignored.
type Hex string

// UnmarshalText takes blanks out and makes letters small.
func (h *Hex) UnmarshalText(text []byte) error {
	digits := strings.ToLower(strings.Join(strings.Fields(string(text)), ""))
	if _, err := hex.DecodeString(digits); err != nil || digits == "" {
		return fmt.Errorf("want pairs of hexadecimal digits such as \"0d0a\", got %q", text)
	}
	*h = Hex(digits)
	return nil
}

// bytes are what the digits say.
func (h Hex) bytes() []byte {
	b, _ := hex.DecodeString(string(h)) // UnmarshalText has seen to it
	return b
}

// HexPattern is Hex in which an X is any digit, as in keepalived's require_reply.
type HexPattern string

// UnmarshalText takes blanks out and makes letters small.
func (h *HexPattern) UnmarshalText(text []byte) error {
	digits := strings.ToLower(strings.Join(strings.Fields(string(text)), ""))
	if len(digits)%2 != 0 || digits == "" || strings.Trim(digits, "0123456789abcdefx") != "" {
		return fmt.Errorf("want pairs of hexadecimal digits, X for any, such as \"XXXX8180\", got %q", text)
	}
	*h = HexPattern(digits)
	return nil
}

// matches reports whether b begins with the pattern.
func (h HexPattern) matches(b []byte) bool {
	if len(b) < len(h)/2 {
		return false
	}
	for i, digit := range hex.EncodeToString(b[:len(h)/2]) {
		if want := h[i]; want != 'x' && want != byte(digit) {
			return false
		}
	}
	return true
}

// payload is what is sent: a text, or bytes.
func payload(text string, digits Hex) []byte {
	if digits != "" {
		return digits.bytes()
	}
	return []byte(text)
}

// errBoth is what is wrong with two ways to say one thing.
var errBoth = errors.New("is there already; leave one of them out")

// one adds a problem where two keys say the same thing.
func one(out []Problem, key, other string, both bool) []Problem {
	if both {
		out = append(out, Problem{Key: other, Message: fmt.Sprintf("%s %v", key, errBoth)})
	}
	return out
}
