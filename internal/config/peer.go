package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"lvsha/internal/peer"
)

// DefaultKeyFile is where a director's private key for the channel is.
const DefaultKeyFile = "/etc/lvsha/director.key"

// pin is a director's key, by which the others know it. taken says who has which.
func (s section) pin(taken map[peer.Pin]string, name string) peer.Pin {
	text, ok := s.text("key")
	if !ok {
		return peer.Pin{}
	}
	pin, err := peer.ParsePin(text)
	if err != nil {
		s.bad("key", "%v", err) // not shown: it may be the private one
		return peer.Pin{}
	}
	if other, is := taken[pin]; is {
		s.bad("key", "is the key of director %s already; each director makes its own with lvsha key", other)
		return peer.Pin{}
	}
	taken[pin] = name
	return pin
}

// channel is [peer] as one director sees it.
type channel struct {
	port uint16
	file string
}

// channel reads [peer].
func (r *report) channel(n *node) channel {
	out := channel{port: peer.DefaultPort, file: DefaultKeyFile}
	if n == nil {
		return out
	}
	s, ok := r.section(n, peerKeys())
	if !ok {
		return out
	}
	out.port = uint16(s.number("port", peer.DefaultPort, 1, 65535))
	if v, ok := s.text("key_file"); ok {
		if !filepath.IsAbs(v) {
			s.bad("key_file", "want an absolute path such as %q, got %q", DefaultKeyFile, v)
		}
		out.file = v
	}
	return out
}

// open reads the private key, where the file has the public one.
func (c channel) open(own Director, read func(string) ([]byte, error)) Channel {
	out := Channel{KeyFile: c.file}
	if own.Pin.IsZero() || read == nil {
		return out
	}
	text, err := read(c.file)
	if err != nil {
		out.Problem = fmt.Sprintf("%s: %v", c.file, err)
		return out
	}
	key, err := peer.ParseKey(text)
	switch {
	case err != nil:
		out.Problem = fmt.Sprintf("%s %v", c.file, err)
	case peer.PinOf(key) != own.Pin:
		out.Problem = fmt.Sprintf("the key in %s is not the one of [director.%s]: its pin is %q", c.file, own.Name, peer.PinOf(key))
	default:
		out.Key = key
	}
	return out
}

// hashOf tells texts apart.
func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
