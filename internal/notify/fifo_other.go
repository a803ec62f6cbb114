//go:build !linux

package notify

import "errors"

// openFIFO exists on Linux only.
type openFIFO struct{}

func (o *openFIFO) open(path string) error {
	if path == "" {
		return nil
	}
	return errors.ErrUnsupported
}

func (o *openFIFO) write(string) (full bool, err error) { return false, errors.ErrUnsupported }

func (o *openFIFO) close() {}
