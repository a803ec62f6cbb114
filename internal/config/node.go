package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// node is a value of the file with its place in it.
type node struct {
	path path
	line int
	// value is a string, int64, float64, bool, time.Time, []*node or table.
	value any
}

type table map[string]*node

// names are a table's keys, sorted.
func (t table) names() []string { return slices.Sorted(maps.Keys(t)) }

// decode reads the text into nodes, with their places or without.
func decode(text string, places bool) (n *node, err error) {
	// The library panics with "BUG" where it finds itself inconsistent. A file
	// must not be able to end the daemon that reloads it.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not readable as TOML: %v", r)
		}
	}()
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		return nil, err
	}
	if !places {
		return newNode(tree, "", 1, nil), nil
	}
	return newNode(tree, "", 1, indexLines(text).lines), nil
}

// newNode makes a node of a value and of those in it; without lines they have no places.
func newNode(value any, p path, line int, lines map[path]int) *node {
	key, item := p.key, p.item
	if lines == nil {
		key, item = func(string) path { return "" }, func(int) path { return "" }
	} else if l, ok := lines[p]; ok {
		line = l
	}
	n := &node{path: p, line: line, value: value}
	switch v := value.(type) {
	case map[string]any:
		t := make(table, len(v))
		for k, e := range v {
			t[k] = newNode(e, key(k), line, lines)
		}
		n.value = t
	case []map[string]any:
		items := make([]*node, len(v))
		for i, e := range v {
			items[i] = newNode(e, item(i), line, lines)
		}
		n.value = items
	case []any:
		items := make([]*node, len(v))
		for i, e := range v {
			items[i] = newNode(e, item(i), line, lines)
		}
		n.value = items
	}
	return n
}

// syntaxProblem is what the TOML library had to say.
func syntaxProblem(text string, err error) Problem {
	var syntax toml.ParseError
	if !errors.As(err, &syntax) {
		return Problem{Message: shortened(err.Error())}
	}
	p := Problem{Line: syntaxLine(text, syntax.Position), Key: syntax.LastKey, Message: shortened(withoutValues(syntax.Message))}
	if syntax.Position.Col > 0 {
		p.Message = fmt.Sprintf("column %d: %s", syntax.Position.Col, p.Message)
	}
	return p
}

// withoutValues cuts off what a message of the library quotes of the file: it may be a
// password that lacks its quotes, and the line and the column say where it is. Keys stay.
func withoutValues(message string) string {
	if strings.HasPrefix(message, "Key '") {
		return message
	}
	if _, size, ok := strings.Cut(message, " is out of range for "); ok {
		return "the number is out of range for " + size
	}
	for _, quotes := range []string{", but got ", " but got ", " but found ", ": '", " in string '", " '\\", " \""} {
		message, _, _ = strings.Cut(message, quotes)
	}
	switch message {
	case "expected value":
		return "want a value: a text in quotes, a number, true or false, a list or a table"
	case "invalid escape":
		return "there is no such escape in a text; a backslash is written \\\\, or the text stands in single quotes"
	}
	return message
}

// overlay is base with the values of over laid over it, table by table; lists
// are replaced as a whole. Values keep their places, so a problem points at
// whoever said it.
func overlay(base, over *node) *node {
	b, ok := base.value.(table)
	o, ok2 := over.value.(table)
	if !ok || !ok2 {
		return over
	}
	merged := maps.Clone(b)
	for k, v := range o {
		if have, ok := merged[k]; ok {
			v = overlay(have, v)
		}
		merged[k] = v
	}
	return &node{path: base.path, line: base.line, value: merged}
}

// typeName is the type of a value in the operator's words.
func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case []*node:
		return "a list"
	case table:
		return "a table"
	}
	return fmt.Sprintf("%T", value)
}

// syntaxLine is the line that an error is on. The library has already counted
// the line break when that is what it did not expect.
func syntaxLine(text string, at toml.Position) int {
	if at.Start > len(text) {
		return at.Line
	}
	return 1 + strings.Count(text[:at.Start], "\n")
}
