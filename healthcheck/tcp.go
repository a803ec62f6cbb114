package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"regexp"
)

// TCP is satisfied when the connection is established; or when TLS is, or when the
// answer to what is sent is what is expected.
type TCP struct {
	// Send is sent once the connection is established, SendHex are the same as
	// bytes.
	Send    string `key:"send"`
	SendHex Hex    `key:"send_hex"`
	// Expect must be contained in what the server says, ExpectHex likewise as bytes,
	// and ExpectRegex must match it.
	Expect      string `key:"expect"`
	ExpectHex   Hex    `key:"expect_hex"`
	ExpectRegex string `key:"expect_regex"`
	// Encrypt makes a TLS connection of it.
	Encrypt bool `key:"tls"`
	TLS
}

var (
	_ Question  = TCP{}
	_ Validator = TCP{}
)

// Kind is "tcp".
func (TCP) Kind() string { return "tcp" }

// String says whether it speaks TLS, and what is expected.
func (q TCP) String() string {
	out := ""
	if q.Encrypt {
		out = "tls"
	}
	for _, want := range []string{q.Expect, string(q.ExpectHex), q.ExpectRegex} {
		if want != "" {
			if out != "" {
				out += " "
			}
			out += fmt.Sprintf("%q", want)
		}
	}
	return out
}

// Validate is part of Validator.
func (q TCP) Validate() (out []Problem) {
	out = one(out, "send", "send_hex", q.Send != "" && q.SendHex != "")
	out = one(out, "expect", "expect_hex", q.Expect != "" && q.ExpectHex != "")
	out = one(out, "expect", "expect_regex", (q.Expect != "" || q.ExpectHex != "") && q.ExpectRegex != "")
	if _, err := regexp.Compile(q.ExpectRegex); err != nil {
		out = append(out, Problem{Key: "expect_regex", Message: fmt.Sprintf("want a regular expression (RE2): %v", err)})
	}
	for key, text := range map[string]string{"send": q.Send, "expect": q.Expect} {
		if len(text) > textLimit {
			out = append(out, Problem{Key: key, Message: fmt.Sprintf("want a text of 1 to %d bytes", textLimit)})
		}
	}
	return append(out, q.problems()...)
}

// Prepare is part of Question.
func (q TCP) Prepare() (ProbeFunc, error) {
	if q.plain() {
		return connectOnly, nil
	}
	d := dialogue{send: payload(q.Send, q.SendHex), text: payload(q.Expect, q.ExpectHex)}
	if q.ExpectRegex != "" {
		re, err := regexp.Compile(q.ExpectRegex)
		if err != nil {
			return nil, fmt.Errorf("expect_regex: %w", err)
		}
		d.regex = re
	}
	if q.Encrypt {
		d.tls = q.client()
	}
	return d.probe, nil
}

// plain reports whether it is enough to connect.
func (q TCP) plain() bool {
	return !q.Encrypt && q.Send == "" && q.SendHex == "" && q.Expect == "" && q.ExpectHex == "" && q.ExpectRegex == ""
}

// connectOnly connects and closes. The close is an orderly one: a reset would fill
// the servers' logs.
func connectOnly(ctx context.Context, t Target) (Answer, error) {
	if err := connect(ctx, t); err != nil {
		return Answer{}, dialError(err, t)
	}
	return Answer{Detail: "connected"}, nil
}

// dialogue is one thing said and one heard.
type dialogue struct {
	send  []byte
	text  []byte
	regex *regexp.Regexp
	tls   *tlsClient
}

func (d *dialogue) probe(ctx context.Context, t Target) (Answer, error) {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	answer := Answer{Detail: "connected"}
	if d.tls != nil {
		secure, warning, err := d.tls.handshake(ctx, conn, t)
		if err != nil {
			return Answer{}, err
		}
		conn, answer = net.Conn(secure), Answer{Detail: "connected with " + tlsVersion(secure), Warning: warning}
	}
	if len(d.send) > 0 {
		if _, err := conn.Write(d.send); err != nil {
			return Answer{}, t.failure(err, "sending")
		}
	}
	if len(d.text) == 0 && d.regex == nil {
		return answer, nil
	}
	heard, err := d.hear(conn)
	switch {
	case d.met(heard):
		answer.Detail = fmt.Sprintf("said %s", quote(heard))
		return answer, nil
	case err != nil && len(heard) > 0:
		return Answer{}, fmt.Errorf("said %s, want %s", quote(heard), d.want())
	case err != nil:
		return Answer{}, t.failure(err, "waiting for "+d.want())
	}
	return Answer{}, fmt.Errorf("said %s… and no %s in %d bytes", quote(heard), d.want(), len(heard))
}

// hear reads until enough was said, or too much, or nothing more comes.
func (d *dialogue) hear(conn net.Conn) (heard []byte, err error) {
	buf := make([]byte, 4<<10)
	searched := 0
	for len(heard) < bodyLimit {
		n, err := conn.Read(buf)
		before := len(heard)
		heard = append(heard, buf[:n]...)
		if err != nil {
			return heard, err
		}
		if d.regex == nil {
			if bytes.Contains(heard[max(0, before-len(d.text)+1):], d.text) {
				return heard, nil
			}
			continue
		}
		// An expression has to be matched from the beginning each time. A server that says
		// little at a time must not have that done for each octet: all of it together is a
		// small multiple of what was said. What comes last is matched in any case.
		if searched+len(heard) > searchAhead+searchShare*len(heard) {
			continue
		}
		searched += len(heard)
		if d.regex.Match(heard) {
			return heard, nil
		}
	}
	return heard, nil
}

const (
	// searchAhead and searchShare bound how many bytes an expression is matched against: so
	// many, and so many times of what was said.
	searchAhead = 64 << 10
	searchShare = 8
)

func (d *dialogue) met(heard []byte) bool {
	if d.regex != nil {
		return d.regex.Match(heard)
	}
	return bytes.Contains(heard, d.text)
}

func (d *dialogue) want() string {
	if d.regex != nil {
		return fmt.Sprintf("what matches %q", d.regex)
	}
	return quote(d.text)
}

// quote is foreign bytes as a short text.
func quote(b []byte) string {
	const most = 60
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
