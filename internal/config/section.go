package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// report collects problems.
type report struct {
	problems Problems
	// advice is what is not wrong, and will hardly do what was meant. It is shown by
	// Check alone.
	advice Problems
	// secrets are the values that nobody else should read.
	secrets []*node
	// read reads a file with a secret; nil means that it is another machine's.
	read func(name string) ([]byte, error)
	// looks says that advice is wanted about what this machine does not have, and found
	// what was seen of it, by what was looked for.
	looks bool
	found map[string]string
	// cluster are all directors of the file, and self is the one that it is read for.
	cluster []director
	self    string
	// reading is the service that is being read, and forwarded the servers of NAT that
	// have been, as ranges are those of addresses.
	reading   reading
	forwarded []forwarded
	ranges    []addressRange
	// checkable and settings are what is known of the kinds of checks; of a large file
	// it would be asked for again and again.
	checkable keysOfChecks
	settings  map[reflect.Type][]questionField
}

// mostFound bounds the problems that are collected: there are others, but each costs memory
// and time, and a text that has so many is no configuration.
const mostFound = 10 * mostProblems

func (r *report) add(line int, p path, format string, args ...any) {
	if len(r.problems) < mostFound {
		r.problems = append(r.problems, Problem{Line: line, Key: string(p), Message: shortened(fmt.Sprintf(format, args...))})
	}
}

// at adds a problem of a value.
func (r *report) at(n *node, format string, args ...any) { r.add(n.line, n.path, format, args...) }

// advise adds advice about a value.
func (r *report) advise(n *node, format string, args ...any) {
	r.advice = append(r.advice, Problem{Line: n.line, Key: string(n.path), Message: fmt.Sprintf(format, args...)})
}

// section is a table of the file while it is read. Its methods add a problem
// and return the default where a value is not what it should be.
type section struct {
	*report
	node *node
	keys table
}

// section opens a table whose keys must be among known.
func (r *report) section(n *node, known []string) (section, bool) {
	t, ok := n.value.(table)
	if !ok {
		r.at(n, "want a table, got %s", typeName(n.value))
		return section{}, false
	}
	for _, name := range t.names() {
		if len(r.problems) == mostFound {
			break
		}
		if !slices.Contains(known, name) {
			hint := didYouMean(name, known)
			if word := keepalivedWords()[name]; slices.Contains(known, word) {
				hint = fmt.Sprintf("; keepalived's %s is %q here", name, word)
			}
			r.at(t[name], "unknown key %q%s", name, hint)
		}
	}
	return section{report: r, node: n, keys: t}, true
}

// missing adds a problem if the key is absent.
func (s section) missing(key, what string) bool {
	if _, ok := s.keys[key]; ok {
		return false
	}
	s.add(s.node.line, s.node.path.key(key), "is missing: %s", what)
	return true
}

// bad adds a problem of a key that is present.
func (s section) bad(key, format string, args ...any) {
	n, ok := s.keys[key]
	if !ok {
		n = &node{path: s.node.path.key(key), line: s.node.line}
	}
	s.at(n, format, args...)
}

// text is a string; ok is false when it is absent or no string.
func (s section) text(key string) (value string, ok bool) {
	n, ok := s.keys[key]
	if !ok {
		return "", false
	}
	return s.textOf(n)
}

func (r *report) textOf(n *node) (value string, ok bool) {
	value, ok = n.value.(string)
	if !ok {
		r.at(n, "want a string, got %s", typeName(n.value))
	}
	return value, ok
}

// word is one of several words; the first is the default.
func (s section) word(key string, words ...string) string {
	v, ok := s.text(key)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, v) {
		s.bad(key, "want %s, got %q%s", oneOf(words), v, didYouMean(v, words))
		return words[0]
	}
	return v
}

// number is an integer within bounds.
func (s section) number(key string, def, low, high int) int {
	n, ok := s.keys[key]
	if !ok {
		return def
	}
	v, ok := n.value.(int64)
	if !ok {
		s.at(n, "want an integer from %d to %d, got %s", low, high, typeName(n.value))
		return def
	}
	if v < int64(low) || v > int64(high) {
		s.at(n, "want an integer from %d to %d, got %d", low, high, v)
		return def
	}
	return int(v)
}

// flag is a boolean, false when absent.
func (s section) flag(key string) bool { return s.flagOr(key, false) }

// flagOr is a boolean with a default.
func (s section) flagOr(key string, def bool) bool {
	n, ok := s.keys[key]
	if !ok {
		return def
	}
	v, ok := n.value.(bool)
	if !ok {
		s.at(n, "want true or false, got %s", typeName(n.value))
		return def
	}
	return v
}

// duration is a string such as "100ms" within bounds, a multiple of step.
func (s section) duration(key string, def, low, high, step time.Duration) time.Duration {
	n, ok := s.keys[key]
	if !ok {
		return def
	}
	want := fmt.Sprintf("want a duration from %s to %s", brief(low), brief(high))
	if step > 1 {
		want += " in steps of " + brief(step)
	}
	v, ok := n.value.(string)
	if !ok {
		s.at(n, "%s as a string such as %q, got %s", want, brief(cmp.Or(def, low)), typeName(n.value))
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < low || d > high || d%step != 0 {
		s.at(n, "%s, got %q", want, v)
		return def
	}
	return d
}

// list is the items of a list, or the one value that stands for a list of one.
func (s section) list(key string) []*node {
	n, ok := s.keys[key]
	if !ok {
		return nil
	}
	if items, ok := n.value.([]*node); ok {
		return items
	}
	return []*node{n}
}

// brief prints a duration without the zeros that String appends.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// oneOf prints a choice.
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// didYouMean is a hint at the word that was probably meant, or nothing.
func didYouMean(got string, words []string) string {
	if len(got) > 63 {
		return ""
	}
	best, distance := "", 1+len(got)/3
	for _, w := range words {
		if d := editDistance(strings.ToLower(got), w); d <= distance && (best == "" || d < distance) {
			best, distance = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours that make a of b.
func editDistance(a, b string) int {
	prev2, prev := []int(nil), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}
