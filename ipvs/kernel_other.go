//go:build !linux

package ipvs

import "time"

// Open fails: IPVS is in Linux only.
func Open() (Kernel, error) { return nil, ErrNoIPVS }

// monotonic returns the wall clock where there is no IPVS to compare it with.
func monotonic() time.Duration { return time.Duration(time.Now().UnixNano()) }
