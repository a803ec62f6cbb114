package healthcheck

import "context"

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
	if q.Database == "" {
		q.Database = q.User // as the server does
	}
	c, made := q.client(), &salted{}
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c, made) }, nil
}

func (q Postgres) probe(ctx context.Context, t Target, c *tlsClient, made *salted) (Answer, error) {
	s, err := t.open(ctx, "tcp", "PostgreSQL", nil)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.secrets, s.doing = []Secret{q.Password}, "logging in"
	// The answers that can begin a connection: to TLS, or to a user, and errors.
	s.plausible = startsWith("RENv")
	d := &pgDialogue{session: s, sql: q.SQL, made: made}
	if q.Security == tlsOn || q.Security == tlsOptional {
		s.plausible = startsWith("SNE")
		agreed, err := d.startTLS()
		switch {
		case err != nil:
			return Answer{}, err
		case agreed:
			if err := s.secure(ctx, c); err != nil {
				return Answer{}, err
			}
		case q.Security == tlsOn:
			return Answer{}, errNoTLS
		}
	}
	if err := d.login(ctx); err != nil {
		return Answer{}, err
	}
	if q.Query == "" {
		d.send('X', nil) // a courtesy
		return s.answer("logged in"), nil
	}
	s.doing = "waiting for the answer to the query"
	got, err := d.query(q.Query)
	if err != nil {
		return Answer{}, err
	}
	return q.met(s, got)
}
