//go:build ipvskernel

package connsync_test

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	connsync "lvsha/sync"
)

// newNamespace puts the test's thread into a network namespace of its own, which
// ends with the thread: no daemon runs there.
func newNamespace(t *testing.T) *rtnetlink.Conn {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// addDummy makes an interface that is up.
func addDummy(t *testing.T, c *rtnetlink.Conn, name string) {
	t.Helper()
	err := c.Link.New(&rtnetlink.LinkMessage{
		Flags: unix.IFF_UP, Change: unix.IFF_UP,
		Attributes: &rtnetlink.LinkAttributes{Name: name, Info: &rtnetlink.LinkInfo{Kind: "dummy"}},
	})
	if err != nil {
		t.Fatalf("making the interface %s: %v", name, err)
	}
}

func removeLink(t *testing.T, c *rtnetlink.Conn, k connsync.Kernel, name string) {
	t.Helper()
	index, err := k.InterfaceIndex(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Link.Delete(uint32(index)); err != nil {
		t.Fatalf("removing the interface %s: %v", name, err)
	}
}

func open(t *testing.T) connsync.Kernel {
	t.Helper()
	k, err := connsync.Open()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKernel needs a kernel with IPVS: internal/lab has a machine that has one.
func TestKernel(t *testing.T) {
	c := newNamespace(t)
	addDummy(t, c, "lvsha0")
	testKernel(t, open(t))
}

// TestKernelReconciler has somebody stop a daemon, and an interface made anew,
// under a reconciler.
func TestKernelReconciler(t *testing.T) {
	c := newNamespace(t)
	k, own := open(t), open(t)
	states := make(chan string, 100)
	r := connsync.New(connsync.Options{
		// Run is on another thread, which is not in the namespace.
		Kernel:    func() (connsync.Kernel, error) { return own, nil },
		Interval:  50 * time.Millisecond,
		OnApplied: func(s connsync.Status) { states <- s.State },
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	// until waits for a state and daemons as ipvsadm shows them.
	until := func(state string, starts uint64) {
		t.Helper()
		for {
			select {
			case got := <-states:
				if strings.HasPrefix(got, state) && r.Snapshot().Starts >= starts {
					return
				}
			case <-ctx.Done():
				t.Fatalf("waited for %q with %d starts: %+v", state, starts, r.Snapshot())
			}
		}
	}
	show := func() string {
		t.Helper()
		out, err := exec.Command("ipvsadm", "-ln", "--daemon").CombinedOutput()
		if err != nil {
			t.Fatalf("ipvsadm --daemon: %v\n%s", err, out)
		}
		return string(out)
	}

	r.Set(connsync.Desired{Generation: 1, Daemons: connsync.Config{Interface: "lvsha0", ID: 3}.Daemons()})
	if err := r.Applied(ctx, 1); err == nil {
		t.Error("applied without the interface")
	}
	until("waiting: looking for interface lvsha0: no such device", 0)
	addDummy(t, c, "lvsha0")
	until("running", 2)
	if out := show(); strings.Count(out, "syncid=3") != 2 || strings.Count(out, "mcast=lvsha0") != 2 {
		t.Errorf("ipvsadm --daemon says\n%s", out)
	}
	if out, err := exec.Command("ipvsadm", "--stop-daemon", "backup").CombinedOutput(); err != nil {
		t.Fatalf("ipvsadm --stop-daemon: %v\n%s", err, out)
	}
	until("running", 3)
	removeLink(t, c, k, "lvsha0")
	until("waiting: ", 3)
	addDummy(t, c, "lvsha0")
	until("running", 5)
	if err := r.Flush(ctx); err != nil {
		t.Error(err)
	}
	if left, err := k.List(); err != nil || len(left) != 0 {
		t.Errorf("still running: %v (%v)", left, err)
	}
}
