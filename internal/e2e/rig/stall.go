package rig

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Stalls measures, on every processor, for how long the machine lets a thread wait that
// is ready to run. What is to happen within milliseconds has that much more time where a
// machine has other work.
type Stalls struct {
	stop    atomic.Bool
	threads sync.WaitGroup

	mu      sync.Mutex // guards what follows
	longest time.Duration
	err     error
}

const (
	// stallTick is how often a thread looks.
	stallTick = time.Millisecond
	// ordinary is what a machine without other work may take to wake a thread.
	ordinary = 5 * time.Millisecond
	// wakeups is how many threads are woken one after the other until a client has an
	// answer of another director: the daemon's timer, the worker of its interface, the
	// kernel's delivery to the client, and the client.
	wakeups = 4
)

// StartStalls begins to measure.
func StartStalls() (*Stalls, error) {
	var processors unix.CPUSet
	if err := unix.SchedGetaffinity(0, &processors); err != nil {
		return nil, fmt.Errorf("asking for the processors: %w", err)
	}
	s := &Stalls{}
	for i, left := 0, processors.Count(); left > 0; i++ {
		if processors.IsSet(i) {
			s.threads.Go(func() { s.watch(i) })
			left--
		}
	}
	return s, nil
}

// watch sleeps and looks how late it wakes up.
func (s *Stalls) watch(processor int) {
	// The thread ends with the goroutine, so nobody else is bound to the processor.
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(processor)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		s.note(0, fmt.Errorf("binding a thread to processor %d: %w", processor, err))
		return
	}
	for last := time.Now(); !s.stop.Load(); {
		ts := unix.NsecToTimespec(int64(stallTick))
		_ = unix.Nanosleep(&ts, nil) // a signal ends it early, which is no stall
		now := time.Now()
		s.note(now.Sub(last)-stallTick, nil)
		last = now
	}
}

func (s *Stalls) note(late time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, late)
	if s.err == nil {
		s.err = err
	}
}

// Stop ends the measurement and returns by how much the machine may have delayed what
// happened meanwhile: zero where it had nothing else to do.
func (s *Stalls) Stop() (time.Duration, error) {
	s.stop.Store(true)
	s.threads.Wait()
	if s.longest < ordinary {
		return 0, s.err
	}
	return wakeups * s.longest, s.err
}

// Stalls measures until stop is called, which returns by how much the machine may have
// delayed what happened meanwhile.
func (r *Rig) Stalls() (stop func() time.Duration) {
	r.Helper()
	s, err := StartStalls()
	r.Check(err)
	r.Cleanup(func() { s.Stop() }) // of a test that has failed meanwhile
	return func() time.Duration {
		r.Helper()
		stall, err := s.Stop()
		r.Check(err)
		return stall
	}
}
