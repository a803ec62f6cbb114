package track

import (
	"fmt"
	"time"
)

// hangs is after how long a reading that has not ended is told as what it is.
const hangs = 5 * time.Second

// reading is something that is read on a goroutine of its own: a file may hang for ever,
// and then neither another condition nor the end of the process waits for it. The zero
// value reads nothing.
type reading[T any] struct {
	answer chan T // nil while nothing is read
	since  time.Time
}

// begin reads, and calls ended when that is done, unless an earlier reading goes on. Nobody
// waits for the goroutine, as nobody can end it.
func (r *reading[T]) begin(now time.Time, read func() T, ended func()) {
	if r.answer != nil {
		return
	}
	answer := make(chan T, 1)
	r.answer, r.since = answer, now
	go func() {
		answer <- read()
		ended()
	}()
}

// taken returns what was read; ok is false where nothing was, or not yet.
func (r *reading[T]) taken() (what T, ok bool) {
	select {
	case what = <-r.answer:
		r.answer = nil
		return what, true
	default:
		return what, false
	}
}

// going reports whether something is read.
func (r *reading[T]) going() bool { return r.answer != nil }

// stuck is why nothing is known while a reading hangs; empty while it does not. due is when
// that has to be asked again.
func (r *reading[T]) stuck(now time.Time, what string) (why string, due time.Time) {
	if at := r.since.Add(hangs); now.Before(at) {
		return "", at
	}
	return fmt.Sprintf("reading %s has not ended since %s: what it is on does not answer", what, r.since.Format(time.TimeOnly)), time.Time{}
}
