package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lvsha/internal/program"
)

// Exec runs a program and wants exit status 0.
type Exec struct {
	// Command is the program and its arguments. It is run without a shell. {server},
	// {port}, {vip} and {vport} in it stand for what they say.
	Command List `key:"command" required:"the program and its arguments, such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]" want:"a list of the program and its arguments such as [\"/usr/local/lib/lvsha/check-db\", \"replica\"]; there is no shell"`
	// User runs the command as that user; empty means the daemon's.
	User string `key:"user"`
	// Dynamic takes an exit status of 2 to 255 for success, with a weight of the
	// status less 2 (keepalived's misc_dynamic).
	Dynamic bool `key:"dynamic"`
}

var (
	_ Question  = Exec{}
	_ Validator = Exec{}
)

// Kind is "exec".
func (Exec) Kind() string { return "exec" }

// String is the command.
func (q Exec) String() string { return strings.Join(q.Command.Items(), " ") }

// Validate is part of Validator.
func (q Exec) Validate() (out []Problem) {
	argv := q.Command.Items()
	if len(argv) > 0 && !strings.HasPrefix(argv[0], "/") {
		out = append(out, Problem{Key: "command", Item: 1, Message: fmt.Sprintf("want the program's absolute path, got %q", argv[0])})
	}
	if strings.ContainsFunc(q.User, func(r rune) bool { return r <= ' ' || r == ':' }) {
		out = append(out, Problem{Key: "user", Message: fmt.Sprintf("want the name of a user, got %q", q.User)})
	}
	return out
}

// Prepare is part of Question.
func (q Exec) Prepare() (ProbeFunc, error) { return q.probe, nil }

// probe runs the program. It finds the server in LVSHA_SERVER and LVSHA_PORT. One that
// this machine keeps from running, or from starting programs of its own, has found out
// nothing.
func (q Exec) probe(ctx context.Context, t Target) (Answer, error) {
	argv := List(t.fill(string(q.Command))).Items()
	out, err := program.Run(ctx, program.Program{
		Command: argv, User: q.User, Bounded: true,
		Env: []string{
			"LVSHA_SERVER=" + t.Server.Addr().String(),
			"LVSHA_PORT=" + strconv.Itoa(int(t.Server.Port())),
		},
	})
	said := func(s string) string { return strings.Join(append([]string{s}, out.Lines(1)...), ": ") }
	var exit *program.ExitError
	switch {
	case err == nil:
		return Answer{Detail: said("exit status 0")}, nil
	case errors.Is(err, program.ErrKilled):
		return Answer{}, &timeoutError{after: t.Check.Timeout, doing: "running " + argv[0]}
	case errors.Is(err, program.ErrMachine):
		return Answer{}, fmt.Errorf("%w: %s", ErrInconclusive, said(err.Error()))
	case !errors.As(err, &exit):
		return Answer{}, err
	}
	if n := exit.ExitCode(); q.Dynamic && n >= 2 {
		return Answer{Detail: said(exit.Error()), Advice: Advice{Unit: Instead, Weight: n - 2}}, nil
	}
	return Answer{}, errors.New(said(exit.Error()))
}
