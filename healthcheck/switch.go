package healthcheck

import (
	"context"
	"errors"
)

// Switch is a check that asks nobody: a server that is always up, or always down.
type Switch struct {
	// On is which.
	On bool
}

var _ Question = Switch{}

// Kind is "on" or "off".
func (q Switch) Kind() string {
	if q.On {
		return "on"
	}
	return "off"
}

// String is empty.
func (Switch) String() string { return "" }

// Prepare is part of Question.
func (q Switch) Prepare() (ProbeFunc, error) {
	return func(context.Context, Target) (Answer, error) {
		if q.On {
			return Answer{Detail: "switched on in the file"}, nil
		}
		return Answer{}, errors.New("switched off in the file")
	}, nil
}
