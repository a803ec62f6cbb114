package notify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/notify"
	"lvsha/internal/program"
)

// stage is a Notifier whose programs are a sleep, and what they did.
type stage struct {
	testing.TB
	*notify.Notifier
	end func()

	mu      sync.Mutex // guards what follows
	log     []string
	results []notify.Result
	active  map[string]bool
	most    int
	// takes is how long a program runs.
	takes func() time.Duration
	// short is how many times more no program can be started.
	short int
}

func newStage(t *testing.T, takes func() time.Duration) *stage {
	s := &stage{TB: t, active: make(map[string]bool), takes: takes}
	s.Notifier = notify.New(notify.Options{Run: s.run, OnResult: func(r notify.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.results = append(s.results, r)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Notifier.Run(ctx) }()
	s.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return s
}

// run is a program whose arguments are its object and its state.
func (s *stage) run(ctx context.Context, p program.Program) (program.Output, error) {
	line := strings.Join(p.Command, " ")
	object := p.Command[2]
	s.mu.Lock()
	if s.active[object] {
		s.Errorf("two programs of %s at a time", object)
	}
	s.active[object] = true
	s.most = max(s.most, len(s.active))
	s.log = append(s.log, line)
	takes, short := s.takes(), s.short > 0
	if short {
		s.short--
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.active, object)
	}()
	if short {
		return "", &program.StartError{Program: p, Err: syscall.EAGAIN}
	}
	select {
	case <-time.After(takes):
		return "done", nil
	case <-ctx.Done():
		return "", errors.New("killed")
	}
}

func (s *stage) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

func fixed(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func web(to notify.State) notify.Event {
	return notify.Event{Object: notify.Object{Kind: notify.Router, Name: "web"}, To: to, Priority: 150}
}

var common = notify.Config{Common: notify.Command{"/c"}, Timeout: time.Minute}

// TestCoalescing: the first and the last of a burst run, what was overtaken does
// not, and the order is kept.
func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(time.Second))
		s.Set(common)
		for _, to := range []notify.State{notify.Backup, notify.Active, notify.Backup, notify.Fault, notify.Backup, notify.Active} {
			s.Tell(web(to))
			time.Sleep(time.Millisecond)
		}
		s.Wait(t.Context())
		if diff := cmp.Diff([]string{"/c INSTANCE web BACKUP 150", "/c INSTANCE web MASTER 150"}, s.lines()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if last := s.results[1]; last.Skipped != 4 || last.Event.From != notify.Backup || last.Took != time.Second || last.Output != "done" {
			t.Errorf("%+v", last)
		}
		// With time in between each one runs.
		for _, to := range []notify.State{notify.Backup, notify.Fault, notify.Active} {
			s.Tell(web(to))
			time.Sleep(2 * time.Second)
		}
		want := []string{"/c INSTANCE web BACKUP 150", "/c INSTANCE web FAULT 150", "/c INSTANCE web MASTER 150"}
		if diff := cmp.Diff(want, s.lines()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		s.end()
	})
}

// TestOrderAtRandom: whatever comes when, what runs of an object is a part of
// what came, in its order, with the first and the last.
func TestOrderAtRandom(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			pace := rand.New(rand.NewPCG(seed, 3)) // under the stage's mutex
			s := newStage(t, func() time.Duration { return time.Duration(pace.IntN(100)) * time.Millisecond })
			s.Set(common)
			told := make(map[string][]string)
			for i := range 200 {
				name := fmt.Sprintf("r%d", random.IntN(30))
				e := notify.Event{Object: notify.Object{Kind: notify.Router, Name: name}, To: notify.Active, Priority: uint8(i)}
				told[name] = append(told[name], fmt.Sprintf("/c INSTANCE %s MASTER %d", name, i))
				s.Tell(e)
				time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
			}
			s.Wait(t.Context())
			ran := make(map[string][]string)
			for _, line := range s.lines() {
				ran[strings.Fields(line)[2]] = append(ran[strings.Fields(line)[2]], line)
			}
			for name, want := range told {
				got := ran[name]
				if len(got) == 0 || got[len(got)-1] != want[len(want)-1] {
					t.Fatalf("seed %d, %s: the last did not run", seed, name)
				}
				at := 0
				for _, line := range got {
					for at < len(want) && want[at] != line {
						at++
					}
					if at == len(want) {
						t.Fatalf("seed %d, %s: %q of %q", seed, name, got, want)
					}
				}
			}
			if s.most > 16 || s.most < 2 {
				t.Errorf("seed %d: %d programs at a time", seed, s.most)
			}
			s.end()
		})
	}
}

// TestHooks: which programs run at which state, with which arguments.
func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(0))
		cfg := common
		object := notify.Object{Kind: notify.Router, Name: "web"}
		group := notify.Object{Kind: notify.Group, Name: "all"}
		cfg.Hooks = map[notify.Object]notify.Hooks{
			object: {On: map[notify.State]notify.Command{notify.Active: {"/a", "1", "web"}}, Any: notify.Command{"/any"}},
			group:  {On: map[notify.State]notify.Command{notify.Stopped: {"/s", "x", "all"}}},
		}
		s.Set(cfg)
		for _, e := range []notify.Event{web(notify.Active), web(notify.Backup), {Object: group, To: notify.Stopped}} {
			s.Tell(e)
			s.Wait(t.Context())
		}
		// An object that left the file has its programs until it was stopped.
		s.Set(common)
		for range 2 {
			s.Tell(web(notify.Stopped))
			s.Wait(t.Context())
		}
		want := []string{
			"/a 1 web", "/any INSTANCE web MASTER 150", "/c INSTANCE web MASTER 150",
			"/any INSTANCE web BACKUP 150", "/c INSTANCE web BACKUP 150",
			"/s x all", "/c GROUP all STOP 0",
			"/any INSTANCE web STOP 150", "/c INSTANCE web STOP 150",
			"/c INSTANCE web STOP 150",
		}
		if diff := cmp.Diff(want, s.lines()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		s.end()
	})
}

// TestTimeout: a program that hangs holds up its own object only, and only for
// so long.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(time.Hour))
		s.Set(common)
		begin := time.Now()
		s.Tell(web(notify.Active))
		other := web(notify.Active)
		other.Object.Name = "other"
		s.Tell(other)
		time.Sleep(time.Second)
		if got := s.lines(); len(got) != 2 {
			t.Errorf("%q", got)
		}
		s.Wait(t.Context())
		if took := time.Since(begin); took != time.Minute || len(s.results) != 2 || s.results[0].Err == nil {
			t.Errorf("took %s, %+v", took, s.results)
		}
		s.end()
	})
}

// TestClose: what runs is waited for, what waits is dropped, and nothing is taken.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(time.Second))
		s.Set(common)
		s.Tell(web(notify.Active))
		time.Sleep(time.Millisecond)
		s.Tell(web(notify.Backup))
		s.Close()
		s.Tell(web(notify.Fault))
		begin := time.Now()
		s.Wait(t.Context())
		if took := time.Since(begin); took != 999*time.Millisecond {
			t.Errorf("waited %s", took)
		}
		time.Sleep(time.Minute)
		if got := s.lines(); len(got) != 1 {
			t.Errorf("%q", got)
		}
		s.end()
	})
}

// TestEnd: the end of everything waits for nothing.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(time.Hour))
		s.Set(common)
		s.Tell(web(notify.Active))
		time.Sleep(time.Millisecond)
		s.end()
		if len(s.results) != 0 {
			t.Errorf("%+v", s.results)
		}
	})
}

// TestShort: a program that this machine is too short of processes to start is started
// when it is not any more, and that it could not be is told once.
func TestShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fixed(time.Second))
		s.Set(common)
		s.short = 5
		begin := time.Now()
		s.Tell(web(notify.Active))
		s.Wait(t.Context())
		if took := time.Since(begin); took != 6*time.Second || len(s.lines()) != 6 {
			t.Errorf("took %s", took)
		}
		if r := s.results; len(r) != 2 || !r[0].Again || !errors.Is(r[0].Err, program.ErrMachine) || r[1].Again || r[1].Err != nil || r[1].Output != "done" {
			t.Errorf("%+v", r)
		}

		// A state that is overtaken meanwhile is not told late.
		s.results, s.short = nil, 5
		s.Tell(web(notify.Backup))
		time.Sleep(1500 * time.Millisecond)
		s.Tell(web(notify.Fault))
		s.Wait(t.Context())
		want := []string{
			"/c INSTANCE web BACKUP 150", "/c INSTANCE web BACKUP 150",
			"/c INSTANCE web FAULT 150", "/c INSTANCE web FAULT 150", "/c INSTANCE web FAULT 150", "/c INSTANCE web FAULT 150",
		}
		if diff := cmp.Diff(want, s.lines()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if r := s.results; len(r) != 3 || !r[0].Again || !r[1].Again || r[2].Err != nil || r[2].Skipped != 1 {
			t.Errorf("%+v", r)
		}

		// Nor is one when the next process will tell its own.
		s.short = 1000
		s.Tell(web(notify.Active))
		time.Sleep(1500 * time.Millisecond)
		s.Close()
		begin = time.Now()
		s.Wait(t.Context())
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("waited %s", took)
		}

		// And the end of everything does not wait.
		s.end()
	})
}

// TestNotStarted: what is the program's own fault is told, and not tried again.
func TestNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var results []notify.Result
		n := notify.New(notify.Options{
			Run: func(_ context.Context, p program.Program) (program.Output, error) {
				return "", &program.StartError{Program: p, Err: syscall.ENOENT}
			},
			OnResult: func(r notify.Result) { results = append(results, r) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go n.Run(ctx)
		n.Set(common)
		n.Tell(web(notify.Active))
		n.Wait(t.Context())
		if len(results) != 1 || results[0].Again || results[0].Err.Error() != "start: /c: no such file or directory" {
			t.Errorf("%+v", results)
		}
	})
}
