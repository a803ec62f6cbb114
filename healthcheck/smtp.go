package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"strings"

	"github.com/emersion/go-sasl"
)

// The ways of a protocol to TLS: the value of the key tls.
const (
	tlsOff      = "off"
	tlsOptional = "optional" // if the server offers it
	tlsStart    = "starttls" // the connection becomes TLS, or the check fails
	tlsOn       = "on"       // from the first byte
)

// SMTP wants to be greeted, and to be logged in if there is a user. It is for
// submission too.
type SMTP struct {
	// Helo is the name that is given to EHLO, or to HELO if the server knows no
	// other.
	Helo string `key:"helo"`
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,optional,starttls,on"`
	// User and Password log in; empty is not at all. Method is how.
	User     string `key:"user"`
	Password Secret `key:"password"`
	Method   string `key:"auth" oneof:"plain,login"`
	TLS
}

var defaultSMTP = SMTP{Helo: "localhost", TLS: defaultTLS}

var (
	_ Question  = SMTP{}
	_ Validator = SMTP{}
)

// Kind is "smtp".
func (SMTP) Kind() string { return "smtp" }

// String is the user.
func (q SMTP) String() string { return q.User }

// Validate is part of Validator.
func (q SMTP) Validate() []Problem {
	out := append(words("helo", q.Helo, "director.example.com"), login(q.User, q.Password)...)
	return append(out, q.problems()...)
}

// Prepare is part of Question.
func (q SMTP) Prepare() (ProbeFunc, error) {
	if q.Helo == "" {
		q.Helo = defaultSMTP.Helo
	}
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q SMTP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "SMTP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith(digits), []Secret{q.Password}
	server, err := smtp.NewClient(s, t.Server.Addr().String())
	if err != nil {
		return Answer{}, s.lineReason("greeting", err)
	}
	defer server.Close()
	s.doing = "waiting for the answer to EHLO"
	if err := server.Hello(q.Helo); err != nil {
		return Answer{}, s.lineReason("EHLO", err)
	}
	offered, _ := server.Extension("STARTTLS")
	if q.Security == tlsStart || q.Security == tlsOptional && offered {
		s.doing = "negotiating TLS"
		if !offered {
			return Answer{}, errors.New("STARTTLS is not offered")
		}
		settings, err := s.tlsConfig(c)
		if err != nil {
			return Answer{}, err
		}
		if err := server.StartTLS(settings); err != nil {
			return Answer{}, s.lineReason("STARTTLS", err)
		}
	}
	if q.User != "" {
		s.doing = "logging in"
		if offered, _ := server.Extension("AUTH"); !offered {
			return Answer{}, errors.New("AUTH is not offered")
		}
		if err := server.Auth(saslAuth{q.sasl()}); err != nil {
			return Answer{}, s.lineReason("login", err)
		}
	}
	out := s.answer("%s", s.greeting())
	server.Quit() // a courtesy
	return out, nil
}

func (q SMTP) sasl() sasl.Client {
	if q.Method == "login" {
		return sasl.NewLoginClient(q.User, string(q.Password))
	}
	return sasl.NewPlainClient("", q.User, string(q.Password))
}

// saslAuth lets a mechanism of go-sasl be used by net/smtp, whose own insist on
// TLS and lack LOGIN.
type saslAuth struct{ mechanism sasl.Client }

func (a saslAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return a.mechanism.Start() }

func (a saslAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	return a.mechanism.Next(challenge)
}

// onlyIf is c if it is wanted.
func onlyIf(wanted bool, c *tlsClient) *tlsClient {
	if wanted {
		return c
	}
	return nil
}

// lineReason is reason for the protocols that answer with lines of a number and
// a text.
func (s *session) lineReason(what string, err error) error {
	var no *textproto.Error
	if errors.As(err, &no) && s.plausible(append([]byte(s.greeting()), 0)) {
		return s.refused(what, fmt.Sprintf("%d %s", no.Code, strings.TrimSpace(no.Msg)))
	}
	return s.reason(err)
}
