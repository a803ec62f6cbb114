package healthcheck

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// NNTP wants to be greeted, to be logged in if there is a user, and to be shown
// a group if there is one.
type NNTP struct {
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,starttls,on"`
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	// Group is a newsgroup that has to be there; empty is none.
	Group string `key:"group"`
	TLS
}

var (
	_ Question  = NNTP{}
	_ Validator = NNTP{}
)

// Kind is "nntp".
func (NNTP) Kind() string { return "nntp" }

// String is the group.
func (q NNTP) String() string { return q.Group }

// Validate is part of Validator.
func (q NNTP) Validate() []Problem {
	out := append(words("group", q.Group, "comp.protocols.tcp-ip"), login(q.User, q.Password)...)
	out = append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
	return append(out, q.problems()...)
}

// Prepare is part of Question.
func (q NNTP) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q NNTP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "NNTP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith(digits), []Secret{q.Password}
	if _, err := s.nntp("greeting", "", 200, 201); err != nil {
		return Answer{}, err
	}
	if q.Security == tlsStart {
		if _, err := s.nntp("STARTTLS", "STARTTLS", 382); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
	}
	if q.User != "" {
		s.doing = "logging in"
		said, err := s.nntp("login", "AUTHINFO USER "+q.User, 281, 381)
		if err == nil && said.code == 381 {
			_, err = s.nntp("login", "AUTHINFO PASS "+string(q.Password), 281)
		}
		if err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	if q.Group != "" {
		s.doing = "waiting for the group"
		said, err := s.nntp("group "+q.Group, "GROUP "+q.Group, 211)
		if err != nil {
			return Answer{}, err
		}
		number, _, _ := strings.Cut(said.lines[0], " ")
		if _, err := strconv.Atoi(number); err != nil {
			return Answer{}, s.unlike("answer to GROUP has no number of articles: \"%s\"", printable(said.lines[0]))
		}
		out = s.answer("group %s has %s articles", q.Group, number)
	}
	s.nntp("QUIT", "QUIT", 205) // a courtesy
	return out, nil
}

// nntp is ask where a reply is one line (RFC 3977, 3.2).
func (s *session) nntp(what, line string, want ...int) (reply, error) {
	if line != "" {
		if err := s.say(line); err != nil {
			return reply{}, s.reason(err)
		}
	}
	got, err := s.reply(false)
	if err == nil && !slices.Contains(want, got.code) {
		err = s.refused(what, got.String())
	}
	return got, err
}
