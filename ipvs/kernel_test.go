//go:build ipvskernel

package ipvs_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

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

// TestKernelReadsOthers reads what ipvsadm has made and lvsha never makes.
func TestKernelReadsOthers(t *testing.T) {
	newNamespace(t)
	ipvsadm(t, "-A -f 5 -s rr")
	ipvsadm(t, "-A -f 5 -6 -s rr")
	ipvsadm(t, "-A -t 192.0.2.10:80 -s wlc -p 60 -M 255.255.255.0")
	ipvsadm(t, "-a -t 192.0.2.10:80 -r 192.0.2.21 -g -w 3 -x 100 -y 50")
	ipvsadm(t, "-a -t 192.0.2.10:80 -r 192.0.2.22 -i -w 1 --tun-type gue --tun-port 6080")
	ipvsadm(t, "-A -u 192.0.2.10:53 -s sh -o")
	ipvsadm(t, "-A -u 192.0.2.10:5060 -s rr -p 60 --pe sip")
	k := open(t)
	golden(t, "kernel.txt", tableText(list(t, k)))

	// Adopting the table takes what is not wanted from the servers, keeps the
	// flags, and does not take the engine away.
	want := list(t, k)
	for i := range want {
		for j := range want[i].Destinations {
			want[i].Destinations[j].Extra = ""
		}
		want[i].Scheduler = "wrr"
	}
	var log strings.Builder
	for _, c := range ipvs.Diff(list(t, k), want, none) {
		if c.Service.Key.Mark != 0 {
			continue
		}
		log.WriteString(c.String() + "\n")
		if err := c.Do(k); err != nil {
			log.WriteString("  " + err.Error() + "\n")
		}
	}
	save, err := exec.Command("ipvsadm", "-Sn").CombinedOutput()
	if err != nil {
		t.Fatalf("ipvsadm -Sn: %v\n%s", err, save)
	}
	golden(t, "adopt.txt", log.String()+"\n"+string(save))
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
		fmt.Fprintf(&b, "%s %s %s/%d\n", s.Key, s.Scheduler, s.Persistence, s.PersistenceMask)
		for _, d := range s.Destinations {
			fmt.Fprintf(&b, "  %s %s weight %d extra %q\n", d.Addr, d.Forward, d.Weight, d.Extra)
		}
	}
	return b.String()
}
