package healthcheck

import (
	"strings"
)

// SQL is what is asked of a server of SQL: to log in, and to answer a query
// if there is one.
type SQL struct {
	// User and Password log in.
	User     string `key:"user" required:"the user that logs in, such as \"lvsha\""`
	Password Secret `key:"password"`
	// Database is the one that is used; empty is the server's choice.
	Database string `key:"database"`
	// Query has to answer with a row at least; empty is none. Value is what the
	// first value of the first row must be, as text; empty means anything will do.
	Query string `key:"query"`
	Value string `key:"value"`
	// Security is one of the ways to TLS.
	Security string `key:"tls" oneof:"off,optional,on"`
	// Plaintext lets the password go over a connection without TLS, to a server that wants
	// it as it is.
	Plaintext bool `key:"plaintext"`
	TLS
}

// String is the query.
func (q SQL) String() string { return q.Query }

// Validate is part of Validator.
func (q SQL) Validate() []Problem {
	out := q.problems()
	for _, part := range []struct{ key, text string }{{"user", q.User}, {"password", string(q.Password)}, {"database", q.Database}, {"query", q.Query}} {
		if strings.ContainsRune(part.text, 0) {
			out = append(out, Problem{Key: part.key, Message: "want a text without NUL"})
		}
	}
	if q.Query != "" && strings.TrimSpace(q.Query) == "" {
		out = append(out, Problem{Key: "query", Message: "is blank; leave it out or say something"})
	}
	if q.Value != "" && q.Query == "" {
		out = append(out, Problem{Key: "value", Message: "needs query beside it"})
	}
	return out
}

// met holds the first value of a query's answer against the one that is wanted.
func (q SQL) met(s *session, got string) (Answer, error) {
	if q.Value != "" && got != q.Value {
		return Answer{}, s.unlike("query answers %s, want %s", printable(got), q.Value)
	}
	return s.answer("query answers %s", got), nil
}

// errNoTLS is the reason for a server that does not want TLS.
const errNoTLS = errUnmet("TLS is not offered")

// errNoRow is the reason for a query whose answer is empty.
const errNoRow = errUnmet("query answers no row")
