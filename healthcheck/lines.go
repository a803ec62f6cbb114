package healthcheck

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	// longestLine bounds, in bytes, a line of a protocol: many times what RFC 5321 and
	// its like allow, and as much as servers of mailboxes are said to send.
	longestLine = 16 << 10
	// mostLines bounds the lines of one reply.
	mostLines = 200
)

// line reads a line, without its end.
func (s *session) line() (string, error) { return readLine(s.in, longestLine) }

// readLine reads a line of at most most bytes, without its end, which is LF or CRLF. What
// a connection that ended has left of one is none.
func readLine(r *bufio.Reader, most int) (string, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(long)+len(part) > most {
			return "", errTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if errors.Is(err, io.EOF) && len(long)+len(part) > 0 {
			return "", io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		if len(long) > 0 {
			part = append(long, part...)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(part), "\n"), "\r"), nil
	}
}

// take reads n bytes, which are announced and may never come: no more memory is used
// than twice of what has arrived.
func (s *session) take(n int) ([]byte, error) {
	if n < 0 || n > sessionLimit {
		return nil, errTooLong
	}
	const step = 4 << 10
	out := make([]byte, 0, min(n, step))
	for len(out) < n {
		if len(out) == cap(out) {
			out = slices.Grow(out, min(n-len(out), max(len(out), step)))
		}
		got, err := s.in.Read(out[len(out):min(n, cap(out))])
		out = out[:len(out)+got]
		if len(out) < n && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return out, nil
}

// say sends a line.
func (s *session) say(line string) error {
	_, err := io.WriteString(s, line+"\r\n")
	return err
}

// reply is what a server of SMTP, FTP or NNTP answers: a number and lines of text.
type reply struct {
	code  int
	lines []string
}

// String is the number and the first line.
func (r reply) String() string { return strconv.Itoa(r.code) + " " + r.lines[0] }

// reply reads a reply of one line or, where more is true, of several.
func (s *session) reply(more bool) (reply, error) {
	var out reply
	for n := 0; ; n++ {
		line, err := s.line()
		if err != nil {
			return reply{}, s.reason(err)
		}
		if n == mostLines {
			return reply{}, errTooLong
		}
		code, text, last := replyLine(line)
		switch {
		case n == 0 && code == 0:
			return reply{}, s.liar()
		case n == 0:
			out.code = code
		case code != out.code:
			continue // lines in between may be anything (RFC 959, 4.2)
		}
		out.lines = append(out.lines, strings.TrimSpace(text))
		if last || !more {
			return out, nil
		}
	}
}

// replyLine is the number that a line begins with, what follows, and whether the line is
// the last of its reply; 0 when it does not begin with one.
func replyLine(line string) (code int, text string, last bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, "", false
	}
	n, err := strconv.ParseUint(line[:3], 10, 16)
	if err != nil || n < 100 {
		return 0, "", false
	}
	if len(line) == 3 {
		return int(n), "", true
	}
	return int(n), line[4:], line[3] == ' '
}

// ask sends a line, if it is not empty, and wants a reply with one of the numbers. what
// names it in the reason.
func (s *session) ask(what, line string, want ...int) (reply, error) {
	if line != "" {
		if err := s.say(line); err != nil {
			return reply{}, s.reason(err)
		}
	}
	got, err := s.reply(true)
	if err == nil && !slices.Contains(want, got.code) {
		err = s.refused(what, got.String())
	}
	return got, err
}

// liar is lie for callers that do not hold mu.
func (s *session) liar() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lie()
}
