package failover_test

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestNotify: the service manager hears when the daemon is ready, that it is
// alive, and that it stops.
func TestNotify(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	r.Check(err)
	defer socket.Close()
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	p, err := r.LVS[0].Start(nil, "env", "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000", r.Binary, "run", "-c", rig.ConfigPath)
	r.Check(err)
	d := &lab.Daemon{Process: p}
	hear := func(want string) {
		t.Helper()
		r.Check(socket.SetReadDeadline(time.Now().Add(5 * time.Second)))
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.Contains(string(b[:n]), want) {
				return
			}
		}
	}
	hear("READY=1")
	if s, err := d.Status(); err != nil || len(s.VRRP) != 1 {
		t.Errorf("ready, but status is %+v, %v", s, err)
	}
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	r.Check(d.Signal(syscall.SIGTERM))
	hear("STOPPING=1")
	if code, err := d.Wait(10 * time.Second); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}
