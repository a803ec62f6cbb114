package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// path is the place of a value in a file as messages show it:
// service.web.server[2].weight, items counted from 1.
type path string

// key is the path of a key of a table.
func (p path) key(name string) path {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !bareKey(r) }) {
		name = strconv.Quote(name)
	}
	if p == "" {
		return path(name)
	}
	return p + "." + path(name)
}

// item is the path of an array's item, i counting from 0.
func (p path) item(i int) path { return p + path("["+strconv.Itoa(i+1)+"]") }

func bareKey(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}

// keyLine is a key as it stands in the text.
type keyLine struct {
	key  toml.Key
	line int
}

// lineIndex says on which line each value of a file begins, which the TOML
// library tells for syntax errors only.
type lineIndex struct {
	// keys are in the order of the text and equal to MetaData.Keys().
	keys  []keyLine
	lines map[path]int
}

// indexLines reads a text that has already been found to be TOML. It knows just
// enough of the grammar to tell keys from values; on anything else it ends
// without sense, but it ends.
func indexLines(text string) lineIndex {
	// The library skips these bytes too.
	for _, bom := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if rest, ok := strings.CutPrefix(text, bom); ok {
			text = rest
			break
		}
	}
	s := &lineScanner{text: text, line: 1, arrays: make(map[path]int)}
	s.index.lines = make(map[path]int)
	s.document()
	return s.index
}

type lineScanner struct {
	text string
	pos  int
	line int
	// arrays counts the [[tables]] of each path.
	arrays map[path]int
	index  lineIndex
}

// peek is the byte at the position, 0 at the end.
func (s *lineScanner) peek() byte {
	if s.pos >= len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

func (s *lineScanner) more() bool { return s.pos < len(s.text) }

// next consumes a byte, if there is one, and counts lines.
func (s *lineScanner) next() byte {
	if !s.more() {
		return 0
	}
	c := s.peek()
	if c == '\n' {
		s.line++
	}
	s.pos++
	return c
}

// accept consumes c if it is next.
func (s *lineScanner) accept(c byte) bool {
	if !s.more() || s.peek() != c {
		return false
	}
	s.next()
	return true
}

// blanks consumes blanks, and with lines also line ends and comments.
func (s *lineScanner) blanks(lines bool) {
	for s.more() {
		switch c := s.peek(); {
		case c == ' ' || c == '\t' || lines && (c == '\r' || c == '\n'):
			s.next()
		case lines && c == '#':
			for s.more() && s.peek() != '\n' {
				s.next()
			}
		default:
			return
		}
	}
}

// note keeps the line of a path that has none yet.
func (s *lineScanner) note(p path, line int) {
	if _, ok := s.index.lines[p]; !ok {
		s.index.lines[p] = line
	}
}

func (s *lineScanner) document() {
	var (
		table path
		key   toml.Key
	)
	for {
		s.blanks(true)
		if !s.more() {
			return
		}
		if s.peek() == '[' {
			table, key = s.header()
		} else {
			s.keyValue(table, key)
		}
	}
}

// header reads [a.b] or [[a.b]].
func (s *lineScanner) header() (path, toml.Key) {
	line := s.line
	s.next()
	array := s.accept('[')
	key := s.dottedKey(']')
	s.accept(']')
	if array {
		s.accept(']')
	}
	s.index.keys = append(s.index.keys, keyLine{key, line})

	var p path
	for i, part := range key {
		p = p.key(part)
		if i == len(key)-1 {
			if array {
				s.arrays[p]++
			} else if s.arrays[p] == 0 {
				s.index.lines[p] = line
			}
		}
		s.note(p, line)
		if n := s.arrays[p]; n > 0 {
			p = p.item(n - 1)
			s.note(p, line)
		}
	}
	return p, key
}

// keyValue reads a.b = value inside a table.
func (s *lineScanner) keyValue(table path, prefix toml.Key) {
	line := s.line
	parts := s.dottedKey('=')
	s.accept('=')
	s.blanks(false)
	key := append(append(toml.Key(nil), prefix...), parts...)
	s.index.keys = append(s.index.keys, keyLine{key, line})
	p := table
	for _, part := range parts {
		p = p.key(part)
		s.note(p, line)
	}
	s.value(p, key)
}

// dottedKey reads the parts of a key up to the byte that ends it.
func (s *lineScanner) dottedKey(end byte) toml.Key {
	var key toml.Key
	for {
		s.blanks(false)
		switch c := s.peek(); {
		case c == '"' || c == '\'':
			key = append(key, s.str())
		default:
			start := s.pos
			for s.more() && bareKey(rune(s.peek())) {
				s.next()
			}
			key = append(key, s.text[start:s.pos])
		}
		s.blanks(false)
		if s.accept('.') {
			continue
		}
		if s.more() && s.peek() != end {
			s.next() // not TOML; move on
			continue
		}
		return key
	}
}

// value reads any value. The keys of inline tables go into the index.
func (s *lineScanner) value(p path, key toml.Key) {
	switch c := s.peek(); c {
	case '"', '\'':
		s.str()
	case '[':
		s.next()
		for i := 0; ; {
			s.blanks(true)
			switch {
			case !s.more() || s.accept(']'):
				return
			case s.accept(','):
			default:
				s.note(p.item(i), s.line)
				s.value(p.item(i), key)
				i++
			}
		}
	case '{':
		s.next()
		for {
			s.blanks(true)
			switch {
			case !s.more() || s.accept('}'):
				return
			case s.accept(','):
			default:
				s.keyValue(p, key)
			}
		}
	default:
		start := s.pos
		for s.more() && !strings.ContainsRune(",]}#\r\n", rune(s.peek())) {
			s.next()
		}
		if s.pos == start {
			s.next() // not TOML; move on
		}
	}
}

// str reads a string of any of the four kinds and returns it decoded.
func (s *lineScanner) str() string {
	quote := string(s.next())
	if strings.HasPrefix(s.text[s.pos:], quote+quote) {
		s.pos += 2
		s.multiline(quote)
		return ""
	}
	start := s.pos
	escaped := false
	for s.more() && s.peek() != quote[0] {
		if s.next() == '\\' && quote == `"` {
			escaped = true
			s.next()
		}
	}
	raw := s.text[start:s.pos]
	s.next()
	if escaped {
		return unescape(raw)
	}
	return raw
}

// multiline skips a multi-line string behind its opening quotes. It is never
// part of a key.
func (s *lineScanner) multiline(quote string) {
	for s.more() {
		if quote == `"` && s.peek() == '\\' {
			s.next()
			s.next()
			continue
		}
		if strings.HasPrefix(s.text[s.pos:], quote+quote+quote) {
			s.pos += 3
			// Up to two quotes may stand before the closing three.
			for range 2 {
				s.accept(quote[0])
			}
			return
		}
		s.next()
	}
}

// unescape decodes the escapes of a basic string. It is used for quoted keys.
func unescape(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			b.WriteByte(raw[i])
			continue
		}
		i++
		digits := 0
		switch raw[i] {
		case 'b':
			b.WriteByte('\b')
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'f':
			b.WriteByte('\f')
		case 'r':
			b.WriteByte('\r')
		case 'e':
			b.WriteByte('\x1b')
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			b.WriteByte(raw[i])
		}
		if digits == 0 {
			continue
		}
		hex := raw[i+1 : min(i+1+digits, len(raw))]
		if n, err := strconv.ParseUint(hex, 16, 32); err == nil {
			b.WriteRune(rune(n))
		}
		i += len(hex)
	}
	return b.String()
}
