//go:build ipvskernel

package ipvs_test

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"lvsha/ipvs"
)

// newNamespace puts the test's thread into a network namespace of its own, which
// ends with the thread: the table to test on is empty, and nobody else's.
func newNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	// Without any interface that is up the kernel has no routing table, and
	// refuses every server's address as not unicast.
	up(t, "lo")
}

// up sets an interface up.
func up(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatalf("setting %s up: %v", name, err)
	}
}

func open(t *testing.T) ipvs.Kernel {
	t.Helper()
	k, err := ipvs.Open()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKernel needs a kernel with IPVS: internal/lab has a machine that has one.
// Debian's cloud kernel is without twos.
func TestKernel(t *testing.T) {
	newNamespace(t)
	testKernel(t, open(t), open(t), "twos")
}

// TestKernelReadsOthers reads what ipvsadm has made, and adopts it without its flags:
// servers keep what they have.
func TestKernelReadsOthers(t *testing.T) {
	newNamespace(t)
	ipvsadm(t, "-A -f 5 -s rr")
	ipvsadm(t, "-A -f 5 -6 -s rr")
	ipvsadm(t, "-A -t 192.0.2.10:80 -s wlc -p 60 -M 255.255.255.0")
	ipvsadm(t, "-a -t 192.0.2.10:80 -r 192.0.2.21 -g -w 3 -x 100 -y 50")
	ipvsadm(t, "-a -t 192.0.2.10:80 -r 192.0.2.22 -i -w 1 --tun-type gue --tun-port 6080")
	ipvsadm(t, "-a -t 192.0.2.10:80 -r 192.0.2.23 -i -w 1 --tun-type gre --tun-csum")
	ipvsadm(t, "-A -u 192.0.2.10:53 -s sh -o -b sh-port,sh-fallback")
	ipvsadm(t, "-A -u 192.0.2.10:54 -s wlc -b flag-1,flag-3")
	adopt(t, "adopt.txt")
}

// TestKernelPersistenceEngine needs the module ip_vs_pe_sip. An edit keeps a service's
// engine.
func TestKernelPersistenceEngine(t *testing.T) {
	newNamespace(t)
	ipvsadm(t, "-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip -o")
	adopt(t, "engine.txt")
}

// adopt wants everything in the kernel with another scheduler and nothing extra,
// and compares what was there, the plan with its errors, and what came of it.
func adopt(t *testing.T, name string) {
	t.Helper()
	k := open(t)
	var b strings.Builder
	want := list(t, k)
	fmt.Fprintf(&b, "# found\n%s\n# plan\n", tableText(want))
	for i := range want {
		want[i].Scheduler, want[i].Flags = "wrr", 0
		for j := range want[i].Destinations {
			want[i].Destinations[j].Extra = ""
		}
	}
	for _, c := range ipvs.Diff(list(t, k), want, none) {
		fmt.Fprintln(&b, c)
		if err := c.Do(k); err != nil {
			fmt.Fprintf(&b, "  %v\n", err)
		}
	}
	save, err := exec.Command("ipvsadm", "-Sn").CombinedOutput()
	if err != nil {
		t.Fatalf("ipvsadm -Sn: %v\n%s", err, save)
	}
	lines := slices.Sorted(strings.Lines(string(save))) // the kernel's order is that of its hash
	fmt.Fprintf(&b, "\n# ipvsadm -Sn afterwards\n%s", strings.Join(lines, ""))
	golden(t, name, b.String())
}

// TestKernelReconciler has somebody clear the table under a reconciler.
func TestKernelReconciler(t *testing.T) {
	newNamespace(t)
	k, own := open(t), open(t)
	results := make(chan ipvs.Result, 16)
	r := ipvs.New(ipvs.Options{
		// Run is on another thread, which is not in the namespace.
		Kernel:    func() (ipvs.Kernel, error) { return own, nil },
		OnApplied: func(r ipvs.Result) { results <- r },
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
	ipvsadm(t, "-A -t 192.0.2.99:80 -s rr")
	want := []ipvs.Service{dns, web}
	r.Set(ipvs.Desired{Generation: 1, Services: want})
	must(t, r.Applied(ctx, 1))
	<-results
	foreign := service("192.0.2.99:80/tcp", "rr")
	if diff := cmp.Diff(append(want, foreign), list(t, k), tables); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	cleared := time.Now()
	ipvsadm(t, "-C")
	for repaired := (ipvs.Result{}); !repaired.Drift && ctx.Err() == nil; {
		select {
		case repaired = <-results:
		case <-ctx.Done():
		}
	}
	t.Logf("repaired %v after ipvsadm -C was started", time.Since(cleared))
	if diff := cmp.Diff(want, list(t, k), tables); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	must(t, r.Flush(ctx))
	if got := list(t, k); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// TestKernelWithoutCapability gives up CAP_NET_ADMIN on this thread.
func TestKernelWithoutCapability(t *testing.T) {
	newNamespace(t)
	k := open(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	_, err := k.List()
	if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("listing without the capability: %v", err)
	}
}

func ipvsadm(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ipvsadm", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ipvsadm %s: %v\n%s", args, err, out)
	}
}

func tableText(table []ipvs.Service) string {
	var b strings.Builder
	for _, s := range table {
		fmt.Fprintf(&b, "%s %s %q one-packet %t %s/%d engine %q\n", s.Key, s.Scheduler, s.Flags.Names(s.Scheduler), s.OnePacket, s.Persistence, s.PersistenceMask, s.Engine)
		for _, d := range s.Destinations {
			fmt.Fprintf(&b, "  %s %s %s weight %d thresholds %d %d extra %q\n", d.Addr, d.Forward, d.Tunnel, d.Weight, d.UpperThreshold, d.LowerThreshold, d.Extra)
		}
	}
	return b.String()
}
