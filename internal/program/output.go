package program

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"lvsha/internal/plain"
)

const (
	// outputLimit is how many octets of a program's output are kept; the rest is read
	// and thrown away, so that the program never blocks on it.
	outputLimit = 4 << 10
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
			lines = append(lines, plain.Text(line, plain.Most))
		}
	}
	return lines
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

// kept ends the reading and returns what was read. What is in the pipe by then counts: a
// program that has ended has said it, and the one that reads may not have had a processor
// yet.
func (c *capture) kept() Output {
	_ = c.out.SetReadDeadline(time.Unix(1, 0)) // of a pipe, which has deadlines
	<-c.done
	_ = c.out.SetReadDeadline(time.Time{})
	c.drain()
	c.out.Close()
	return Output(c.text)
}

// drain reads what is in the pipe, as far as there is room for it.
func (c *capture) drain() {
	raw, err := c.out.SyscallConn()
	if err != nil {
		return
	}
	rest := make([]byte, outputLimit)
	_ = raw.Read(func(fd uintptr) bool {
		for len(c.text) < outputLimit {
			n, err := syscall.Read(int(fd), rest[:outputLimit-len(c.text)])
			if n > 0 {
				c.text = append(c.text, rest[:n]...)
			} else if !errors.Is(err, syscall.EINTR) {
				break // nothing is left for now, or for ever
			}
		}
		return true
	})
}

// close frees everything.
func (c *capture) close() {
	c.in.Close()
	c.out.Close()
}
