package healthcheck

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
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
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
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
	out = append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
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
	if _, err := s.ask("greeting", "", 220); err != nil {
		return Answer{}, err
	}
	offers, err := q.hello(s)
	if err != nil {
		return Answer{}, err
	}
	_, offered := offers["STARTTLS"]
	if q.Security == tlsStart || q.Security == tlsOptional && offered {
		if !offered {
			return Answer{}, errors.New("STARTTLS is not offered")
		}
		if _, err := s.ask("STARTTLS", "STARTTLS", 220); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
		if offers, err = q.hello(s); err != nil {
			return Answer{}, err
		}
	}
	if q.User != "" {
		if q.Password != "" && !s.secured() && !q.Plaintext {
			return Answer{}, errors.New("STARTTLS is not offered, and the password would go in clear, which plaintext = true allows")
		}
		if _, offered := offers["AUTH"]; !offered {
			return Answer{}, errors.New("AUTH is not offered")
		}
		if err := q.login(s); err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	s.ask("QUIT", "QUIT", 221) // a courtesy
	return out, nil
}

// hello says EHLO, or HELO to a server that knows no other, and returns what the server
// offers.
func (q SMTP) hello(s *session) (map[string]string, error) {
	s.doing = "waiting for the answer to EHLO"
	said, err := s.ask("EHLO", "EHLO "+q.Helo, 250)
	if err != nil {
		if said.code == 0 || said.code == 421 {
			return nil, err
		}
		_, err = s.ask("EHLO", "HELO "+q.Helo, 250)
		return nil, err
	}
	out := make(map[string]string)
	for _, line := range said.lines[1:] {
		name, rest, _ := strings.Cut(line, " ")
		if name, _, _ = strings.Cut(name, "="); len(out) < mostLines { // "AUTH=LOGIN" is of old
			out[strings.ToUpper(name)] = rest
		}
	}
	return out, nil
}

// login is AUTH (RFC 4954) by PLAIN or LOGIN.
func (q SMTP) login(s *session) error {
	s.doing = "logging in"
	encode := base64.StdEncoding.EncodeToString
	if q.Method != "login" {
		_, err := s.ask("login", "AUTH PLAIN "+encode([]byte("\x00"+q.User+"\x00"+string(q.Password))), 235)
		return err
	}
	said, err := s.ask("login", "AUTH LOGIN "+encode([]byte(q.User)), 235, 334)
	for range 2 {
		if err != nil || said.code == 235 {
			return err
		}
		text := string(q.Password)
		if asked, _ := base64.StdEncoding.DecodeString(said.lines[0]); strings.HasPrefix(strings.ToLower(string(asked)), "user") {
			text = q.User // the server did not take it with the command
		}
		said, err = s.ask("login", encode([]byte(text)), 235, 334)
	}
	if err == nil && said.code != 235 {
		err = s.refused("login", said.String())
	}
	return err
}

// onlyIf is c if it is wanted.
func onlyIf(wanted bool, c *tlsClient) *tlsClient {
	if wanted {
		return c
	}
	return nil
}
