package program_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/program"
)

// scene is the variable that has this binary play another process of a test.
const scene = "LVSHA_TEST_SCENE"

func TestMain(m *testing.M) {
	play, found := scenes[os.Getenv(scene)]
	if !found {
		os.Exit(m.Run())
	}
	if err := play(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// scenes are what the processes do that orphans come to, and those that may not start any.
var scenes = map[string]func() error{
	"reaped":   func() error { return orphans(true) },
	"unreaped": func() error { return orphans(false) },
	"crowded":  crowded,
	"starting": starting,
	"waiting":  waiting,
	"limited":  limited,
}

// shell is a program of a shell script.
func shell(script string) program.Program {
	return program.Program{Command: []string{"/bin/sh", "-c", script}}
}

// played starts this binary in a scene and returns what it said. before, if not nil, is
// called when it runs and waits for a line.
func played(t *testing.T, name string, attr *syscall.SysProcAttr, before func(pid int)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), scene+"="+name)
	cmd.SysProcAttr = attr
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(cmd.Process.Pid)
	}
	if _, err := fmt.Fprintln(in, "go on"); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
}

// heir makes this process one that orphans come to, and returns when the test has said
// that it may go on.
func heir() error {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	// /proc of this namespace, for this process alone.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

// reaping runs Reap until the function returned is called.
func reaping() (end func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- program.Reap(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// state reports whether a process is dead and not buried, or alive.
func state(pid int) (dead, alive bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	dead = strings.HasPrefix(after, "Z")
	return dead, !dead
}

// zombies counts the dead among processes.
func zombies(pids []int) (dead, alive int) {
	for _, pid := range pids {
		d, a := state(pid)
		if d {
			dead++
		}
		if a {
			alive++
		}
	}
	return dead, alive
}

// until waits for a condition.
func until(what string, holds func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain until %s", what)
		}
	}
	return nil
}

// orphans has many programs leave children behind, and checks what becomes of these, and
// that each program is told to have ended as it did.
func orphans(reaped bool) error {
	if err := heir(); err != nil {
		return err
	}
	end := func() error { return nil }
	if reaped {
		end = reaping()
	}
	const workers, rounds = 8, 25
	var mu sync.Mutex
	var pids []int
	var wrong []string
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range rounds {
				status := 1 + (w*rounds+i)%200
				// One that ends later than its parent, one that ends before, one of a
				// session of its own, and no program at all.
				script := fmt.Sprintf("sleep 0.0%d >/dev/null 2>&1 & echo $!; (true & echo $!); setsid sleep 0.01 >/dev/null 2>&1 & echo $!; exit %d", i%10, status)
				out, err := program.Run(context.Background(), shell(script))
				if err == nil || err.Error() != fmt.Sprint("exit status ", status) {
					mu.Lock()
					wrong = append(wrong, fmt.Sprintf("status %d: %v", status, err))
					mu.Unlock()
				}
				if _, err := program.Run(context.Background(), program.Program{Command: []string{"/no/such/program"}}); err == nil {
					mu.Lock()
					wrong = append(wrong, "no program ran")
					mu.Unlock()
				}
				mu.Lock()
				for _, line := range out.Lines(3) {
					pid, err := strconv.Atoi(line)
					if err != nil {
						wrong = append(wrong, err.Error())
					}
					pids = append(pids, pid)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(wrong) > 0 {
		return fmt.Errorf("%d programs ended otherwise than they did: %s", len(wrong), wrong[0])
	}
	if len(pids) != 3*workers*rounds {
		return fmt.Errorf("%d orphans", len(pids))
	}
	if err := until("all orphans have ended", func() bool { _, alive := zombies(pids); return alive == 0 }); err != nil {
		return err
	}
	if !reaped {
		// Those that were reparented are left; of them this must be able to tell.
		if dead, _ := zombies(pids); dead < workers*rounds {
			return fmt.Errorf("only %d zombies without anybody who buries them", dead)
		}
		return nil
	}
	if err := until("no zombie is left", func() bool { dead, _ := zombies(pids); return dead == 0 }); err != nil {
		dead, _ := zombies(pids)
		return fmt.Errorf("%w: %d", err, dead)
	}
	return end()
}

// orphan leaves a child behind that ends a little later, and returns its PID.
func orphan() (int, error) {
	out, err := program.Run(context.Background(), shell("sleep 0.05 >/dev/null 2>&1 & echo $!"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// crowded has there always be programs that have ended and are not waited for, because
// a child of theirs holds their output, and orphans beside them.
func crowded() error {
	if err := heir(); err != nil {
		return err
	}
	end := reaping()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for ctx.Err() == nil {
				p := shell("sleep 100 &")
				p.Bounded = true
				// What it says is not of interest here.
				_, _ = program.Run(ctx, p)
			}
		})
	}
	var err error
	for range 20 {
		var pid int
		if pid, err = orphan(); err != nil {
			break
		}
		if err = until("an orphan is gone", func() bool { dead, alive := state(pid); return !dead && !alive }); err != nil {
			break
		}
	}
	cancel()
	group.Wait()
	if err != nil {
		return err
	}
	return end()
}

// starting has an orphan die while a program is being started, and nothing else happen.
func starting() error {
	if err := heir(); err != nil {
		return err
	}
	end := reaping()
	for n := 0; n < 20; {
		pid, err := orphan()
		if err != nil {
			return err
		}
		started := program.Starting()
		var dead bool
		if err := until("it has died", func() bool {
			var alive bool
			dead, alive = state(pid)
			return !alive
		}); err != nil {
			return err
		}
		started()
		if dead { // and not buried before, on a machine that has other work
			n++
		}
		if err := until("it is buried", func() bool { dead, _ := state(pid); return !dead }); err != nil {
			return err
		}
	}
	return end()
}

// waiting has orphans die while programs have ended that are not waited for yet.
func waiting() error {
	if err := heir(); err != nil {
		return err
	}
	end := reaping()
	const many = 30 // the kernel has a list of children for each thread that made some
	waits := make([]func() error, many)
	errs := make([]error, many)
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			waits[i], errs[i] = program.Dead()
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for range 20 {
		pid, err := orphan()
		if err != nil {
			return err
		}
		if err := until("an orphan is gone", func() bool { dead, alive := state(pid); return !dead && !alive }); err != nil {
			return err
		}
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			return err
		}
	}
	return end()
}
