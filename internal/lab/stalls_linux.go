package lab

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stallBeat is how often the probe of stalls wants to run.
	stallBeat = time.Millisecond
	// stallLeast is what is no stall: an emulated machine's timers alone are late by
	// some of it.
	stallLeast = 3 * time.Millisecond
)

// Stalls is a probe of the machine itself: a thread of ordinary priority that sleeps
// for a millisecond at a time and keeps when it ran late. What is timed beside it
// may take as much longer as the machine did not run.
type Stalls struct {
	stop atomic.Bool
	done sync.WaitGroup

	mu   sync.Mutex // guards seen
	seen []stall
}

// stall is a time in which the probe should have run and did not.
type stall struct{ begin, end time.Time }

// WatchStalls starts a probe.
func WatchStalls() *Stalls {
	s := &Stalls{}
	s.done.Go(s.watch)
	return s
}

func (s *Stalls) watch() {
	// The thread is the probe's alone, so that it measures the machine and not the
	// runtime's queues.
	runtime.LockOSThread()
	for !s.stop.Load() {
		due := time.Now().Add(stallBeat)
		beat := unix.NsecToTimespec(int64(stallBeat))
		// A signal ends it early, which is no stall.
		_ = unix.Nanosleep(&beat, nil)
		if now := time.Now(); now.Sub(due) > stallLeast {
			s.mu.Lock()
			s.seen = append(s.seen, stall{due, now})
			s.mu.Unlock()
		}
	}
}

// Between is for how long the machine did not run from one time to another.
func (s *Stalls) Between(from, to time.Time) (sum time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.seen {
		begin, end := x.begin, x.end
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(end.Sub(begin), 0)
	}
	return sum
}

// Stop ends the probe.
func (s *Stalls) Stop() {
	s.stop.Store(true)
	s.done.Wait()
}
