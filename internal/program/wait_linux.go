package program

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is siginfo_t as waitid(2) fills it in.
type siginfo struct {
	_   [3]int32
	_   [0]uintptr // what follows is aligned as a pointer is
	pid int32
	_   [128 - 16]byte
}

// waitid waits for a child that has ended, as the options say, and returns its PID; 0 when
// there is none and it is not to be waited.
func waitid(kind, id, options int) (int, error) {
	for {
		var info siginfo
		err := unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|options, nil)
		if !errors.Is(err, unix.EINTR) {
			return int(info.pid), err
		}
	}
}

// awaitEnd waits until a child has ended, and leaves it to be waited for. Where there is a
// descriptor for it, no thread waits, of which there would be one for each program.
func awaitEnd(pid int) {
	if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
		file := os.NewFile(uintptr(fd), "pidfd")
		defer file.Close()
		raw, err := file.SyscallConn()
		if err == nil {
			err = raw.Read(func(uintptr) bool {
				dead, err := waitid(unix.P_PID, pid, unix.WNOHANG|unix.WNOWAIT)
				return err != nil || dead != 0
			})
		}
		if err == nil {
			return
		}
	}
	// An error is that there is no such child, which whoever waits for it next will say.
	_, _ = waitid(unix.P_PID, pid, unix.WNOWAIT)
}

// all are the children of this process, alive or dead; none where the kernel does not
// list them (CONFIG_PROC_CHILDREN).
func all() (pids []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is a good one
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that is no more
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// subreaper reports whether this process is a child subreaper.
func subreaper() (bool, error) {
	var is int32
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0)
	if errno != 0 {
		return false, os.NewSyscallError("PR_GET_CHILD_SUBREAPER", errno)
	}
	return is != 0, nil
}
