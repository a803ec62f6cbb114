package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Postgres wants to log in at a PostgreSQL, and to have a query answered if
// there is one.
type Postgres struct{ SQL }

var (
	_ Question  = Postgres{}
	_ Validator = Postgres{}
)

// Kind is "postgres".
func (Postgres) Kind() string { return "postgres" }

// Prepare is part of Question.
func (q Postgres) Prepare() (ProbeFunc, error) {
	// The library insists on parsing a text, and looks at the environment and at
	// files for what that lacks.
	const nothing = "host=server port=1 user=user database=user sslmode=disable connect_timeout=0 passfile=/dev/null servicefile=/dev/null target_session_attrs=any"
	base, err := pgconn.ParseConfig(nothing)
	if err != nil {
		return nil, err
	}
	base.User, base.Password, base.Database = q.User, string(q.Password), q.Database
	if q.Database == "" {
		base.Database = q.User // as the server does
	}
	base.RuntimeParams = map[string]string{"application_name": "lvsha"}
	base.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		out := pgproto3.NewFrontend(r, w)
		out.SetMaxBodyLen(sessionLimit)
		return out
	}
	base.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c, base.Copy()) }, nil
}

func (q Postgres) probe(ctx context.Context, t Target, c *tlsClient, settings *pgconn.Config) (Answer, error) {
	answer, err := q.attempt(ctx, t, onlyIf(q.Security == tlsOn || q.Security == tlsOptional, c), settings)
	if errors.Is(err, errNoTLS) && q.Security == tlsOptional {
		return q.attempt(ctx, t, nil, settings)
	}
	return answer, err
}

// errNoTLS is the reason for a server that does not want TLS.
const errNoTLS = errUnmet("TLS is not offered")

// attempt makes one connection, with TLS if c is not nil.
func (q Postgres) attempt(ctx context.Context, t Target, c *tlsClient, settings *pgconn.Config) (Answer, error) {
	s, err := t.open(ctx, "tcp", "PostgreSQL", nil)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.secrets, s.doing = []Secret{q.Password}, "logging in"
	// The answers that can begin a connection: to TLS, or to a user, and errors.
	s.plausible = startsWith("RENv")
	if c != nil {
		s.plausible = startsWith("SNE")
	}
	settings.Host, settings.Port = t.Server.Addr().WithZone("").String(), t.Server.Port()
	used := false
	settings.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if used { // to cancel a query, whose connection ends anyway
			return nil, net.ErrClosed
		}
		used = true
		return s, nil
	}
	settings.TLSConfig = nil
	if c != nil {
		if settings.TLSConfig, err = s.tlsConfig(c); err != nil {
			return Answer{}, err
		}
	}
	conn, err := pgconn.ConnectConfig(ctx, settings)
	if err != nil {
		if c != nil && s.greeting() == "N" {
			return Answer{}, errNoTLS
		}
		return Answer{}, s.postgresReason("login", err)
	}
	defer func() {
		conn.Close(ctx) // its error is that of a connection of no more use
		<-conn.CleanupDone()
	}()
	if q.Query == "" {
		return s.answer("logged in"), nil
	}
	s.doing = "waiting for the answer to the query"
	rows := conn.ExecParams(ctx, q.Query, nil, nil, nil, nil)
	if rows.NextRow() {
		got := "NULL"
		if row := rows.Values(); len(row) > 0 && row[0] != nil {
			got = string(row[0])
		}
		// The other rows go with the connection.
		return q.met(s, got)
	}
	if _, err := rows.Close(); err != nil {
		return Answer{}, s.postgresReason("query", err)
	}
	return Answer{}, errNoRow
}

// postgresReason is reason, but for an answer that says no.
func (s *session) postgresReason(what string, err error) error {
	var no *pgconn.PgError
	if errors.As(err, &no) {
		return s.refused(what, fmt.Sprintf("%s (%s)", no.Message, no.Code))
	}
	var long *pgproto3.ExceededMaxBodyLenErr
	if errors.As(err, &long) {
		return s.reason(errTooLong)
	}
	// The text says much that is no news.
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		if list := several.Unwrap(); len(list) > 0 {
			return s.reason(innermost(list[len(list)-1]))
		}
	}
	return s.reason(err)
}
