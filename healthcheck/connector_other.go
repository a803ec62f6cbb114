//go:build !linux

package healthcheck

import (
	"context"
	"errors"
	"time"
)

// connector is for Linux; elsewhere each probe has a goroutine.
type connector struct{}

type landing struct {
	*flight
	err  error
	took time.Duration
}

func newConnector(func([]landing)) (*connector, error) { return nil, errors.ErrUnsupported }

func (*connector) start(*entry, Target, time.Time) error { return errors.ErrUnsupported }

func (*connector) run(context.Context) error { return nil }

func (*connector) setPolled(bool) {}

func (*connector) poll(time.Time) error { return nil }
