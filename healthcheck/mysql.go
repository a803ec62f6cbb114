package healthcheck

import "context"

// MySQL wants to log in at a MySQL or MariaDB, and to have a query answered if
// there is one.
type MySQL struct{ SQL }

var (
	_ Question  = MySQL{}
	_ Validator = MySQL{}
)

// Kind is "mysql".
func (MySQL) Kind() string { return "mysql" }

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
	d := &mysqlDialogue{session: s, sql: q.SQL}
	if err := d.login(ctx, c); err != nil {
		return Answer{}, err
	}
	if q.Query == "" {
		s.doing = "waiting for the answer to a ping"
		if err := d.ping(); err != nil {
			return Answer{}, err
		}
		return s.answer("logged in"), nil
	}
	s.doing = "waiting for the answer to the query"
	got, err := d.query(q.Query)
	if err != nil {
		return Answer{}, err
	}
	return q.met(s, got)
}
