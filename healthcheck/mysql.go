package healthcheck

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"
)

// MySQL wants to log in at a MySQL or MariaDB, and to have a query answered if
// there is one.
type MySQL struct{ SQL }

var (
	_ Question  = MySQL{}
	_ Validator = MySQL{}
)

// Kind is "mysql".
func (MySQL) Kind() string { return "mysql" }

// mysqlLimit is lower than that of others because a server can make the library
// reserve 16 MiB.
const mysqlLimit = 256

// Prepare is part of Question.
func (q MySQL) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

func (q MySQL) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "MySQL", nil)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.secrets = []Secret{q.Password}
	// A packet has its number in the fourth byte, and the first is number 0.
	s.plausible = func(head []byte) bool { return len(head) < 4 || head[3] == 0 }
	settings := mysql.NewConfig()
	settings.User, settings.Passwd, settings.DBName = q.User, string(q.Password), q.Database
	settings.Net, settings.Addr = "tcp", t.Server.String()
	settings.DialFunc = func(context.Context, string, string) (net.Conn, error) { return s, nil }
	settings.MaxAllowedPacket = sessionLimit // saves a query
	settings.Logger = &mysql.NopLogger{}
	if q.Security == tlsOn || q.Security == tlsOptional {
		if settings.TLS, err = s.tlsConfig(c); err != nil {
			return Answer{}, err
		}
		settings.AllowFallbackToPlaintext = q.Security == tlsOptional
	}
	connector, err := mysql.NewConnector(settings)
	if err != nil {
		return Answer{}, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		if errors.Is(err, mysql.ErrNoTLS) {
			return Answer{}, errors.New("TLS is not offered")
		}
		return Answer{}, s.mysqlReason("login", err)
	}
	defer conn.Close()
	if q.Query == "" {
		s.doing = "waiting for the answer to a ping"
		if err := conn.(driver.Pinger).Ping(ctx); err != nil {
			return Answer{}, s.mysqlReason("ping", err)
		}
		return s.answer("logged in"), nil
	}
	s.doing = "waiting for the answer to the query"
	got, err := q.first(ctx, conn)
	if err != nil {
		return Answer{}, s.mysqlReason("query", err)
	}
	return q.met(s, got)
}

// first is the first value of the first row.
func (q MySQL) first(ctx context.Context, conn driver.Conn) (string, error) {
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, q.Query, nil)
	if err != nil {
		return "", err
	}
	row := make([]driver.Value, len(rows.Columns()))
	if len(row) == 0 {
		return "", errNoRow
	}
	switch err := rows.Next(row); {
	case errors.Is(err, io.EOF):
		return "", errNoRow
	case err != nil:
		return "", err
	}
	// The other rows go with the connection.
	switch v := row[0].(type) {
	case []byte:
		return string(v), nil
	case nil:
		return "NULL", nil
	default:
		return fmt.Sprint(v), nil
	}
}

// mysqlReason is reason, but for an answer that says no.
func (s *session) mysqlReason(what string, err error) error {
	var no *mysql.MySQLError
	if errors.As(err, &no) {
		return s.refused(what, fmt.Sprintf("%d %s", no.Number, no.Message))
	}
	return s.reason(err)
}
