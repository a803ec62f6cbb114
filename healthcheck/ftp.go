package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// FTP wants to log in, and to be sent a file if there is one.
type FTP struct {
	// Security is one of the ways to TLS, for the files too.
	Security string `key:"tls" oneof:"off,starttls,on"`
	// User and Password log in; empty is anonymous.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	// Path is the file that has to be there; empty is none.
	Path string `key:"path"`
	// Body must be contained in the beginning of the file; empty means anything
	// will do.
	Body string `key:"body"`
	TLS
}

var (
	_ Question  = FTP{}
	_ Validator = FTP{}
)

// Kind is "ftp".
func (FTP) Kind() string { return "ftp" }

// String is the file.
func (q FTP) String() string { return q.Path }

// Validate is part of Validator.
func (q FTP) Validate() []Problem {
	out := append(login(q.User, q.Password), q.problems()...)
	out = append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
	if strings.ContainsAny(q.Path, "\r\n\x00") {
		out = append(out, Problem{Key: "path", Message: "want one line of text"})
	}
	if q.Body != "" && q.Path == "" {
		out = append(out, Problem{Key: "body", Message: "needs path beside it"})
	}
	if len(q.Body) > textLimit {
		out = append(out, Problem{Key: "body", Message: fmt.Sprintf("want a text of 1 to %d bytes", textLimit)})
	}
	return out
}

// Prepare is part of Question.
func (q FTP) Prepare() (ProbeFunc, error) {
	if q.User == "" {
		q.User, q.Password = "anonymous", "lvsha@"
	}
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q FTP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	// Many servers want the file's connection to resume the session of the first.
	c.sessions = tls.NewLRUClientSessionCache(1)
	s, err := t.open(ctx, "tcp", "FTP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible = startsWith(digits)
	if q.Password != "lvsha@" {
		s.secrets = []Secret{q.Password}
	}
	if _, err := s.ask("greeting", "", 220); err != nil {
		return Answer{}, err
	}
	if q.Security == tlsStart {
		if _, err := s.ask("AUTH TLS", "AUTH TLS", 234); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
	}
	s.doing = "logging in"
	said, err := s.ask("login", "USER "+q.User, 230, 331)
	if err == nil && said.code == 331 {
		_, err = s.ask("login", "PASS "+string(q.Password), 230, 202)
	}
	if err != nil {
		return Answer{}, err
	}
	out := s.answer("%s", s.greeting())
	if q.Path != "" {
		if out, err = q.fetch(ctx, s, c); err != nil {
			return Answer{}, err
		}
	}
	s.say("QUIT") // a courtesy
	return out, nil
}

// fetch reads the beginning of the file.
func (q FTP) fetch(ctx context.Context, s *session, c *tlsClient) (Answer, error) {
	s.doing = "waiting for the file"
	if s.secured() {
		for _, line := range []string{"PBSZ 0", "PROT P"} {
			if _, err := s.ask(line, line, 200); err != nil {
				return Answer{}, err
			}
		}
	}
	if _, err := s.ask("TYPE I", "TYPE I", 200); err != nil {
		return Answer{}, err
	}
	port, err := s.passive()
	if err != nil {
		return Answer{}, err
	}
	// The port is the server's to choose, the address is not.
	t := s.target
	t.Server = netip.AddrPortFrom(t.Server.Addr(), port)
	if !t.Path.Direct() {
		t.Path.VIP = netip.AddrPortFrom(t.Path.VIP.Addr(), port)
	}
	data, err := t.open(ctx, "tcp", "FTP", nil)
	if err != nil {
		return Answer{}, fmt.Errorf("the file's connection: %w", err)
	}
	defer data.Close()
	data.doing, data.plausible = "reading the file", func([]byte) bool { return true }
	if _, err := s.ask("file", "RETR "+q.Path, 125, 150); err != nil {
		return Answer{}, err
	}
	if s.secured() {
		if err := data.secure(ctx, c); err != nil {
			return Answer{}, fmt.Errorf("the file's connection: %w", err)
		}
	}
	body := io.LimitReader(data, bodyLimit)
	if q.Body == "" {
		if _, err := body.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
			return Answer{}, data.reason(err)
		}
		return s.answer("file %s is there", q.Path), nil
	}
	found, err := contains(body, []byte(q.Body))
	switch {
	case err != nil:
		return Answer{}, data.reason(err)
	case !found:
		return Answer{}, fmt.Errorf("file lacks %q", q.Body)
	}
	return s.answer("file %s is as wanted", q.Path), nil
}

// passive asks for the port of a file's connection: by EPSV (RFC 2428), or PASV of a
// server that does not know that.
func (s *session) passive() (uint16, error) {
	said, err := s.ask("EPSV", "EPSV", 229)
	if err == nil {
		// 229 Entering Extended Passive Mode (|||6446|)
		_, text, _ := strings.Cut(said.lines[0], "(")
		if parts := strings.Split(text, "|"); len(parts) == 5 {
			if port, err := strconv.ParseUint(parts[3], 10, 16); err == nil && port > 0 {
				return uint16(port), nil
			}
		}
		return 0, s.unlike("answer to EPSV has no port: \"%s\"", printable(said.lines[0]))
	}
	if said.code < 500 {
		return 0, err
	}
	if said, err = s.ask("PASV", "PASV", 227); err != nil {
		return 0, err
	}
	// 227 Entering Passive Mode (192,0,2,21,25,46), of which some servers leave out the
	// parentheses.
	numbers := strings.FieldsFunc(said.lines[0], func(r rune) bool { return r < '0' || r > '9' })
	if n := len(numbers); n >= 6 {
		high, errHigh := strconv.ParseUint(numbers[n-2], 10, 8)
		low, errLow := strconv.ParseUint(numbers[n-1], 10, 8)
		if port := high<<8 | low; errHigh == nil && errLow == nil && port > 0 {
			return uint16(port), nil
		}
	}
	return 0, s.unlike("answer to PASV has no port: \"%s\"", printable(said.lines[0]))
}
