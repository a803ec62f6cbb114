//go:build !linux

package ipvs

// Helpers returns none: there is IPVS on Linux only.
func Helpers() ([]string, error) { return nil, nil }
