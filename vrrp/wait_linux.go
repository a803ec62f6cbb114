package vrrp

import (
	"syscall"
	"time"
	"unsafe" // for go:linkname too

	"golang.org/x/sys/unix"
)

// The runtime expects most system calls to be short. When one is not, its monitor
// thread looks for up to 10 ms, many times, whether it has ended, which costs
// more than all of the rest of a loop that waits 100 ms at a time: of an idle
// Backup's 4.1 ms/s of processor time 3.2 went there, and 0.4 do now. Telling
// the runtime beforehand that this call blocks is what the runtime itself does for
// such calls, and gVisor for those of its guests; the names are kept for them
// (runtime/proc.go, entersyscallblock). If they ever go, unix.Ppoll is the way
// back.

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// wait is ppoll(2) until a time; zero is for ever. It returns how many
// descriptors are ready.
func wait(fds []unix.PollFd, until time.Time) (int, syscall.Errno) {
	if until.IsZero() {
		return ppollBlocking(&fds[0], len(fds), nil)
	}
	ts := unix.NsecToTimespec(int64(max(time.Until(until), 0)))
	if ts == (unix.Timespec{}) {
		n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		return int(n), errno
	}
	return ppollBlocking(&fds[0], len(fds), &ts)
}

// ppollBlocking must not call anything that could move its stack in between.
//
//go:nosplit
func ppollBlocking(fds *unix.PollFd, n int, timeout *unix.Timespec) (int, syscall.Errno) {
	entersyscallblock()
	ready, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fds)), uintptr(n), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	exitsyscall()
	return int(ready), errno
}

// boottime reads CLOCK_BOOTTIME, for which the runtime has no fast way.
func boottime() time.Duration {
	var ts unix.Timespec
	if _, _, errno := syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("vrrp: reading CLOCK_BOOTTIME: " + errno.Error())
	}
	return time.Duration(ts.Nano())
}
