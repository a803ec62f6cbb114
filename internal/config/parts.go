package config

import (
	"runtime"
	"strings"
	"sync"
)

// A large file is mostly services, and a reload changes few of them. So a file is cut
// into its services and the rest: to be decoded side by side, and to read again only
// what has changed.

// part is all of one service: [service.NAME] and what is below it.
type part struct {
	name string
	text string
	// start is where it begins in the file.
	start int
}

// parts cuts a text into its services, in their order, and the rest. It goes by the
// lines that begin with a bracket. ok is false where these do not tell all: the text has
// strings of several lines, a bracket that may be part of a list, a service in two
// places, or keys written in another way. Of a text that is TOML nothing is cut wrongly:
// bare words in brackets at the beginning of a line are the header of a table.
func parts(text string) (rest string, services []part, ok bool) {
	if strings.Contains(text, `"""`) || strings.Contains(text, "'''") || len(text) > 0 && text[0] >= 0x80 { // a byte order mark
		return "", nil, false
	}
	var others strings.Builder
	seen := make(map[string]bool)
	name, start := "", 0 // of the piece that is being read
	end := func(at int) {
		if name == "" {
			others.WriteString(text[start:at])
		} else {
			services[len(services)-1].text = text[start:at]
		}
		start = at
	}
	for at := 0; at < len(text); {
		next := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if now, is, well := headerOf(text[at:next]); !well {
			return "", nil, false
		} else if is && now != name {
			end(at)
			name = now
			if name != "" {
				if seen[name] {
					return "", nil, false
				}
				seen[name] = true
				services = append(services, part{name: name, start: at})
			}
		}
		at = next
	}
	end(len(text))
	return others.String(), services, true
}

// headerOf reads a line. It is a header if it begins with a bracket, and name is that of
// the service that it is about, if any; well is false when one cannot be sure.
func headerOf(line string) (name string, is, well bool) {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line[0] != '[' {
		return "", false, true
	}
	inner := strings.TrimPrefix(line[1:], "[")
	key, behind, closed := strings.Cut(inner, "]")
	if len(inner) < len(line)-1 {
		behind, closed = strings.CutPrefix(behind, "]")
	}
	behind = strings.TrimLeft(behind, " \t\r\n")
	if !closed || behind != "" && behind[0] != '#' {
		return "", false, false
	}
	root, below, _ := strings.Cut(key, ".")
	for word := range strings.SplitSeq(key, ".") {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return !bareKey(r) }) {
			return "", false, false
		}
	}
	known := false
	for _, k := range rootKeys() {
		known = known || k == root
	}
	if !known || root == "service" && below == "" {
		return "", false, false
	}
	if root == "service" {
		name, _, _ = strings.Cut(below, ".")
	}
	return name, true, true
}

// mentions reports whether a text outside of its services may speak of a service. A
// comment does not.
func mentions(rest string) bool {
	if !strings.Contains(rest, "service") {
		return false
	}
	for line := range strings.Lines(rest) {
		if i := strings.IndexByte(line, '#'); i >= 0 && !strings.ContainsAny(line[:i], `"'`) {
			line = line[:i]
		}
		if strings.Contains(line, "service") {
			return true
		}
	}
	return false
}

// decodeLarge is decode without places, of the services of a large file on all processors.
// Where a file is not to be cut, or has anything wrong with it, it is decode.
func decodeLarge(text string) (*node, error) {
	_, services, ok := parts(text)
	n := min(runtime.GOMAXPROCS(0), len(services)/manyServices)
	if !ok || n < 2 {
		return decode(text, false)
	}
	roots, errs := make([]*node, n), make([]error, n)
	var decoders sync.WaitGroup
	for i := range n {
		from, to := 0, len(text)
		if i > 0 {
			from = services[i*len(services)/n].start
		}
		if i < n-1 {
			to = services[(i+1)*len(services)/n].start
		}
		decoders.Go(func() { roots[i], errs[i] = decode(text[from:to], false) })
	}
	decoders.Wait()
	for i := range n {
		if errs[i] != nil || i > 0 && !roots[0].join(roots[i]) {
			return decode(text, false)
		}
	}
	return roots[0], nil
}

// manyServices is how many services are worth a goroutine.
const manyServices = 50

// join takes the services of another root into this one; false if there is anything else,
// or a service that is here already.
func (n *node) join(other *node) bool {
	to, from := n.value.(table), other.value.(table)
	if len(from) != 1 || from["service"] == nil || to["service"] == nil {
		return false
	}
	mine, ok := to["service"].value.(table)
	theirs, ok2 := from["service"].value.(table)
	if !ok || !ok2 {
		return false
	}
	for name, service := range theirs {
		if mine[name] != nil {
			return false
		}
		mine[name] = service
	}
	return true
}
