//go:build !linux

package vrrp

import (
	"errors"
	"time"
)

// NewPort exists on Linux only.
func NewPort() (Port, error) {
	return nil, errors.ErrUnsupported
}

// boottime stands still: only Linux can tell how long it slept.
func boottime() time.Duration { return 0 }
