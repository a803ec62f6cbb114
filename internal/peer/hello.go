package peer

import (
	"encoding/json"
	"fmt"

	"lvsha/internal/plain"
)

// protocol is the version of what is said in the frames. Directors of different
// ones do not speak; whatever can be ignored needs no new one.
const protocol = 1

// maxHelloKinds bounds the kinds of a hello.
const maxHelloKinds = 64

// Hello is how a director introduces itself.
type Hello struct {
	// Protocol is the version of the channel.
	Protocol int `json:"protocol"`
	// Name is what the director calls itself.
	Name string `json:"name"`
	// Epoch is another one for each start of the process.
	Epoch string `json:"epoch"`
	// Version is that of the program.
	Version string `json:"version"`
	// File tells files apart: the hash of the one that is applied.
	File string `json:"file"`
	// Kinds are what it understands, with the octets that may be on their way.
	Kinds map[string]int `json:"kinds"`
}

func (h Hello) encode() []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("peer: encoding a hello: %v", err)) // strings and integers always encode
	}
	return b
}

// parseHello reads a hello, with all its texts fit to be shown.
func parseHello(b []byte) (Hello, error) {
	var h Hello
	if len(b) > maxHello {
		return Hello{}, errTooLong
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return Hello{}, fmt.Errorf("a hello that cannot be read: %w", err)
	}
	if h.Protocol != protocol {
		return Hello{}, fmt.Errorf("speaks version %d of the channel, and we speak %d", h.Protocol, protocol)
	}
	if h.Epoch == "" {
		return Hello{}, fmt.Errorf("a hello without an epoch")
	}
	if len(h.Kinds) > maxHelloKinds {
		return Hello{}, fmt.Errorf("a hello with %d kinds, more than %d", len(h.Kinds), maxHelloKinds)
	}
	for name, window := range h.Kinds {
		if window < minWindow || window > maxWindow {
			return Hello{}, fmt.Errorf("a hello with a window of %d octets for %q", window, Printable(name, MaxKindName))
		}
	}
	h.Name, h.Epoch, h.Version, h.File = Printable(h.Name, 64), Printable(h.Epoch, 64), Printable(h.Version, 128), Printable(h.File, 128)
	return h, nil
}

// Printable is a text from elsewhere that can be shown: of one line, without
// control characters, no longer than limit characters.
func Printable(text string, limit int) string { return plain.Text(text, limit) }
