package program

import (
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// outputLimit is how many octets of a program's output are kept; the rest is read
	// and thrown away, so that the program never blocks on it.
	outputLimit = 4 << 10
	// lineLimit bounds a line that is shown, in octets.
	lineLimit = 200
)

// Output is the beginning of what a program printed, standard output and error together.
type Output string

// Lines are the first n lines with something on them, fit for a log.
func (o Output) Lines(n int) (lines []string) {
	for line := range strings.Lines(string(o)) {
		if len(lines) == n {
			break
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, Printable(line))
		}
	}
	return lines
}

// Printable makes foreign text fit for a log: no control characters, valid UTF-8, at
// most 200 octets.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= lineLimit {
		return s
	}
	cut := lineLimit
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// capture reads what a program prints, until nobody holds the other end any more.
type capture struct {
	in, out *os.File
	done    chan struct{} // closed when all has been read; nil before begin
	text    []byte        // to be read after done
}

func newCapture() (*capture, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &capture{in: in, out: out}, nil
}

// begin is called when the program has the other end.
func (c *capture) begin() {
	c.in.Close()
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		// An error is the end of it, whichever.
		c.text, _ = io.ReadAll(io.LimitReader(c.out, outputLimit))
		_, _ = io.Copy(io.Discard, c.out)
	}()
}

// ended reports whether all has been read, and waits for it for a while.
func (c *capture) ended(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// kept ends the reading and returns what was read.
func (c *capture) kept() Output {
	c.out.Close()
	<-c.done
	return Output(c.text)
}

// close frees everything.
func (c *capture) close() {
	c.in.Close()
	c.out.Close()
}
