package nlconn

import (
	"errors"
	"fmt"
	"time"
)

// How often and how long a list is asked for again that changes while it is told.
const (
	tries  = 50
	few    = 2
	within = 500 * time.Millisecond
)

// ErrInterrupted says that a list changed each time while the kernel told it, so that
// it is not known what is missing in it.
var ErrInterrupted = errors.New("it changed each time while it was read")

// Again reads once more what was interrupted, until it is not, but for half a second
// at most; then the error is ErrInterrupted. An error of the reading is final if that
// was not interrupted.
func Again(read func() (interrupted bool, err error)) error { return again(tries, read) }

func again(tries int, read func() (interrupted bool, err error)) error {
	began := time.Now()
	for n := 1; ; n++ {
		interrupted, err := read()
		if !interrupted {
			return err
		}
		if took := time.Since(began); n == tries || took >= within {
			if err != nil {
				return err
			}
			return fmt.Errorf("%w, %d times in %v", ErrInterrupted, n, took.Round(time.Millisecond))
		}
	}
}
