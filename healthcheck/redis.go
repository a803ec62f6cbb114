package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Redis wants a PING answered, and perhaps a role or a key.
type Redis struct {
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,on"`
	// User and Password log in; empty is not at all, a password alone is that of
	// the default user.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	// Role is what the server must be.
	Role string `key:"role" oneof:"any,master,replica"`
	// Key is one that must be there, with the text Value if that is not empty.
	Key   string `key:"key"`
	Value string `key:"value"`
	TLS
}

var (
	_ Question  = Redis{}
	_ Validator = Redis{}
)

// Kind is "redis".
func (Redis) Kind() string { return "redis" }

// String is the role, if there is one, and the key.
func (q Redis) String() string {
	if q.Role == "any" {
		q.Role = ""
	}
	return strings.TrimSpace(q.Role + " " + q.Key)
}

// Validate is part of Validator.
func (q Redis) Validate() []Problem {
	out := append(q.problems(), inClear("password", q.Password, q.Security, q.Plaintext)...)
	if q.User != "" && q.Password == "" {
		out = append(out, Problem{Key: "user", Message: "needs password beside it"})
	}
	if q.Value != "" && q.Key == "" {
		out = append(out, Problem{Key: "value", Message: "needs key beside it"})
	}
	return out
}

// Prepare is part of Question.
func (q Redis) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q Redis) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "Redis", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith("+-:$*"), []Secret{q.Password}
	if q.Password != "" {
		s.doing = "logging in"
		login := []string{"AUTH", string(q.Password)}
		if q.User != "" {
			login = []string{"AUTH", q.User, string(q.Password)}
		}
		if _, err := s.redis("login", login...); err != nil {
			return Answer{}, err
		}
	}
	s.doing = "waiting for the answer to PING"
	pong, err := s.redis("PING", "PING")
	if err != nil {
		return Answer{}, err
	}
	if pong.text != "PONG" {
		return Answer{}, s.unlike("answer to PING is \"%s\"", printable(pong.text))
	}
	out := s.answer("PONG")
	if q.Role != "" && q.Role != "any" {
		if out, err = q.role(s); err != nil {
			return Answer{}, err
		}
	}
	if q.Key != "" {
		return q.key(s)
	}
	return out, nil
}

func (q Redis) role(s *session) (Answer, error) {
	s.doing = "waiting for the role"
	said, err := s.redis("ROLE", "ROLE")
	if err != nil {
		return Answer{}, err
	}
	var role string
	if len(said.items) > 0 {
		role = said.items[0].text
	}
	if role == "slave" {
		role = "replica"
	}
	if role != q.Role {
		return Answer{}, s.unlike("role is %s, want %s", printable(role), q.Role)
	}
	if role == "replica" && len(said.items) > 3 {
		if link := said.items[3].text; link != "connected" {
			return Answer{}, s.unlike("replica is not in touch with its master: %s", printable(link))
		}
	}
	return s.answer("role is %s", role), nil
}

func (q Redis) key(s *session) (Answer, error) {
	s.doing = "waiting for the key"
	value, err := s.redis("GET", "GET", q.Key)
	switch {
	case err != nil:
		return Answer{}, err
	case value.null:
		return Answer{}, fmt.Errorf("there is no key %s", q.Key)
	case q.Value != "" && value.text != q.Value:
		return Answer{}, s.unlike("%s is %s, want %s", q.Key, printable(value.text), q.Value)
	}
	return s.answer("%s is %s", q.Key, value.text), nil
}

// redis gives a command and returns its answer. what names it in the reason.
func (s *session) redis(what string, words ...string) (redisValue, error) {
	command := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := s.Write(command); err != nil {
		return redisValue{}, s.reason(err)
	}
	out, err := s.redisValue(0)
	if err != nil {
		return redisValue{}, s.reason(err)
	}
	if out.kind == '-' {
		return redisValue{}, s.refused(what, out.text)
	}
	return out, nil
}

// redisValue is an answer (RESP2).
type redisValue struct {
	kind  byte // + - : $ *
	text  string
	null  bool
	items []redisValue // of *
}

const (
	// redisDepth is how deep lists are nested, and redisItems how many they hold: the
	// answer to ROLE has two levels, and an item for each replica.
	redisDepth = 3
	redisItems = 1000
)

// redisValue reads an answer, or an item of a list at a depth.
func (s *session) redisValue(depth int) (redisValue, error) {
	line, err := s.line()
	if err != nil {
		return redisValue{}, err
	}
	if line == "" {
		return redisValue{}, errors.New("a line without a type")
	}
	out := redisValue{kind: line[0], text: line[1:]}
	switch out.kind {
	case '+', '-', ':':
		return out, nil
	case '$', '*':
	default:
		return redisValue{}, errors.New("a line of an unknown type")
	}
	n, err := strconv.ParseInt(out.text, 10, 64)
	out.text = ""
	switch {
	case err != nil || n < -1:
		return redisValue{}, errors.New("a length that is no number")
	case n == -1:
		out.null = true
		return out, nil
	case n > sessionLimit || out.kind == '*' && (n > redisItems || depth == redisDepth):
		return redisValue{}, errTooLong
	case out.kind == '$':
		text, err := s.take(int(n) + len("\r\n"))
		if err != nil {
			return redisValue{}, err
		}
		out.text = string(text[:n])
		return out, nil
	}
	for range n {
		item, err := s.redisValue(depth + 1)
		if err != nil {
			return redisValue{}, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}
