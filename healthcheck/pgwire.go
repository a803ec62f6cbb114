package healthcheck

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// The protocol of PostgreSQL (version 3), as far as a check needs it. A library of it
// reserves memory for what a server announces, and computes for as long as it says.

const (
	pgVersion    = 3 << 16
	pgSSLRequest = 1234<<16 | 5679

	// The ways of authentication, of the message R.
	pgTrusted      = 0
	pgCleartext    = 3
	pgMD5          = 5
	pgSASL         = 10
	pgSASLContinue = 11
	pgSASLFinal    = 12

	pgMechanism = "SCRAM-SHA-256"
)

var (
	// errPostgres is the reason for a message that is malformed or out of order.
	errPostgres = errors.New("malformed or unexpected message")
	// errPostgresClear is the reason for a server that wants the password as it is.
	errPostgresClear = errors.New("server wants the password in clear: tls = \"on\", or plaintext = true, lets it have that")
)

// pgDialogue is a session of PostgreSQL.
type pgDialogue struct {
	*session
	sql SQL
	// made is the hash of the password, for logins by SCRAM.
	made *salted
}

// send sends a message; of the kind 0, which only begins a connection, without its kind.
func (d *pgDialogue) send(kind byte, b []byte) error {
	var out []byte
	if kind != 0 {
		out = append(out, kind)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(b)))
	_, err := d.Write(append(out, b...))
	return d.reason(err)
}

// receive reads a message. An error is the server's refusal of what; notices and the
// like are passed over.
func (d *pgDialogue) receive(what string) (kind byte, b []byte, err error) {
	for {
		head, err := d.take(5)
		if err != nil {
			return 0, nil, d.reason(err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		switch {
		case n < 4:
			return 0, nil, d.reason(errPostgres)
		case n > sessionLimit:
			return 0, nil, d.reason(errTooLong)
		}
		b, err := d.take(int(n) - 4)
		if err != nil {
			return 0, nil, d.reason(err)
		}
		switch kind := head[0]; kind {
		case 'E':
			return 0, nil, d.no(what, b)
		case 'N', 'S', 'A', 'K', 'v':
		default:
			return kind, b, nil
		}
	}
}

// no is the reason of an error, whose fields are texts with a letter before each.
func (d *pgDialogue) no(what string, b []byte) error {
	var text, code []byte
	for len(b) > 1 {
		value, rest, ok := bytes.Cut(b[1:], []byte{0})
		if !ok {
			break
		}
		switch b[0] {
		case 'M':
			text = value
		case 'C':
			code = value
		}
		b = rest
	}
	return d.refused(what, fmt.Sprintf("%s (%s)", text, code))
}

// startTLS asks for TLS, and reports whether the server agreed.
func (d *pgDialogue) startTLS() (bool, error) {
	if err := d.send(0, binary.BigEndian.AppendUint32(nil, pgSSLRequest)); err != nil {
		return false, err
	}
	b, err := d.take(1)
	if err != nil {
		return false, d.reason(err)
	}
	switch b[0] {
	case 'S':
		return true, nil
	case 'N':
		return false, nil
	}
	return false, d.liar()
}

// login begins the connection and waits until the server is ready.
func (d *pgDialogue) login(ctx context.Context) error {
	d.doing = "logging in"
	b := binary.BigEndian.AppendUint32(nil, pgVersion)
	for _, text := range []string{"user", d.sql.User, "database", d.sql.Database, "application_name", "lvsha"} {
		b = append(append(b, text...), 0)
	}
	if err := d.send(0, append(b, 0)); err != nil {
		return err
	}
	login := scram{made: d.made}
	for {
		kind, b, err := d.receive("login")
		if err != nil {
			return err
		}
		switch {
		case kind == 'Z':
			return nil
		case kind != 'R' || len(b) < 4:
			return d.reason(errPostgres)
		}
		if err := d.authenticate(ctx, &login, binary.BigEndian.Uint32(b), b[4:]); err != nil {
			return err
		}
	}
}

// authenticate answers one message of authentication.
func (d *pgDialogue) authenticate(ctx context.Context, login *scram, way uint32, b []byte) error {
	password := string(d.sql.Password)
	switch way {
	case pgTrusted:
		if login.server != nil && !login.proven {
			return d.reason(errImpostor)
		}
		return nil
	case pgCleartext:
		if !d.secured() && !d.sql.Plaintext {
			return errPostgresClear
		}
		return d.send('p', append([]byte(password), 0))
	case pgMD5:
		if len(b) != 4 {
			return d.reason(errPostgres)
		}
		inner := md5.Sum([]byte(password + d.sql.User))
		outer := md5.Sum(append(hex.AppendEncode(nil, inner[:]), b...))
		return d.send('p', fmt.Appendf(nil, "md5%x\x00", outer))
	case pgSASL:
		if !slices.ContainsFunc(bytes.Split(b, []byte{0}), func(m []byte) bool { return string(m) == pgMechanism }) {
			return d.unlike("server wants a login by %s, which is not known", printable(string(bytes.TrimRight(b, "\x00"))))
		}
		first, err := login.first()
		if err != nil {
			return d.reason(err)
		}
		out := append([]byte(pgMechanism), 0)
		out = binary.BigEndian.AppendUint32(out, uint32(len(first)))
		return d.send('p', append(out, first...))
	case pgSASLContinue:
		final, err := login.final(ctx, password, string(b))
		if err != nil {
			return d.reason(err)
		}
		return d.send('p', []byte(final))
	case pgSASLFinal:
		return d.reason(login.verify(string(b)))
	}
	return fmt.Errorf("server wants a login of the kind %d, which is not known", way)
}

// query is the first value of the first row of what a query answers.
func (d *pgDialogue) query(text string) (string, error) {
	// Parse, Bind, Describe, Execute for one row, Sync: all unnamed, and as text.
	var out []byte
	for _, m := range []struct {
		kind byte
		body string
	}{
		{'P', "\x00" + text + "\x00\x00\x00"}, {'B', "\x00\x00\x00\x00\x00\x00\x00\x00"}, {'D', "P\x00"}, {'E', "\x00\x00\x00\x00\x01"}, {'S', ""},
	} {
		out = append(out, m.kind)
		out = binary.BigEndian.AppendUint32(out, uint32(4+len(m.body)))
		out = append(out, m.body...)
	}
	if _, err := d.Write(out); err != nil {
		return "", d.reason(err)
	}
	for {
		kind, b, err := d.receive("query")
		if err != nil {
			return "", err
		}
		switch kind {
		case '1', '2', 'T', 'n': // what was sent is understood
		case 'D':
			// The other rows go with the connection.
			return d.value(b)
		case 'C', 'I', 's', 'Z':
			return "", errNoRow
		default:
			return "", d.reason(errPostgres)
		}
	}
}

// value is the first value of a row.
func (d *pgDialogue) value(b []byte) (string, error) {
	if len(b) < 2 {
		return "", d.reason(errPostgres)
	}
	if columns := binary.BigEndian.Uint16(b); columns == 0 {
		return "NULL", nil
	}
	if b = b[2:]; len(b) < 4 {
		return "", d.reason(errPostgres)
	}
	n := int32(binary.BigEndian.Uint32(b))
	switch b = b[4:]; {
	case n == -1:
		return "NULL", nil
	case n < 0 || int(n) > len(b):
		return "", d.reason(errPostgres)
	}
	return string(b[:n]), nil
}
