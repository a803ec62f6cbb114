package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Host is a machine of the lab: network, mount and UTS namespaces of its own,
// with an empty /run and /var/lib, so that programs find their usual paths
// free. Everything of a host happens on one OS thread, which the host owns.
type Host struct {
	// Name is the host name that programs on the host see.
	Name string

	jobs    chan func()
	stopped chan struct{}
	netns   string // path of the network namespace, for iproute2

	mu    sync.Mutex // guards procs
	procs []*Process
}

// newHost makes the namespaces and brings lo up.
func newHost(name string) (*Host, error) {
	h := &Host{Name: name, jobs: make(chan func()), stopped: make(chan struct{})}
	ready := make(chan error, 1)
	go h.thread(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("making host %s: %w", name, err)
	}
	if _, err := h.Run("ip", "link", "set", "lo", "up"); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// thread is the host's goroutine. It never unlocks its thread, so the thread
// ends with it and takes the namespaces and the processes along.
func (h *Host) thread(ready chan<- error) {
	runtime.LockOSThread()
	defer close(h.stopped)
	if err := enterNamespaces(h.Name); err != nil {
		ready <- err
		return
	}
	h.netns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	ready <- nil
	for job := range h.jobs {
		job()
	}
}

func enterNamespaces(name string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unsharing namespaces (root is needed): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mounting an empty %s: %w", dir, err)
		}
	}
	// A fresh sysfs shows this namespace's interfaces.
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return nil
}

// Do runs fn on the host's thread: sockets and files that it opens are the
// host's. fn must not wait for another Do of the same host.
func (h *Host) Do(fn func() error) error {
	result := make(chan error, 1)
	select {
	case h.jobs <- func() { result <- fn() }:
		return <-result
	case <-h.stopped:
		return fmt.Errorf("host %s is closed", h.Name)
	}
}

// Run runs a program on the host to its end and returns what it printed on
// standard output. The error carries what it printed on standard error.
func (h *Host) Run(name string, args ...string) (string, error) {
	return h.RunContext(context.Background(), name, args...)
}

// RunContext is Run, killed when ctx ends.
func (h *Host) RunContext(ctx context.Context, name string, args ...string) (string, error) {
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.SysProcAttr = childAttr()
	if err := h.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("%s: starting %s: %w", h.Name, name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err,
			strings.TrimSpace(errOut.String()+out.String()))
	}
	return out.String(), nil
}

// Sysctl sets a kernel parameter of the host's network namespace, named with
// slashes below /proc/sys, such as "net/ipv4/ip_forward".
func (h *Host) Sysctl(name, value string) error {
	return h.Do(func() error {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("%s: setting sysctl %s: %w", h.Name, name, err)
		}
		return nil
	})
}

// WriteFile writes a file as the host sees the path: below /run and /var/lib
// it exists on this host only.
func (h *Host) WriteFile(path string, data []byte, mode os.FileMode) error {
	return h.Do(func() error { return os.WriteFile(path, data, mode) })
}

// ReadFile reads a file as the host sees the path.
func (h *Host) ReadFile(path string) (data []byte, err error) {
	err = h.Do(func() error {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// close kills the host's processes, waits for them and gives up the thread.
func (h *Host) close() error {
	h.mu.Lock()
	procs := h.procs
	h.procs = nil
	h.mu.Unlock()
	var errs []error
	for _, p := range procs {
		errs = append(errs, p.Kill())
	}
	errs = append(errs, h.killStrays())
	close(h.jobs)
	<-h.stopped
	return errors.Join(errs...)
}

// killStrays kills what the host's programs have left behind, such as the script of a
// daemon that was killed: it is nobody's child any more, but it is in the host's network
// namespace.
func (h *Host) killStrays() error {
	own, err := os.Readlink(h.netns)
	if err != nil {
		return fmt.Errorf("%s: finding its network namespace: %w", h.Name, err)
	}
	found, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return fmt.Errorf("%s: finding processes: %w", h.Name, err)
	}
	var errs []error
	for _, path := range found {
		if at, err := os.Readlink(path); err != nil || at != own {
			continue // it is elsewhere, or has ended meanwhile
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("%s: killing a stray process: %w", h.Name, err))
		}
	}
	return errors.Join(errs...)
}
