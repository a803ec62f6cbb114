package healthcheck

import (
	"context"
	"errors"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// IMAP wants to be greeted, and to be logged in if there is a user.
type IMAP struct {
	// Security is one of the ways to TLS; from the first byte it is IMAPS.
	Security string `key:"tls" oneof:"off,starttls"`
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	TLS
}

// IMAPS is IMAP over TLS.
type IMAPS struct {
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	TLS
}

var (
	_ Question  = IMAP{}
	_ Validator = IMAP{}
	_ Question  = IMAPS{}
	_ Validator = IMAPS{}
)

// Kind is "imap".
func (IMAP) Kind() string { return "imap" }

// Kind is "imaps".
func (IMAPS) Kind() string { return "imaps" }

// String is the user.
func (q IMAP) String() string { return q.User }

// String is the user.
func (q IMAPS) String() string { return q.User }

// Validate is part of Validator.
func (q IMAP) Validate() []Problem { return append(login(q.User, q.Password), q.problems()...) }

// Validate is part of Validator.
func (q IMAPS) Validate() []Problem {
	return IMAP{User: q.User, Password: q.Password, TLS: q.TLS}.Validate()
}

// Prepare is part of Question.
func (q IMAP) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

// Prepare is part of Question.
func (q IMAPS) Prepare() (ProbeFunc, error) {
	return IMAP{Security: tlsOn, User: q.User, Password: q.Password, TLS: q.TLS}.Prepare()
}

func (q IMAP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "IMAP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith("*+a"), []Secret{q.Password}
	server, err := q.greeted(s, c)
	if err != nil {
		return Answer{}, err
	}
	defer server.Close()
	if q.User != "" {
		s.doing = "logging in"
		if err := server.Login(q.User, string(q.Password)).Wait(); err != nil {
			return Answer{}, s.imapReason("login", err)
		}
	}
	out := s.answer("%s", s.greeting())
	server.Logout().Wait() // a courtesy
	return out, nil
}

// greeted is the connection after the greeting and, perhaps, STARTTLS.
func (q IMAP) greeted(s *session, c *tlsClient) (*imapclient.Client, error) {
	if q.Security != tlsStart {
		server := imapclient.New(s, nil)
		if err := server.WaitGreeting(); err != nil {
			server.Close()
			return nil, s.imapReason("greeting", err)
		}
		return server, nil
	}
	settings, err := s.tlsConfig(c)
	if err != nil {
		return nil, err
	}
	server, err := imapclient.NewStartTLS(s, &imapclient.Options{TLSConfig: settings})
	if err != nil {
		if s.greeting() != "" {
			s.doing = "negotiating TLS"
		}
		return nil, s.imapReason("STARTTLS", err)
	}
	return server, nil
}

// imapReason is reason, but for an answer that says no.
func (s *session) imapReason(what string, err error) error {
	var no *imap.Error
	if errors.As(err, &no) {
		return s.refused(what, no.Text)
	}
	return s.reason(err)
}
