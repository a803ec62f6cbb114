package healthcheck

import (
	"context"
	"strconv"
	"strings"
)

// IMAP wants to be greeted, and to be logged in if there is a user.
type IMAP struct {
	// Security is one of the ways to TLS; from the first byte it is IMAPS.
	Security string `key:"tls" oneof:"off,starttls"`
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	// Plaintext lets the password go over a connection without TLS.
	Plaintext bool `key:"plaintext"`
	TLS
}

// IMAPS is IMAP over TLS.
type IMAPS struct {
	// User and Password log in; empty is not at all.
	User     string `key:"user"`
	Password Secret `key:"password"`
	TLS
}

var (
	_ Question  = IMAP{}
	_ Validator = IMAP{}
	_ Question  = IMAPS{}
	_ Validator = IMAPS{}
)

// Kind is "imap".
func (IMAP) Kind() string { return "imap" }

// Kind is "imaps".
func (IMAPS) Kind() string { return "imaps" }

// String is the user.
func (q IMAP) String() string { return q.User }

// String is the user.
func (q IMAPS) String() string { return q.User }

// Validate is part of Validator.
func (q IMAP) Validate() []Problem {
	out := append(login(q.User, q.Password), q.problems()...)
	return append(out, inClear("password", q.Password, q.Security, q.Plaintext)...)
}

// Validate is part of Validator.
func (q IMAPS) Validate() []Problem {
	return IMAP{Security: tlsOn, User: q.User, Password: q.Password, TLS: q.TLS}.Validate()
}

// Prepare is part of Question.
func (q IMAP) Prepare() (ProbeFunc, error) {
	c := q.client()
	return func(ctx context.Context, t Target) (Answer, error) { return q.probe(ctx, t, c) }, nil
}

// Prepare is part of Question.
func (q IMAPS) Prepare() (ProbeFunc, error) {
	return IMAP{Security: tlsOn, User: q.User, Password: q.Password, TLS: q.TLS}.Prepare()
}

func (q IMAP) probe(ctx context.Context, t Target, c *tlsClient) (Answer, error) {
	s, err := t.open(ctx, "tcp", "IMAP", onlyIf(q.Security == tlsOn, c))
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	s.plausible, s.secrets = startsWith("*+T"), []Secret{q.Password}
	loggedIn, err := s.imapGreeting()
	if err != nil {
		return Answer{}, err
	}
	d := &imapDialogue{session: s}
	if q.Security == tlsStart {
		if err := d.ask("STARTTLS", "STARTTLS"); err != nil {
			return Answer{}, err
		}
		if err := s.secure(ctx, c); err != nil {
			return Answer{}, err
		}
	}
	if q.User != "" && !loggedIn {
		s.doing = "logging in"
		if err := d.ask("login", "LOGIN", q.User, string(q.Password)); err != nil {
			return Answer{}, err
		}
	}
	out := s.answer("%s", s.greeting())
	d.ask("LOGOUT", "LOGOUT") // a courtesy
	return out, nil
}

// imapGreeting reads the greeting, which may say that nobody needs to log in.
func (s *session) imapGreeting() (loggedIn bool, err error) {
	line, err := s.line()
	if err != nil {
		return false, s.reason(err)
	}
	word, text := imapStatus(strings.TrimPrefix(line, "* "))
	switch {
	case !strings.HasPrefix(line, "* "):
	case word == "OK":
		return false, nil
	case word == "PREAUTH":
		return true, nil
	case word == "BYE":
		return false, s.refused("greeting", text)
	}
	return false, s.liar()
}

// imapStatus splits "NO [CODE] text" (RFC 9051, 7.1) into its word in capitals and the text.
func imapStatus(line string) (word, text string) {
	word, text, _ = strings.Cut(line, " ")
	if rest, coded := strings.CutPrefix(text, "["); coded {
		if _, behind, ok := strings.Cut(rest, "]"); ok {
			text = strings.TrimSpace(behind)
		}
	}
	return strings.ToUpper(word), text
}

// imapDialogue numbers the commands of a session.
type imapDialogue struct {
	*session
	commands int
}

// ask gives a command with arguments, and wants OK. what names it in the reason.
func (d *imapDialogue) ask(what, command string, arguments ...string) error {
	d.commands++
	tag := "T" + strconv.Itoa(d.commands)
	line := tag + " " + command
	for _, a := range arguments {
		if imapQuotable(a) {
			line += ` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a) + `"`
			continue
		}
		// A literal: the server has to say that it is ready for it.
		if err := d.say(line + " {" + strconv.Itoa(len(a)) + "}"); err != nil {
			return d.reason(err)
		}
		if err := d.answered(what, "+"); err != nil {
			return err
		}
		line = a
	}
	if err := d.say(line); err != nil {
		return d.reason(err)
	}
	return d.answered(what, tag)
}

// imapQuotable reports whether a text can be a quoted string: ASCII, not too long.
func imapQuotable(text string) bool {
	return len(text) <= 1024 && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// answered passes over what the server says unasked, up to the answer to a tag. The tag +
// is that it is ready for more.
func (d *imapDialogue) answered(what, tag string) error {
	for {
		line, err := d.line()
		if err != nil {
			return d.reason(err)
		}
		if rest := line; len(rest) > 0 && rest[len(rest)-1] == '}' {
			if err := d.literal(rest); err != nil {
				return d.reason(err)
			}
		}
		who, rest, _ := strings.Cut(line, " ")
		word, text := imapStatus(rest)
		switch {
		case who == "+" && tag == "+":
			return nil
		case who == "+":
		case who == "*" && word == "BYE" && what != "LOGOUT":
			return d.refused(what, text)
		case who == "*":
		case who == tag && word == "OK":
			return nil
		case who == tag || tag == "+" && strings.HasPrefix(who, "T"):
			return d.refused(what, text)
		default:
			return unmet("answer is not IMAP: \"%s\"", d.discreet(printable(line)))
		}
	}
}

// literal passes over the literals that a line ends with, such as {5}, and what follows
// them.
func (d *imapDialogue) literal(line string) error {
	for {
		i := strings.LastIndexByte(line, '{')
		if i < 0 || !strings.HasSuffix(line, "}") {
			return nil
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(line[i+1:len(line)-1], "+"), 10, 32)
		if err != nil {
			return nil // it only looks like one
		}
		if n > sessionLimit {
			return errTooLong
		}
		if _, err := d.in.Discard(int(n)); err != nil {
			return err
		}
		if line, err = d.line(); err != nil {
			return err
		}
	}
}
