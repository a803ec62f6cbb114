//go:build !linux

package connsync

// Open fails: IPVS is in Linux only.
func Open() (Kernel, error) { return nil, ErrNoIPVS }
