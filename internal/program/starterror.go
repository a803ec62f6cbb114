package program

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrMachine is wrapped by the error of a program that failed because this machine, or
// what it lets the daemon have, was short of something.
var ErrMachine = errors.New("this machine kept it from its work")

// StartError is the error of a program that was not started. It is ErrMachine when that
// is not the program's fault.
type StartError struct {
	// Program is the one; none when the reason is not in its path.
	Program Program
	Err     error
}

// Error says why, in the operator's words where the kernel's are few.
func (e *StartError) Error() string {
	if len(e.Program.Command) == 0 {
		return e.Err.Error()
	}
	path := e.Program.Command[0]
	var errno syscall.Errno
	if !errors.As(e.Err, &errno) {
		return fmt.Sprintf("start: %v", e.Err)
	}
	if why := e.why(path, errno); why != "" {
		return fmt.Sprintf("start: %s: %s: %v", path, why, errno)
	}
	return fmt.Sprintf("start: %s: %v", path, errno)
}

// Unwrap is what the kernel said.
func (e *StartError) Unwrap() error { return e.Err }

// Is reports whether the error is ErrMachine.
func (e *StartError) Is(target error) bool {
	var errno syscall.Errno
	return target == ErrMachine && errors.As(e.Err, &errno) && short[errno] != ""
}

// short are the errors that are not the program's, and what there is too little of.
var short = map[syscall.Errno]string{
	syscall.EAGAIN: "no process is left for it (pids.max, RLIMIT_NPROC)",
	syscall.ENOMEM: "no memory is left for it",
	syscall.EMFILE: "no descriptor is left for it (RLIMIT_NOFILE)",
	syscall.ENFILE: "no descriptor is left on this machine",
	// Between two versions of it there is a moment without either.
	syscall.ETXTBSY: "it is being written",
}

func (e *StartError) why(path string, errno syscall.Errno) string {
	switch errno {
	case syscall.ENOENT:
		if _, err := os.Stat(path); err == nil {
			return "it is there, and the interpreter that it names is not"
		}
	case syscall.EACCES:
		if e.Program.User != "" {
			return "user " + e.Program.User + " may not execute it"
		}
		return "it is not executable"
	case syscall.ENOEXEC:
		return `it is no program of this machine, and no script, which begins with "#!"`
	case syscall.EPERM:
		if e.Program.User != "" {
			return "to become user " + e.Program.User + " needs CAP_SETUID and CAP_SETGID"
		}
	}
	return short[errno]
}
