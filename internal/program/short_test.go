package program_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/program"
)

// limit sets a limit of this process for a function.
func limit(t *testing.T, which int, most uint64, do func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(which, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(which, &unix.Rlimit{Cur: most, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(which, &was); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

// TestShortOfDescriptors: wherever on the way a descriptor is missing, it is not the
// program's fault.
func TestShortOfDescriptors(t *testing.T) {
	next, err := unix.Dup(0) // about as many are in use
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	for _, user := range []string{"", "nobody"} {
		started := 0
		for more := range 16 {
			var out program.Output
			var err error
			limit(t, unix.RLIMIT_NOFILE, uint64(next+more), func() {
				out, err = program.Run(t.Context(), program.Program{Command: []string{"/bin/echo", "ran"}, User: user})
			})
			switch {
			case err == nil && out == "ran\n":
				started++
			case !errors.Is(err, program.ErrMachine) || !strings.Contains(err.Error(), "too many open files"):
				t.Errorf("user %q, %d descriptors: %v, %q", user, more, err, out)
			}
		}
		if started == 0 || started == 16 {
			t.Errorf("user %q: %d of 16 started", user, started)
		}
	}
}

// TestShortOfProcesses: the limit of the user that a program is to run as is not the
// program's fault. Root has none.
func TestShortOfProcesses(t *testing.T) {
	// The kernel compares the others that the user has.
	ctx, cancel := context.WithCancel(t.Context())
	var other sync.WaitGroup
	other.Go(func() {
		if _, err := program.Run(ctx, program.Program{Command: []string{"/bin/sleep", "100"}, User: "nobody"}); !errors.Is(err, program.ErrKilled) {
			t.Errorf("%v", err)
		}
	})
	defer other.Wait()
	defer cancel()
	if err := until("it runs", func() bool { return hasChild("/bin/sleep") }); err != nil {
		t.Fatal(err)
	}
	limit(t, unix.RLIMIT_NPROC, 0, func() {
		_, err := program.Run(t.Context(), program.Program{Command: []string{"/bin/true"}, User: "nobody"})
		const want = "start: /bin/true: no process is left for it (pids.max, RLIMIT_NPROC): resource temporarily unavailable"
		if !errors.Is(err, program.ErrMachine) || text(err) != want {
			t.Errorf("%v", err)
		}
	})
	if _, err := program.Run(t.Context(), program.Program{Command: []string{"/bin/true"}, User: "nobody"}); err != nil {
		t.Errorf("with processes left: %v", err)
	}
}

// hasChild reports whether a program is among the children of this process.
func hasChild(path string) bool {
	lists, _ := filepath.Glob("/proc/self/task/*/children") // a good pattern
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that may be no more
		for _, pid := range strings.Fields(string(text)) {
			command, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err == nil && strings.HasPrefix(string(command), path+"\x00") {
				return true
			}
		}
	}
	return false
}

// TestPIDsMax: where the control group may have no more processes, neither a program that
// cannot be started nor one that cannot start its own says anything about a server.
func TestPIDsMax(t *testing.T) {
	group := newGroup(t)
	played(t, "limited", nil, func(pid int) {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	})
}

// newGroup makes a control group that has pids.max.
func newGroup(t *testing.T) string {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/pids"); err == nil {
		root += "/pids" // version 1
	}
	group := filepath.Join(root, fmt.Sprintf("lvsha-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatalf("making a control group: %v (this test needs root and a writable /sys/fs/cgroup)", err)
	}
	t.Cleanup(func() {
		if err := until("the control group is empty", func() bool { return os.Remove(group) == nil }); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(filepath.Join(group, "pids.max")); err != nil {
		t.Fatalf("%v (this test needs the controller of processes, pids, in cgroup.subtree_control)", err)
	}
	return group
}

// own is a file of the control group of this process.
func own(name string) (string, error) {
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		text, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			_, group, _ := strings.Cut(strings.TrimSpace(line), ":/")
			file := filepath.Join(root, group, name)
			if _, err := os.Stat(file); err == nil && strings.Contains(group, "lvsha-test-") {
				return file, nil
			}
		}
	}
	return "", errors.New("this process is in no control group of a test")
}

// limited has one program after the other run with ever fewer processes left.
func limited() error {
	if err := heir(); err != nil {
		return err
	}
	// The runtime has the threads that it will want: it does not survive being refused one.
	var warm sync.WaitGroup
	for range 30 {
		warm.Go(func() {
			ts := unix.NsecToTimespec(int64(200 * time.Millisecond))
			_ = unix.Nanosleep(&ts, nil)
		})
	}
	warm.Wait()
	current, err := own("pids.current")
	if err != nil {
		return err
	}
	most := filepath.Join(filepath.Dir(current), "pids.max")
	run := func(left int, script string) error {
		if err := os.WriteFile(most, []byte("max"), 0); err != nil {
			return err
		}
		if left >= 0 {
			text, err := os.ReadFile(current)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return err
			}
			if err := os.WriteFile(most, []byte(strconv.Itoa(n+left)), 0); err != nil {
				return err
			}
		}
		_, err := program.Run(context.Background(), shell(script))
		return err
	}
	var failed *program.StartError
	const forks = "/bin/true; exit $?"
	if err := run(-1, forks); err != nil {
		return fmt.Errorf("without a limit: %w", err)
	}
	if err := run(0, forks); !errors.As(err, &failed) || !errors.Is(err, program.ErrMachine) {
		return fmt.Errorf("with no process left: %w", err)
	}
	var exit *program.ExitError
	if err := run(1, forks); !errors.As(err, &exit) || !errors.Is(err, program.ErrMachine) {
		return fmt.Errorf("with one process left: %w", err)
	}
	if err := run(5, forks); err != nil {
		return fmt.Errorf("with five processes left: %w", err)
	}
	if err := run(5, "exit 2"); err == nil || errors.Is(err, program.ErrMachine) {
		return fmt.Errorf("a program that fails by itself: %w", err)
	}
	return nil
}
