package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/reconcile"
)

// wish is what a test wants: a text, by number.
type wish struct {
	generation uint64
	text       string
}

// scribe is a worker that has one text written, and whose calls are in a log.
type scribe struct {
	mu            sync.Mutex // guards everything below
	there, wanted string
	generation    uint64
	took          time.Duration // how long a turn takes
	refuse        error
	failed        time.Duration
	log           []string
	closed        bool
	told          func()
}

func (s *scribe) Turn(w *wish, look bool) (t reconcile.Turn[string]) {
	s.mu.Lock()
	took := s.took
	s.mu.Unlock()
	time.Sleep(took)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w != nil:
		s.wanted, s.generation, s.failed = w.text, w.generation, 0
		s.log = append(s.log, "want "+w.text)
	case look:
		s.log = append(s.log, "look")
	default:
		s.log = append(s.log, "turn")
	}
	t.Next = time.Minute
	if s.refuse == nil {
		s.failed = 0
		if s.wanted != "" {
			s.there = s.wanted
		}
	} else {
		s.failed = reconcile.Backoff(s.failed, time.Second, 30*time.Second)
		t.Next = s.failed
	}
	t.Status, t.Generation, t.Err, t.Tell = s.there, s.generation, s.refuse, s.told
	return t
}

func (s *scribe) Release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, "release")
	if s.refuse == nil {
		s.there = ""
	}
	s.wanted = ""
	return s.refuse
}

func (s *scribe) Close() { s.closed = true }

// running runs a test over a reconciler, inside a synctest bubble.
func running(t *testing.T, test func(*testing.T, *reconcile.Reconciler[wish, string], *scribe)) {
	synctest.Test(t, func(t *testing.T) {
		s := new(scribe)
		r := reconcile.New(s, "starting")
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(t, r, s)
		cancel()
		group.Wait()
		if !s.closed {
			t.Error("the worker was not closed")
		}
	})
}

// seen are the calls since the last time.
func (s *scribe) seen() (calls int, text string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, text = len(s.log), fmt.Sprint(s.log)
	s.log = nil
	return calls, text
}

// holds is the text that is there.
func (s *scribe) holds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.there
}

// change has a test change something.
func (s *scribe) change(how func(*scribe)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// TestLatestWins: of several wishes during a turn the last is carried out, and all who wait
// for an earlier one are answered by it.
func TestLatestWins(t *testing.T) {
	running(t, func(t *testing.T, r *reconcile.Reconciler[wish, string], s *scribe) {
		if got := r.Snapshot(); got != "starting" {
			t.Errorf("status before the first turn is %q", got)
		}
		if _, got := s.seen(); got != "[turn]" || r.Snapshot() != "" {
			t.Errorf("before anything is wanted: %s, status %q", got, r.Snapshot())
		}
		s.change(func(s *scribe) { s.took = time.Second })
		r.Set(wish{1, "one"})
		synctest.Wait() // it is being carried out
		for g := range uint64(1000) {
			r.Set(wish{2 + g, fmt.Sprint("wish ", 2+g)})
		}
		if !r.Waiting() {
			t.Error("nothing waits")
		}
		var group sync.WaitGroup
		for _, g := range []uint64{1, 500, 1001} {
			group.Go(func() {
				begin := time.Now()
				err := r.Applied(t.Context(), g)
				if took, want := time.Since(begin), map[bool]time.Duration{true: time.Second, false: 2 * time.Second}[g == 1]; err != nil || took != want {
					t.Errorf("generation %d was applied after %v (%v), want %v", g, took, err, want)
				}
			})
		}
		group.Wait()
		if _, got := s.seen(); got != "[want one want wish 1001]" || r.Snapshot() != "wish 1001" || r.Waiting() {
			t.Errorf("%s, status %q", got, r.Snapshot())
		}
		if err := r.Applied(t.Context(), 7); err != nil {
			t.Errorf("Applied for what is long past: %v", err)
		}
	})
}

// TestPace: a turn comes when the worker said, sooner when there is something in the
// mailbox, and less and less often when something fails.
func TestPace(t *testing.T) {
	running(t, func(t *testing.T, r *reconcile.Reconciler[wish, string], s *scribe) {
		s.seen()
		time.Sleep(time.Hour)
		if n, _ := s.seen(); n != 60 {
			t.Errorf("%d turns in an hour, want 60", n)
		}
		r.Set(wish{1, "one"})
		if _, got := s.seen(); got != "[want one]" {
			t.Errorf("at once: %s", got)
		}
		// Somebody changes it.
		s.change(func(s *scribe) { s.there = "other" })
		time.Sleep(time.Minute)
		if _, got := s.seen(); got != "[turn]" || r.Snapshot() != "one" {
			t.Errorf("at the next look: %s, status %q", got, r.Snapshot())
		}
		refused := errors.New("refused")
		s.change(func(s *scribe) { s.refuse = refused })
		r.Set(wish{2, "two"})
		if err := r.Applied(t.Context(), 2); !errors.Is(err, refused) || r.Snapshot() != "one" {
			t.Errorf("Applied: %v, status %q", err, r.Snapshot())
		}
		s.seen()
		time.Sleep(10 * time.Minute)
		if n, _ := s.seen(); n < 20 || n > 25 {
			t.Errorf("%d attempts in ten minutes, want one in 30 s", n)
		}
		s.change(func(s *scribe) { s.refuse = nil })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if err := r.Applied(t.Context(), 2); err != nil || r.Snapshot() != "two" {
			t.Errorf("Applied when it is not refused any more: %v, status %q", err, r.Snapshot())
		}
	})
}

// TestFlush: what is ours is gone when it returns, what was set before does not come back,
// and what is set after it comes.
func TestFlush(t *testing.T) {
	running(t, func(t *testing.T, r *reconcile.Reconciler[wish, string], s *scribe) {
		r.Set(wish{1, "one"})
		if err := r.Settled(t.Context()); err != nil || s.holds() != "one" {
			t.Errorf("Settled: %v, there is %q", err, s.holds())
		}
		s.seen()
		s.change(func(s *scribe) { s.took = time.Second })
		r.Set(wish{2, "two"})
		synctest.Wait() // in the midst of its turn
		r.Set(wish{3, "three"})
		var group sync.WaitGroup
		group.Go(func() {
			if err := r.Settled(t.Context()); err != nil {
				t.Errorf("Settled for what was flushed: %v", err)
			}
		})
		group.Go(func() {
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := r.Applied(soon, 3); !errors.Is(err, reconcile.ErrReleased) {
				t.Errorf("Applied for what was flushed: %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			if err := r.Flush(t.Context()); err != nil || s.holds() != "" {
				t.Errorf("Flush: %v, there is %q", err, s.holds())
			}
		})
		group.Wait()
		if _, got := s.seen(); got != "[want two release turn]" || r.Snapshot() != "" {
			t.Errorf("%s, status %q", got, r.Snapshot())
		}
		time.Sleep(time.Hour)
		if s.seen(); s.holds() != "" {
			t.Errorf("%q came back", s.holds())
		}

		// What was flushed is not waited for, and what has been carried out was.
		if err := errors.Join(r.Applied(t.Context(), 2), r.Settled(t.Context())); err != nil {
			t.Error(err)
		}
		if err := r.Applied(t.Context(), 3); !errors.Is(err, reconcile.ErrReleased) {
			t.Errorf("Applied after a flush: %v", err)
		}

		// Both wait at the same time: first the one, then the other.
		group.Go(func() {
			if _, err := r.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			if err := r.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		r.Set(wish{4, "four"})
		group.Wait()
		if s.seen(); s.holds() != "four" {
			t.Errorf("%q after a wish that came after the flush", s.holds())
		}
		refused := errors.New("refused")
		s.change(func(s *scribe) { s.refuse = refused })
		if err := r.Flush(t.Context()); !errors.Is(err, refused) {
			t.Errorf("Flush: %v", err)
		}
	})
}

// TestRefresh: it looks now, and returns what it saw.
func TestRefresh(t *testing.T) {
	running(t, func(t *testing.T, r *reconcile.Reconciler[wish, string], s *scribe) {
		s.seen()
		s.change(func(s *scribe) { s.there = "left by another" })
		if got, err := r.Refresh(t.Context()); err != nil || got != "left by another" {
			t.Errorf("Refresh: %q, %v", got, err)
		}
		if _, got := s.seen(); got != "[look]" {
			t.Errorf("%s", got)
		}
	})
}

// TestTell: whoever waits has his answer before the world is told.
func TestTell(t *testing.T) {
	running(t, func(t *testing.T, r *reconcile.Reconciler[wish, string], s *scribe) {
		synctest.Wait()
		answered := make(chan error, 1)
		s.change(func(s *scribe) {
			// Applied can be called from there, and does not wait.
			s.told = sync.OnceFunc(func() { answered <- r.Applied(t.Context(), 1) })
		})
		r.Set(wish{1, "one"})
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

// TestGivesUp: nobody waits longer than he wants, also for a reconciler that does not run.
func TestGivesUp(t *testing.T) {
	r := reconcile.New(new(scribe), "starting")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Set(wish{1, "one"})
	_, refreshed := r.Refresh(ctx)
	for what, err := range map[string]error{
		"Applied": r.Applied(ctx, 1), "Settled": r.Settled(ctx), "Refresh": refreshed, "Flush": r.Flush(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRecord(t *testing.T) {
	var written []int
	var refuse error
	r := reconcile.Record[int]{
		What: "numbers", Same: func(a, b int) bool { return a == b }, Written: 1,
		Write: func(n int) error {
			if refuse == nil {
				written = append(written, n)
			}
			return refuse
		},
	}
	r.Keep(1)
	r.Keep(2)
	refuse = errors.New("no space left on device")
	r.Keep(3)
	if r.Err == nil || r.Err.Error() != "recording numbers: no space left on device" || !errors.Is(r.Err, refuse) {
		t.Errorf("error %v", r.Err)
	}
	refuse = nil
	r.Keep(3)
	if fmt.Sprint(written) != "[2 3]" || r.Err != nil {
		t.Errorf("written %v, error %v", written, r.Err)
	}
	// Back to what is written down: nothing is missing any more.
	refuse = errors.New("read-only")
	r.Keep(4)
	r.Keep(3)
	if r.Err != nil {
		t.Errorf("error %v", r.Err)
	}
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for wait := time.Duration(0); len(got) < 5; {
		wait = reconcile.Backoff(wait, time.Second, 5*time.Second)
		got = append(got, wait)
	}
	if fmt.Sprint(got) != "[1s 2s 4s 5s 5s]" {
		t.Errorf("%v", got)
	}
}
