package healthcheck_test

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvsha/healthcheck"
)

// TestPathWithoutCapability gives up CAP_NET_ADMIN on this thread.
func TestPathWithoutCapability(t *testing.T) {
	open := listen(t, func(net.Conn) {})
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	path := healthcheck.Path{VIP: addrPort(open), Mark: 5}
	if _, err := along(t, path, healthcheck.Check{Ask: healthcheck.TCP{}}); !errors.Is(err, healthcheck.ErrInconclusive) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("tcp: %v", err)
	}
	path.Port = 33334
	if _, err := (healthcheck.Target{Path: path}).Dial(t.Context(), "udp"); !errors.Is(err, healthcheck.ErrInconclusive) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("udp: %v", err)
	}
}
