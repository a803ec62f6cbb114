package lab_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"lvsha/internal/lab"
)

func TestMachine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := lab.Machine{Command: []string{"sh", "-c", "cat /proc/net/ip_vs; /usr/sbin/ip -br link; uname -r; exit 3"}}
	var out strings.Builder
	code, err := m.Run(ctx, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	if code != 3 || !strings.Contains(out.String(), "IP Virtual Server") {
		t.Errorf("exit code %d, printed %q", code, out.String())
	}
}

// TestNetwork: two hosts on one segment.
//
//	a .1 ──┐
//	       ├── front 10.0.0.0/24
//	b .2 ──┘
func TestNetwork(t *testing.T) {
	n, err := lab.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	front, err := n.Segment("front")
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.Host("b")
	if err != nil {
		t.Fatal(err)
	}
	portA, err := front.Attach(a, "eth0", "10.0.0.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := front.Attach(b, "eth0", "10.0.0.2/24"); err != nil {
		t.Fatal(err)
	}
	ping := func() error {
		_, err := b.Run("busybox", "ping", "-c", "1", "-W", "1", "10.0.0.1")
		return err
	}
	// A port that was just plugged in may need a moment on a busy machine.
	answers := func(when string) {
		t.Helper()
		var last error
		if _, err := lab.Eventually("", 20*time.Second, func() bool { last = ping(); return last == nil }); err != nil {
			t.Errorf("%s: no answer: %v", when, last)
		}
	}
	answers("at first")
	for name, fault := range map[string][2]func() error{"cut": {portA.Cut, portA.Mend}, "unplug": {portA.Unplug, portA.Plug}} {
		if err := fault[0](); err != nil {
			t.Fatal(err)
		}
		if ping() == nil {
			t.Errorf("%s: still answers", name)
		}
		if err := fault[1](); err != nil {
			t.Fatal(err)
		}
		answers(name + " taken back")
	}
	out, err := a.Run("hostname")
	if err != nil || strings.TrimSpace(out) != "a" {
		t.Errorf("host name %q, %v", out, err)
	}
	// What a program leaves behind is gone with the host.
	out, err = a.Run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(out)
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatalf("nothing was left behind: %v", err)
	}
	if err := n.PowerOff(a); err != nil {
		t.Error(err)
	}
	if _, err := lab.Eventually("the stray process is gone", 5*time.Second, func() bool {
		_, err := os.Stat("/proc/" + pid + "/ns/net")
		return err != nil
	}); err != nil {
		t.Error(err)
	}
}
