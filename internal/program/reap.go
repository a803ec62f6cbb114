package program

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reap buries the children that nobody in this process started: their parents are dead,
// and the kernel has given them to this process, because it is process 1 of its PID
// namespace, as in a container without an init, or a child subreaper. Else they would
// stay, as zombies, and use up the processes that the daemon may have. It leaves alone
// what Run has started; a process that calls it must start nothing but by Run. It
// returns when ctx ends, which is no error, and at once when nothing is given to this
// process.
func Reap(ctx context.Context) error {
	if os.Getpid() != 1 {
		is, err := subreaper()
		if err != nil {
			return fmt.Errorf("asking whether orphans come to this process: %w", err)
		}
		if !is {
			return nil
		}
	}
	dead := make(chan os.Signal, 1)
	signal.Notify(dead, syscall.SIGCHLD)
	defer signal.Stop(dead)
	for {
		children.bury()
		select {
		case <-ctx.Done():
			return nil
		case <-dead:
		case <-children.again:
		}
	}
}

// bury waits for those of the dead that nobody waits for. Whatever keeps it from that
// ends with another look.
func (r *registry) bury() {
	for r.buryFirst() {
	}
}

// buryFirst buries the first of the dead, and reports whether there may be more.
func (r *registry) buryFirst() bool {
	if !r.starting.TryLock() {
		return false // one that is being started is not known yet
	}
	defer r.starting.Unlock()
	pid, err := waitid(unix.P_ALL, 0, unix.WNOHANG|unix.WNOWAIT)
	if err != nil || pid == 0 {
		return false
	}
	if !r.knows(pid) {
		_, err = waitid(unix.P_PID, pid, unix.WNOHANG)
		return err == nil
	}
	// The kernel tells of that one until its turn has come. The others behind it do not
	// wait.
	for _, pid := range all() {
		if !r.knows(pid) {
			_, _ = waitid(unix.P_PID, pid, unix.WNOHANG) // most are alive
		}
	}
	return false
}
