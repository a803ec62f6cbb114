package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a file.
type Problem struct {
	// File is the name of the file as it was given.
	File string
	// Line counts from 1; zero when the problem has no place in the file.
	Line int
	// Key is the path of the key concerned, such as
	// "service.web.server[2].weight" for the second server's; empty when none is.
	Key string
	// Message says what is wrong and what is allowed.
	Message string
}

// String is "FILE:LINE: key: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String() + ": " + p.Message
}

const (
	// mostProblems bounds the problems that are shown of one file.
	mostProblems = 1000
	// longestMessage bounds, in octets, what is said of one: it may quote what a file holds.
	longestMessage = 4 << 10
)

// shortened is a message that is not longer than it may be.
func shortened(message string) string {
	if len(message) <= longestMessage {
		return message
	}
	return strings.ToValidUTF8(message[:longestMessage], "") + "…"
}

// Problems are all things wrong with a file, sorted by line: the first thousand and how
// many there are besides. It is the error that Load and Parse return.
type Problems []Problem

var _ error = Problems(nil)

// Error is one problem per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted is the problems in the order of the file, each once.
func (p Problems) sorted() Problems {
	p = slices.Clone(p)
	slices.SortFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(sortable(a.Key), sortable(b.Key)), strings.Compare(a.Message, b.Message))
	})
	p = slices.Compact(p)
	if more := len(p) - mostProblems; more > 0 {
		p = append(p[:mostProblems], Problem{File: p[0].File, Message: fmt.Sprintf("%d more problems are not shown", more)})
	}
	return p
}

// sortable is a key whose item numbers compare as text: [2] before [10].
func sortable(key string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(key, "[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		number, _, _ := strings.Cut(rest, "]")
		fmt.Fprintf(&b, "[%*s", 10, number)
		key = rest[len(number):]
	}
}
