package healthcheck

import (
	"context"
	"strings"
)

// POP3 wants to be greeted, and to be logged in if there is a user.
type POP3 struct {
	// Security is one of the ways to TLS; from the first byte it is POP3S.
	Security string `key:"tls" oneof:"off,starttls"`
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	TLS
}

// POP3S is POP3 over TLS.
type POP3S struct {
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	TLS
}

var (
	_ Question  = POP3{}
	_ Validator = POP3{}
	_ Question  = POP3S{}
	_ Validator = POP3S{}
)

// Kind is "pop3".
func (POP3) Kind() string { return "pop3" }

// Kind is "pop3s".
func (POP3S) Kind() string { return "pop3s" }

// String is the user.
func (q POP3) String() string { return q.User }

// String is the user.
func (q POP3S) String() string { return q.User }

// Validate is part of Validator.
func (q POP3) Validate() []Problem {
	out := append(login(q.User, q.Password), q.problems()...)
	return append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
}

// Validate is part of Validator.
func (q POP3S) Validate() []Problem {
	return POP3{Security: tlsOn, User: q.User, Password: q.Password, TLS: q.TLS}.Validate()
}

// Prepare is part of Question.
func (q POP3) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

// Prepare is part of Question.
func (q POP3S) Prepare() (ProbeFunc, error) {
	return POP3{Security: tlsOn, User: q.User, Password: q.Password, TLS: q.TLS}.Prepare()
}

func (q POP3) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "POP3", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith("+-"), []Secret{q.Password}
	if err := s.pop3("greeting", ""); err != nil {
		return Answer{}, err
	}
	if q.Security == tlsStart {
		if err := s.pop3("STLS", "STLS"); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
	}
	if q.User != "" {
		s.doing = "logging in"
		if err := s.pop3("login", "USER "+q.User); err != nil {
			return Answer{}, err
		}
		if err := s.pop3("login", "PASS "+string(q.Password)); err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	s.pop3("QUIT", "QUIT") // a courtesy
	return out, nil
}

// pop3 sends a line, if it is not empty, and wants a positive answer.
func (s *session) pop3(what, line string) error {
	if line != "" {
		if err := s.say(line); err != nil {
			return s.reason(err)
		}
	}
	line, err := s.line()
	switch {
	case err != nil:
		return s.reason(err)
	case strings.HasPrefix(line, "+OK"):
		return nil
	case strings.HasPrefix(line, "-ERR"):
		return s.refused(what, strings.TrimSpace(strings.TrimPrefix(line, "-ERR")))
	}
	return s.liar()
}
