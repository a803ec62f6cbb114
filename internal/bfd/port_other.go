//go:build !linux

package bfd

import "errors"

// NewPort exists on Linux only.
func NewPort() (Port, error) { return nil, errors.ErrUnsupported }
