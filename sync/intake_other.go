//go:build !linux

package connsync

import (
	"errors"
	"iter"
)

// Host is the kernel of the process's network namespace; this is not Linux and has
// none.
type Host struct{}

// Conns is part of System.
func (Host) Conns(bool) iter.Seq2[Conn, error] {
	return func(yield func(Conn, error) bool) { yield(Conn{}, ErrNoIPVS) }
}

// Intake is part of System.
func (Host) Intake(Daemon, func() []uint64) (Intake, error) { return nil, errors.ErrUnsupported }

// Tap is part of System.
func (Host) Tap(Daemon) (Hearer, error) { return nil, errors.ErrUnsupported }
