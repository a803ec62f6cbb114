package healthcheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Directory is what is asked of an LDAP server: to find exactly one entry, by its
// name.
type Directory struct {
	// User is the DN that binds, with Password; empty is anonymous.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// DN is the entry that must be there; empty is the root, which every server
	// has.
	DN string `key:"dn"`
	// Filter is one that the entry must pass.
	Filter string `key:"filter"`
	// Attribute is one that the entry must have, with Value among its values if
	// that is not empty.
	Attribute string `key:"attribute"`
	Value     string `key:"value"`
}

// LDAP looks an entry up.
type LDAP struct {
	// Security is one of the ways to TLS; from the first byte it is LDAPS.
	Security string `key:"tls" oneof:"off,starttls"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	Directory
	TLS
}

// LDAPS is LDAP over TLS.
type LDAPS struct {
	Directory
	TLS
}

// defaultDirectory has what most do not say.
var defaultDirectory = Directory{Filter: "(objectClass=*)"}

var (
	_ Question  = LDAP{}
	_ Validator = LDAP{}
	_ Question  = LDAPS{}
	_ Validator = LDAPS{}
)

// Kind is "ldap".
func (LDAP) Kind() string { return "ldap" }

// Kind is "ldaps".
func (LDAPS) Kind() string { return "ldaps" }

// String is the entry's name.
func (q Directory) String() string { return q.DN }

// String is the entry's name.
func (q LDAP) String() string { return q.DN }

// String is the entry's name.
func (q LDAPS) String() string { return q.DN }

// Validate is part of Validator.
func (q LDAP) Validate() []Problem {
	out := append(q.validate(), q.problems()...)
	return append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
}

// Validate is part of Validator.
func (q LDAPS) Validate() []Problem { return append(q.validate(), q.problems()...) }

func (q Directory) validate() (out []Problem) {
	for _, dn := range []struct{ key, text string }{{"user", q.User}, {"dn", q.DN}} {
		if _, err := ldap.ParseDN(dn.text); err != nil {
			out = append(out, Problem{Key: dn.key, Message: fmt.Sprintf("want a distinguished name such as \"ou=people,dc=example,dc=com\", got %q", dn.text)})
		}
	}
	if q.User == "" && q.Password != "" {
		out = append(out, Problem{Key: "password", Message: "needs user beside it"})
	}
	if q.User != "" && q.Password == "" {
		out = append(out, Problem{Key: "user", Message: "needs password beside it: a bind without one is anonymous (RFC 4513)"})
	}
	if _, err := ldap.CompileFilter(q.Filter); err != nil && q.Filter != "" {
		out = append(out, Problem{Key: "filter", Message: fmt.Sprintf("want a filter such as \"(objectClass=person)\" (RFC 4515), got %q", q.Filter)})
	}
	if strings.ContainsFunc(q.Attribute, notInRequest) {
		out = append(out, Problem{Key: "attribute", Message: fmt.Sprintf("want the name of an attribute such as \"cn\", got %q", q.Attribute)})
	}
	if q.Attribute == "" && q.Value != "" {
		out = append(out, Problem{Key: "value", Message: "needs attribute beside it"})
	}
	return out
}

// Prepare is part of Question.
func (q LDAP) Prepare() (ProbeFunc, error) {
	c := q.client()
	if q.Filter == "" {
		q.Filter = defaultDirectory.Filter
	}
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

// Prepare is part of Question.
func (q LDAPS) Prepare() (ProbeFunc, error) {
	return LDAP{Security: tlsOn, Directory: q.Directory, TLS: q.TLS}.Prepare()
}

func (q LDAP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "LDAP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	// A message is a SEQUENCE of BER.
	s.plausible, s.secrets = startsWith("\x30"), []Secret{q.Password}
	d := &ldapDialogue{session: s}
	if q.Security == tlsStart {
		if err := d.startTLS(); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
	}
	if q.User != "" {
		if err := d.bind(q.User, string(q.Password)); err != nil {
			return Answer{}, err
		}
	}
	n, values, err := d.search(q.Directory)
	if err != nil {
		return Answer{}, err
	}
	return q.found(s, n, values)
}

// found holds the number of entries and the values of the first one's attribute against
// what is wanted.
func (q Directory) found(s *session, n int, values []string) (Answer, error) {
	switch {
	case n != 1:
		return Answer{}, fmt.Errorf("%d entries found, want 1", n)
	case q.Attribute == "":
		return s.answer("1 entry found"), nil
	case len(values) == 0:
		return Answer{}, fmt.Errorf("entry has no %s", q.Attribute)
	case q.Value == "":
		return s.answer("%s is %s", q.Attribute, values[0]), nil
	case !slices.Contains(values, q.Value):
		return Answer{}, s.unlike("%s is %s, want %s", q.Attribute, printable(strings.Join(values[:min(len(values), 10)], ", ")), q.Value)
	}
	return s.answer("%s is %s", q.Attribute, q.Value), nil
}
