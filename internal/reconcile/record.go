package reconcile

import "fmt"

// Record keeps what is ours written down outside of the process, so that a crash leaves
// no orphans. It belongs to the goroutine of its worker.
type Record[T any] struct {
	// What names it in errors: "what is ours in IPVS".
	What string
	// Write writes it down; nil writes nothing.
	Write func(T) error
	// Same reports whether two are equal.
	Same func(a, b T) bool
	// Written is what is written down; at the start what an earlier process wrote.
	Written T
	// Err is why the last Keep failed, or nil.
	Err error
}

// Keep writes down what is ours, if that is not what is written down. It is called
// before something is made, and after it was removed. When it fails the change is made
// all the same, because what does not serve is worse than what has no owner; Err is
// shown, and the next Keep tries again.
func (r *Record[T]) Keep(ours T) {
	r.Err = nil
	if r.Same(ours, r.Written) {
		return
	}
	if r.Write != nil {
		if err := r.Write(ours); err != nil {
			r.Err = fmt.Errorf("recording %s: %w", r.What, err)
			return
		}
	}
	r.Written = ours
}
