package main

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// scheduleVRRP sets up the calling thread, which is the VRRP loop's: its timers
// fire on time whatever slack the service gives to the rest, and with a
// priority it runs ahead of all ordinary threads. Without the permission it
// goes on as it is.
func scheduleVRRP(priority int, log *slog.Logger) {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		log.Warn("setting the timer slack of the VRRP thread", "error", err)
	}
	if priority == 0 {
		return
	}
	// Threads and programs that this thread starts are ordinary again.
	attr := unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(priority), Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		log.Warn("giving the VRRP thread a real-time priority; LimitRTPRIO or CAP_SYS_NICE permits it", "error", err)
	}
}

// lockMemory keeps what the process uses from being swapped out. Pages are
// locked when they are first touched, as the runtime reserves far more.
func lockMemory(log *slog.Logger) {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		log.Warn("locking the memory; LimitMEMLOCK or CAP_IPC_LOCK permits it", "error", err)
	}
}
