package healthcheck_test

import (
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"lvsha/healthcheck"
)

// TestTCPNotItself probes a closed port of this machine from a network namespace
// that has no other port to connect from: the socket connects to itself.
func TestTCPNotItself(t *testing.T) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlock it: the thread ends with the namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error("needs root:", err)
			return
		}
		if err := linkUp("lo"); err != nil {
			t.Error(err)
			return
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0o644); err != nil {
			t.Error(err)
			return
		}
		for _, server := range []string{"127.0.0.1:40000", "[::1]:40000"} {
			if got := probe(t, server, healthcheck.Check{Ask: healthcheck.TCP{}}); got != "fail: connect: refused" {
				t.Errorf("%s: %s", server, got)
			}
		}
	})
	wg.Wait()
}

// linkUp turns an interface of the calling thread's network namespace on.
func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
