//go:build !linux

package packetfilter

// Open fails: there is nftables on Linux only.
func Open() (Kernel, error) { return nil, ErrNoNftables }
