package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Agent asks an agent on the server what it thinks of itself: HAProxy's agent-check
// (its configuration manual, section 5.2). The agent says a line of words:
//
//	50%, weight:50%    a part of the configured weight
//	weight:50          a weight
//	ready              ends drain and maint
//	drain              no new connections
//	maint              no traffic
//	up                 ends down
//	down, fail, failed, stopped    no traffic, because of a failure
//
// and, after a #, why. Words that are not known are passed over, as there, unless there
// is no other; what it does not speak of stays as it said before. What it says holds at
// once. An agent that cannot be reached, or says nothing, is no failure, and one that
// says nothing bad is no success: other checks are there for that.
type Agent struct {
	// Send is sent first; empty sends nothing.
	Send string `key:"send"`
}

var (
	_ Question = Agent{}
	_ Mute     = Agent{}
)

// agentLine bounds what an agent may say.
const agentLine = 1024

// Kind is "agent".
func (Agent) Kind() string { return "agent" }

// String is empty.
func (Agent) String() string { return "" }

// Mute is part of Mute: an agent that is not heard is no failure.
func (Agent) Mute() bool { return true }

// Prepare is part of Question.
func (q Agent) Prepare() (ProbeFunc, error) {
	a := &agent{send: q.Send}
	return a.probe, nil
}

// agent is what an agent said so far.
type agent struct {
	send   string
	advice Advice
	down   bool
	why    string
}

func (a *agent) probe(ctx context.Context, t Target) (Answer, error) {
	line, err := a.listen(ctx, t)
	if errors.Is(err, ErrInconclusive) {
		return Answer{}, err
	}
	var said string
	if err != nil {
		said = "agent is not heard (" + err.Error() + "), and stands by what it said"
	} else if err := a.take(line); err != nil {
		said = err.Error()
	} else {
		said = "agent says " + printable(line)
	}
	if a.down {
		if err != nil {
			said += ": " + a.why
		}
		return Answer{Advice: a.advice, AtOnce: true}, errors.New(said)
	}
	return Answer{Detail: said, Advice: a.advice, Mute: true, AtOnce: true}, nil
}

// listen gets the line.
func (a *agent) listen(ctx context.Context, t Target) (string, error) {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if a.send != "" {
		if _, err := io.WriteString(conn, a.send); err != nil {
			return "", t.failure(err, "sending")
		}
	}
	var line []byte
	buf := make([]byte, agentLine)
	for len(line) < agentLine {
		n, err := conn.Read(buf)
		line = append(line, buf[:n]...)
		if i := bytes.IndexAny(buf[:n], "\r\n"); i >= 0 {
			line = line[:len(line)-n+i]
			break
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			break
		}
		if err != nil {
			return "", t.failure(err, "waiting for a line")
		}
	}
	return string(line), nil
}

// take takes a line in: the words that are known. A line without any leaves everything
// as it was.
func (a *agent) take(line string) error {
	words, why, _ := strings.Cut(line, "#")
	known := false
	for _, word := range strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		known = a.obey(strings.ToLower(word), strings.TrimSpace(why)) || known
	}
	switch {
	case known:
		return nil
	case strings.TrimSpace(words) == "":
		return fmt.Errorf("agent says nothing: %q", printable(line))
	}
	return fmt.Errorf("agent says %q, which is no word of an agent", printable(line))
}

// obey takes a word in, if it is known.
func (a *agent) obey(word, why string) (known bool) {
	switch word {
	case "ready":
		a.advice.Admin = AsIs
	case "drain":
		a.advice.Admin = Drain
	case "maint":
		a.advice.Admin = Maint
	case "up":
		a.down, a.why = false, ""
	case "down", "fail", "failed", "stopped":
		a.down, a.why = true, strings.TrimSpace(word+" "+printable(why))
	default:
		return a.advice.weigh(word)
	}
	return true
}

// weigh takes a weight in: 50%, weight:50% or weight:50.
func (a *Advice) weigh(word string) (known bool) {
	value, named := strings.CutPrefix(word, "weight:")
	number, percent := strings.CutSuffix(value, "%")
	n, err := strconv.ParseUint(number, 10, 16)
	switch {
	case err != nil || !named && !percent:
		return false
	case percent:
		a.Unit, a.Weight = Percent, int(n)
	default:
		a.Unit, a.Weight = Absolute, int(n)
	}
	return true
}
