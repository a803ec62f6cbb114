package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
)

// UDP sends a datagram. It is satisfied when no ICMP error comes before the timeout,
// or, where a reply is wanted, when that comes.
type UDP struct {
	// Send is what is sent, SendHex the same as bytes; neither is an empty datagram.
	Send    string `key:"send"`
	SendHex Hex    `key:"send_hex"`
	// Reply wants any reply.
	Reply bool `key:"reply"`
	// Expect must be contained in the reply, ExpectHex be its beginning, and
	// ExpectRegex match it.
	Expect      string     `key:"expect"`
	ExpectHex   HexPattern `key:"expect_hex"`
	ExpectRegex string     `key:"expect_regex"`
	// MinReply and MaxReply bound the length of the reply in bytes; a MaxReply of 0 is
	// no bound.
	MinReply int `key:"min_reply" range:"0,65507"`
	MaxReply int `key:"max_reply" range:"1,65507"`
}

var (
	_ Question  = UDP{}
	_ Validator = UDP{}
	_ Mute      = UDP{}
)

// Kind is "udp".
func (UDP) Kind() string { return "udp" }

// String says what is expected.
func (q UDP) String() string {
	for _, want := range []string{q.Expect, string(q.ExpectHex), q.ExpectRegex} {
		if want != "" {
			return fmt.Sprintf("%q", want)
		}
	}
	if q.answered() {
		return "reply"
	}
	return ""
}

// Mute reports whether silence is good enough.
func (q UDP) Mute() bool { return !q.answered() }

// answered reports whether there has to be a reply.
func (q UDP) answered() bool {
	return q.Reply || q.Expect != "" || q.ExpectHex != "" || q.ExpectRegex != "" || q.MinReply > 0 || q.MaxReply > 0
}

// Validate is part of Validator.
func (q UDP) Validate() (out []Problem) {
	out = one(out, "send", "send_hex", q.Send != "" && q.SendHex != "")
	out = one(out, "expect", "expect_hex", q.Expect != "" && q.ExpectHex != "")
	out = one(out, "expect", "expect_regex", (q.Expect != "" || q.ExpectHex != "") && q.ExpectRegex != "")
	if _, err := regexp.Compile(q.ExpectRegex); err != nil {
		out = append(out, Problem{Key: "expect_regex", Message: fmt.Sprintf("want a regular expression (RE2): %v", err)})
	}
	if q.MaxReply > 0 && q.MaxReply < q.MinReply {
		out = append(out, Problem{Key: "max_reply", Message: fmt.Sprintf("%d is less than min_reply, %d", q.MaxReply, q.MinReply)})
	}
	return out
}

// Prepare is part of Question.
func (q UDP) Prepare() (ProbeFunc, error) {
	re, err := regexp.Compile(q.ExpectRegex)
	if err != nil {
		return nil, fmt.Errorf("expect_regex: %w", err)
	}
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, re) }, nil
}

func (q UDP) probe(ctx context.Context, t Target, re *regexp.Regexp) (Answer, error) {
	conn, err := t.dial(ctx, "udp")
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	if _, err := conn.Write(payload(q.Send, q.SendHex)); err != nil {
		return Answer{}, udpError(err, t)
	}
	// Thousands of them may wait at a time, most of them for nothing.
	size := 4 << 10
	if max(q.MinReply, q.MaxReply) >= size {
		size = 64 << 10
	}
	buf := make([]byte, size)
	n, err := conn.Read(buf)
	switch {
	case err != nil && isTimeout(err) && !q.answered():
		return Answer{Detail: "no ICMP error", Mute: true}, nil
	case err != nil:
		return Answer{}, udpError(err, t)
	}
	heard := buf[:n]
	switch {
	case n < q.MinReply || q.MaxReply > 0 && n > q.MaxReply:
		return Answer{}, fmt.Errorf("reply of %d bytes, want %s", n, q.lengths())
	case !strings.Contains(string(heard), q.Expect):
		return Answer{}, fmt.Errorf("reply %s, want %q in it", quote(heard), q.Expect)
	case !q.ExpectHex.matches(heard):
		return Answer{}, fmt.Errorf("reply %x, want it to begin with %s", heard[:min(n, len(q.ExpectHex)/2)], q.ExpectHex)
	case !re.Match(heard):
		return Answer{}, fmt.Errorf("reply %s, want it to match %q", quote(heard), q.ExpectRegex)
	}
	return Answer{Detail: fmt.Sprintf("reply of %d bytes", n)}, nil
}

func (q UDP) lengths() string {
	if q.MaxReply == 0 {
		return fmt.Sprintf("%d or more", q.MinReply)
	}
	return fmt.Sprintf("%d to %d", q.MinReply, q.MaxReply)
}

// udpError makes a reason of what went wrong with a datagram.
func udpError(err error, t Target) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("port unreachable")
	case isTimeout(err):
		return &timeoutError{after: t.Check.Timeout, doing: "waiting for a reply", silent: true}
	}
	return ownFault(innermost(err))
}
