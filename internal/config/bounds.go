package config

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// What a text may be, looked at before and right after the library parses it. The
// library recurses with the depth of a text, and the places of values are as long as
// their keys, while the daemon reads texts that it did not write: a file that is being
// copied, a plan. The bounds are far above any real file: 10,000 services of ten
// servers are 10 MiB with some 300,000 keys.
const (
	// maxText is the size in octets.
	maxText = 32 << 20
	// maxDepth is how many lists and inline tables may stand in each other, and how many
	// parts a dotted key may have.
	maxDepth = 24
	// maxKey is the length of a key with all its parts, and of the line of a header.
	maxKey = 4 << 10
	// maxValues is how many keys, items and lines there may be.
	maxValues = 2_000_000
	// maxPlaces is the sum of the lengths of all keys, each with those of the tables it
	// is in.
	maxPlaces = 256 << 20
)

// readBounded reads a file that is no larger than a text may be.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One octet more, by which the text shows that it is too large.
	return io.ReadAll(io.LimitReader(f, maxText+1))
}

// unbounded is what is too much about a text, and where; line 0 is the whole of it. It
// reads just enough of TOML to tell strings and comments from the rest.
func unbounded(text string) (line int, why string) {
	if len(text) > maxText {
		return 0, fmt.Sprintf("the file has more than %d MiB: it is not a configuration", maxText>>20)
	}
	s := &shape{lineScanner: lineScanner{text: text, line: 1}}
	for s.more() {
		if why := s.step(); why != "" {
			return s.line, why
		}
	}
	return 0, ""
}

// shape is what the scan of a text has seen so far.
type shape struct {
	lineScanner
	// start is behind the last separator; what is from there to a '=' is a key.
	start int
	// dots are those since then, and begun is where the line began.
	dots, begun int
	// header is the length of the last header, and open those of the keys of the lists
	// and inline tables that are open.
	header int
	open   []int
	// key is the length of the last key.
	key int
	// values counts, and places is the sum of the lengths of their places.
	values, places int
}

// step reads a string, a comment or a character, and returns what is too much.
func (s *shape) step() string {
	switch c := s.peek(); c {
	case '#':
		for s.more() && s.peek() != '\n' {
			s.next()
		}
		return ""
	case '"', '\'':
		s.str()
		return ""
	case '.':
		if s.dots++; s.dots >= maxDepth {
			return fmt.Sprintf("a key has more than %d parts", maxDepth)
		}
	case '[', '{':
		if c == '[' && len(s.open) == 0 && strings.TrimLeft(s.text[s.begun:s.pos], " \t\r") == "" {
			line, _, _ := strings.Cut(s.text[s.pos:min(s.pos+maxKey+2, len(s.text))], "\n")
			s.header = len(line)
		}
		if len(s.open) == maxDepth {
			return fmt.Sprintf("lists and tables are nested more than %d deep", maxDepth)
		}
		s.open = append(s.open, s.key)
		s.key = 0
		s.separate()
	case ']', '}':
		s.open = s.open[:max(len(s.open)-1, 0)]
		s.separate()
	case '=':
		s.key = s.pos - s.start
		return s.value()
	case '\n':
		s.begun = s.pos + 1
		return s.value()
	case ',':
		return s.value()
	}
	s.next()
	return ""
}

// separate notes that another key may begin behind the next character.
func (s *shape) separate() { s.start, s.dots = s.pos+1, 0 }

// value counts one, at a separator.
func (s *shape) value() string {
	s.separate()
	s.next()
	s.values++
	s.places += s.header + s.key
	for _, length := range s.open {
		s.places += length
	}
	switch {
	case s.header > maxKey || s.key > maxKey:
		return fmt.Sprintf("a key has more than %d characters", maxKey)
	case s.values > maxValues:
		return fmt.Sprintf("the file has more than %d keys, items and lines: it is not a configuration", maxValues)
	case s.places > maxPlaces:
		return "keys, and the names of the tables they are in, are too long for so many of them"
	}
	return ""
}
