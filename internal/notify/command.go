package notify

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Command is a program by its absolute path, and its arguments.
type Command []string

// Split makes a command of one string, as keepalived's notify has it: words are
// separated by blanks; quotes of either kind, and a backslash outside single
// ones, keep blanks in a word. Nothing is expanded, as there is no shell.
func Split(text string) (Command, error) {
	var out Command
	var word strings.Builder
	inWord, escaped, quote := false, false, rune(0)
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			inWord, escaped = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			inWord, quote = true, r
		case quote == 0 && (r == ' ' || r == '\t' || r == '\n'):
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			inWord = true
			word.WriteRune(r)
		}
	}
	switch {
	case quote != 0:
		return nil, errors.New("a quote is not closed")
	case escaped:
		return nil, errors.New("a backslash stands at the end")
	case inWord:
		out = append(out, word.String())
	}
	if len(out) == 0 {
		return nil, errors.New("there is no program")
	}
	return out, nil
}

// Hooks are the programs of one object.
type Hooks struct {
	// On are those of one state.
	On map[State]Command
	// Any runs at every state, and gets keepalived's four arguments.
	Any Command
}

// Config is what is to be told to whom.
type Config struct {
	// Common runs at every state of every object, and gets the four arguments.
	Common Command
	// Hooks are the programs of single objects.
	Hooks map[Object]Hooks
	// Timeout bounds each program.
	Timeout time.Duration
	// User runs the programs; empty is the daemon's own.
	User string
	// FIFO is the path of a FIFO that gets every state as a line; empty is none.
	FIFO string
}

// programs says whether there is any program.
func (c Config) programs() bool { return len(c.Common) > 0 || len(c.Hooks) > 0 }

// commands are what has to run for an event, in this order: of the state, of the
// object, of all objects.
func (c Config) commands(h Hooks, e Event) []Command {
	var out []Command
	if own := h.On[e.To]; len(own) > 0 {
		out = append(out, own)
	}
	for _, any := range []Command{h.Any, c.Common} {
		if len(any) > 0 {
			out = append(out, slices.Concat(any, e.arguments()))
		}
	}
	return out
}
