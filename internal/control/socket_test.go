package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestListenWithoutCapability: a unit without CAP_CHOWN, on a machine with the group,
// starts, and says what the socket lacks.
func TestListenWithoutCapability(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	var log bytes.Buffer
	listened := make(chan error, 1)
	go func() {
		// The thread has lost a capability, and ends with the goroutine.
		runtime.LockOSThread()
		if err := dropChown(); err != nil {
			listened <- err
			return
		}
		s, err := listen(path, "daemon", nil, slog.New(slog.NewTextHandler(&log, nil)))
		if err == nil {
			err = s.listener.Close()
		}
		listened <- err
	}()
	if err := <-listened; err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "SupplementaryGroups=daemon") || !strings.Contains(got, "level=WARN") {
		t.Errorf("said %q", got)
	}
}

// dropChown takes CAP_CHOWN away from the calling thread.
func dropChown() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_CHOWN
	return unix.Capset(&header, &data[0])
}

// TestListenLeavesFilesAlone: what is no socket is not replaced.
func TestListenLeavesFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "lvsha.toml"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(path, nil, nil); err == nil || !strings.Contains(err.Error(), "left alone") {
			t.Errorf("listening on %s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("the file says %q, %v", text, err)
	}
}

// TestListenBesideABusyDaemon: one whose queue of connections is full is not dead.
func TestListenBesideABusyDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 8 { // until nobody gets in any more
		if conn, err := net.DialTimeout("unix", path, 100*time.Millisecond); err == nil {
			defer conn.Close()
		}
	}
	if _, err := Listen(path, nil, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("listening beside a busy daemon: %v", err)
	}
}

// TestSilentDaemon: a client of a daemon that does not run ends, and says what to
// look at.
func TestSilentDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewClient(path)
	c.patience = 50 * time.Millisecond
	_, _, err = c.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not answer within 50ms") || !strings.Contains(err.Error(), "systemctl status lvsha") {
		t.Errorf("status: %v", err)
	}
	// What changes something waits in the socket, and nobody takes it out.
	const still = "may still be done when it runs again"
	if err != nil && strings.Contains(err.Error(), still) {
		t.Errorf("status: %v", err)
	}
	_, reload := c.Reload(t.Context())
	_, drain := c.Servers(t.Context(), ServersRequest{Do: DoDrain})
	_, yield := c.Yield(t.Context(), YieldRequest{})
	for what, err := range map[string]error{"reload": reload, "drain": drain, "yield": yield} {
		if err == nil || !strings.Contains(err.Error(), still) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Plan(t.Context(), PlanRequest{}); err == nil || strings.Contains(err.Error(), still) {
		t.Errorf("plan: %v", err)
	}
	if err := c.Events(t.Context(), true, func(Event) error { return nil }); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("events: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Reload(ctx); err == nil {
		t.Error("a reload that was interrupted is done")
	}
}

// idleDaemon is one that can be asked for its status, and takes its time to reload.
type idleDaemon struct {
	Daemon
	takes time.Duration
}

func (idleDaemon) Status() Status { return Status{Director: "lvs1"} }

func (d idleDaemon) Yield(ctx context.Context, _ YieldRequest) (Yielded, error) {
	select {
	case <-time.After(d.takes):
		return Yielded{}, nil
	case <-ctx.Done():
		return Yielded{}, ctx.Err()
	}
}

// TestIdleClients: who keeps a connection and says nothing, or never ends what it began to
// say, loses it; who waits for what it asked for does not.
func TestIdleClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	s, err := Listen(path, idleDaemon{takes: time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.idle = 200 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for name, said := range map[string]string{
		"nothing":        "",
		"half a header":  "GET " + pathStatus + " HTTP/1.1\r\nHost: ",
		"after a status": "GET " + pathStatus + " HTTP/1.1\r\nHost: lvsha\r\n\r\n",
		"half a body":    "POST " + pathServers + " HTTP/1.1\r\nHost: lvsha\r\nContent-Length: 100\r\n\r\n{",
		"half a plan":    "POST " + pathPlan + " HTTP/1.1\r\nHost: lvsha\r\nContent-Length: 60000000\r\n\r\n{\"text\": \"",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, said); err != nil {
			t.Error(err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still there", name)
		}
		conn.Close()
	}
	if _, err := NewClient(path).Yield(t.Context(), YieldRequest{}); err != nil {
		t.Errorf("what took longer than that: %v", err)
	}
}
