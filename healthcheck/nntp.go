package healthcheck

import (
	"context"
	"fmt"
	"net/textproto"
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
	server := textproto.NewConn(s)
	if _, _, err := s.nntpAnswer(server, "greeting", 200, 201); err != nil {
		return Answer{}, err
	}
	if q.Security == tlsStart {
		secured, err := s.startTLS(ctx, c, func() error {
			_, _, err := s.nntp(server, "STARTTLS", "STARTTLS", 382)
			return err
		})
		if err != nil {
			return Answer{}, err
		}
		server = textproto.NewConn(secured)
	}
	if q.User != "" {
		s.doing = "logging in"
		code, _, err := s.nntp(server, "login", "AUTHINFO USER "+q.User, 281, 381)
		if err == nil && code == 381 {
			_, _, err = s.nntp(server, "login", "AUTHINFO PASS "+string(q.Password), 281)
		}
		if err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	if q.Group != "" {
		s.doing = "waiting for the group"
		_, line, err := s.nntp(server, "group "+q.Group, "GROUP "+q.Group, 211)
		if err != nil {
			return Answer{}, err
		}
		number, _, _ := strings.Cut(line, " ")
		if _, err := strconv.Atoi(number); err != nil {
			return Answer{}, fmt.Errorf("answer to GROUP has no number of articles: %q", printable(line))
		}
		out = s.answer("group %s has %s articles", q.Group, number)
	}
	s.nntp(server, "QUIT", "QUIT", 205) // a courtesy
	return out, nil
}

// nntp sends a line and wants one of the codes.
func (s *session) nntp(server *textproto.Conn, what, line string, want ...int) (int, string, error) {
	if err := server.PrintfLine("%s", line); err != nil {
		return 0, "", s.reason(err)
	}
	return s.nntpAnswer(server, what, want...)
}

func (s *session) nntpAnswer(server *textproto.Conn, what string, want ...int) (int, string, error) {
	line, err := s.line(server)
	if err != nil {
		return 0, "", s.reason(err)
	}
	number, text, _ := strings.Cut(line, " ")
	code, err := strconv.Atoi(number)
	switch {
	case err != nil || len(number) != 3:
		s.mu.Lock()
		defer s.mu.Unlock()
		return 0, "", s.lie()
	case !slices.Contains(want, code):
		return 0, "", s.refused(what, line)
	}
	return code, text, nil
}
