package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
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
	if _, _, err := server.ReadCodeLine(2); err != nil {
		return Answer{}, s.lineReason("greeting", err)
	}
	if q.Security == tlsStart {
		secured, err := s.startTLS(ctx, c, func() error {
			_, _, err := s.nntp(server, 382, "STARTTLS", "STARTTLS")
			return err
		})
		if err != nil {
			return Answer{}, err
		}
		server = textproto.NewConn(secured)
	}
	if q.User != "" {
		s.doing = "logging in"
		code, _, err := s.nntp(server, 0, "login", "AUTHINFO USER "+q.User)
		if err == nil && code != 281 {
			_, _, err = s.nntp(server, 281, "login", "AUTHINFO PASS "+string(q.Password))
		}
		if err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	if q.Group != "" {
		s.doing = "waiting for the group"
		_, line, err := s.nntp(server, 211, "group "+q.Group, "GROUP "+q.Group)
		if err != nil {
			return Answer{}, err
		}
		number, _, _ := strings.Cut(line, " ")
		if _, err := strconv.Atoi(number); err != nil {
			return Answer{}, fmt.Errorf("answer to GROUP has no number of articles: %q", printable(line))
		}
		out = s.answer("group %s has %s articles", q.Group, number)
	}
	s.nntp(server, 205, "QUIT", "QUIT") // a courtesy
	return out, nil
}

// nntp sends a line and wants a code; 0 is any that is not an error.
func (s *session) nntp(server *textproto.Conn, want int, what, line string) (int, string, error) {
	if err := server.PrintfLine("%s", line); err != nil {
		return 0, "", s.reason(err)
	}
	code, text, err := server.ReadCodeLine(want)
	switch {
	case err != nil:
		err = s.lineReason(what, err)
	case code >= 400:
		err = s.lineReason(what, &textproto.Error{Code: code, Msg: text})
	case code < 100:
		err = errors.New("answer is not NNTP: code " + strconv.Itoa(code))
	}
	return code, text, err
}
