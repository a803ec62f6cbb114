package track

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// commLength is how much of a program's name /proc/PID/comm holds
// (TASK_COMM_LEN in include/linux/sched.h, without its end).
const commLength = 15

// process is one that runs.
type process struct {
	pid  int
	comm string
}

// running are the processes there are; a zombie is not one of them.
func running() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []process{}
	}
	out := make([]process, 0, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // gone meanwhile
		}
		// "PID (COMM) STATE …", and the name may hold anything.
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if open < 0 || end < open || end+2 >= len(stat) || stat[end+2] == 'Z' || stat[end+2] == 'X' {
			continue
		}
		out = append(out, process{pid, string(stat[open+1 : end])})
	}
	return out
}

// scanned is what a look for processes has found.
type scanned struct {
	reports map[Condition]Report
	// pids are those whose end is worth knowing at once.
	pids map[int]bool
}

// seeProcesses looks for the processes of conditions.
func seeProcesses(conditions []Condition) scanned {
	processes := running()
	out := scanned{make(map[Condition]Report, len(conditions)), make(map[int]bool)}
	for _, c := range conditions {
		out.reports[c] = seeProcess(c, processes, out.pids)
	}
	return out
}

// seeProcess counts the processes of a name, and adds those to found whose end is
// worth knowing at once. Where /proc hides other users' processes (its mount option
// hidepid), none that is found says nothing; the first process is always another's.
func seeProcess(c Condition, processes []process, found map[int]bool) Report {
	n := 0
	for _, p := range processes {
		if !p.is(c.Process) {
			continue
		}
		n++
		if len(found) < maxExits {
			found[p.pid] = true
		}
	}
	if n < c.Minimum && !slices.ContainsFunc(processes, func(p process) bool { return p.pid == 1 }) {
		return Report{Reason: fmt.Sprintf("process %s cannot be seen: /proc is mounted with hidepid; add the group of its gid= to SupplementaryGroups= of the unit", c.Process)}
	}
	text := "is not running"
	if n > 0 {
		text = fmt.Sprintf("is running (%d, want %d)", n, c.Minimum)
	}
	return Report{Holds: n >= c.Minimum, Reason: fmt.Sprintf("process %s %s", c.Process, text)}
}

// is compares a process with the name or path of a program.
func (p process) is(program string) bool {
	if strings.Contains(program, "/") {
		dir := filepath.Join("/proc", strconv.Itoa(p.pid))
		path, err := os.Readlink(filepath.Join(dir, "exe"))
		if errors.Is(err, os.ErrPermission) {
			// Another user's process, without CAP_SYS_PTRACE: what it was called as.
			line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			name, _, _ := bytes.Cut(line, []byte{0})
			return string(name) == program
		}
		// A program may be replaced while it runs.
		return err == nil && strings.TrimSuffix(path, " (deleted)") == program
	}
	return p.comm == program[:min(len(program), commLength)]
}

// maxExits bounds how many processes are waited for; the rest is found at the
// next look.
const maxExits = 64

// exits waits for the end of processes.
type exits struct {
	ended func()
	group sync.WaitGroup
	open  map[int]*os.File
}

func newExits(ended func()) *exits { return &exits{ended: ended, open: make(map[int]*os.File)} }

// watch waits for these processes and no others.
func (e *exits) watch(pids map[int]bool) {
	for pid, f := range e.open {
		if !pids[pid] {
			f.Close()
			delete(e.open, pid)
		}
	}
	for pid := range pids {
		if e.open[pid] != nil {
			continue
		}
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if err != nil {
			continue // gone, or the kernel is older than 5.10: found at the next look
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		raw, err := f.SyscallConn()
		if err != nil {
			f.Close()
			continue
		}
		e.open[pid] = f
		e.group.Go(func() { e.await(raw) })
	}
}

// await waits until a process has ended or its file is closed.
func (e *exits) await(raw syscall.RawConn) {
	over := false
	if err := raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		over = n > 0 && err == nil
		return over
	}); err == nil && over {
		e.ended()
	}
}

// close ends all waiting.
func (e *exits) close() {
	e.watch(nil)
	e.group.Wait()
}
