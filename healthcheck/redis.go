package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// Redis wants a PING answered, and perhaps a role or a key.
type Redis struct {
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,on"`
	// User and Password log in; empty is not at all, a password alone is that of
	// the default user.
	User     string `key:"user"`
	Password Secret `key:"password"`
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
	out := q.problems()
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
	server := redis.NewConn(&redisConn{Conn: s, fresh: true}, 0, 0)
	defer server.Close()
	if q.Password != "" {
		s.doing = "logging in"
		login := []any{string(q.Password)}
		if q.User != "" {
			login = []any{q.User, string(q.Password)}
		}
		if _, err := server.Do("AUTH", login...); err != nil {
			return Answer{}, s.redisReason("login", err)
		}
	}
	s.doing = "waiting for the answer to PING"
	pong, err := redis.String(server.Do("PING"))
	if err != nil {
		return Answer{}, s.redisReason("PING", err)
	}
	if pong != "PONG" {
		return Answer{}, fmt.Errorf("answer to PING is %q", printable(pong))
	}
	out := s.answer("PONG")
	if q.Role != "" && q.Role != "any" {
		if out, err = q.role(server, s); err != nil {
			return Answer{}, err
		}
	}
	if q.Key != "" {
		return q.key(server, s)
	}
	return out, nil
}

func (q Redis) role(server redis.Conn, s *session) (Answer, error) {
	s.doing = "waiting for the role"
	said, err := redis.Values(server.Do("ROLE"))
	if err != nil {
		return Answer{}, s.redisReason("ROLE", err)
	}
	var role string
	if len(said) > 0 {
		role, _ = redis.String(said[0], nil)
	}
	if role == "slave" {
		role = "replica"
	}
	if role != q.Role {
		return Answer{}, fmt.Errorf("role is %s, want %s", printable(role), q.Role)
	}
	if role == "replica" && len(said) > 3 {
		if link, _ := redis.String(said[3], nil); link != "connected" {
			return Answer{}, fmt.Errorf("replica is not in touch with its master: %s", printable(link))
		}
	}
	return s.answer("role is %s", role), nil
}

func (q Redis) key(server redis.Conn, s *session) (Answer, error) {
	s.doing = "waiting for the key"
	value, err := redis.String(server.Do("GET", q.Key))
	switch {
	case errors.Is(err, redis.ErrNil):
		return Answer{}, fmt.Errorf("there is no key %s", q.Key)
	case err != nil:
		return Answer{}, s.redisReason("GET", err)
	case q.Value != "" && value != q.Value:
		return Answer{}, fmt.Errorf("%s is %s, want %s", q.Key, printable(value), q.Value)
	}
	return s.answer("%s is %s", q.Key, value), nil
}

// redisReason is reason, but for an answer that says no.
func (s *session) redisReason(what string, err error) error {
	var no redis.Error
	if errors.As(err, &no) {
		return s.refused(what, no.Error())
	}
	return s.reason(err)
}

// redisConn keeps from the library the lengths for which it would reserve all the
// memory before it has seen a byte of what they announce: a text of a million
// bytes, a list of a hundred items.
type redisConn struct {
	net.Conn
	fresh bool // the next byte begins a line
	left  int  // digits that the length at hand may still have
}

const (
	redisTextDigits = 6 + 1
	redisListDigits = 2 + 1
)

func (c *redisConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for _, char := range b[:n] {
		switch {
		case c.fresh && char == '$':
			c.left = redisTextDigits
		case c.fresh && char == '*':
			c.left = redisListDigits
		case char < '0' || char > '9':
			c.left = 0
		case c.left == 1:
			return 0, errTooLong
		case c.left > 1:
			c.left--
		}
		c.fresh = char == '\n'
	}
	return n, err
}
