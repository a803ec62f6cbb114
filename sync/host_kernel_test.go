//go:build ipvskernel

package connsync_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	connsync "lvsha/sync"
)

// run runs a program in the thread's namespace.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestKernelHost: what the kernel says of its connections on the loopback interface is
// heard, read and written again to the octet; put in for its backup daemon it changes
// nothing; put in for that of another table it makes the same connections.
func TestKernelHost(t *testing.T) {
	newNamespace(t)
	for _, line := range []string{
		"ip link set lo up", "ip link add lvsha0 type dummy", "ip link set lvsha0 up", "ip addr add 10.1.1.254/24 dev lvsha0",
		"ip addr add 2001:db8:1::254/64 dev lvsha0 nodad",
		"ipvsadm -A -u 10.1.1.1:53 -s rr", "ipvsadm -a -u 10.1.1.1:53 -r 10.1.1.2:53 -g",
		"ipvsadm -A -u 10.1.1.1:54 -s rr -p 300", "ipvsadm -a -u 10.1.1.1:54 -r 10.1.1.2:54 -g",
		"ipvsadm -A -u [2001:db8:1::1]:53 -s rr", "ipvsadm -a -u [2001:db8:1::1]:53 -r [2001:db8:1::2]:53 -g",
		"ipvsadm -A -f 7 -s rr -p 60", "ipvsadm -a -f 7 -r 10.1.1.3:0 -m",
	} {
		run(t, strings.Fields(line)...)
	}
	for name, value := range map[string]string{"sync_refresh_period": "60", "sync_threshold": "3 0"} {
		run(t, "/bin/sh", "-c", fmt.Sprintf("echo %s > /proc/sys/net/ipv4/vs/%s", value, name))
	}
	k := open(t)
	daemons := connsync.Config{Interface: "lo", ID: 9, Transport: connsync.Channel}.Daemons()
	for _, d := range daemons {
		if err := k.Start(d); err != nil {
			t.Fatal(err)
		}
		defer k.Stop(d.Role)
	}
	tap, err := connsync.Host{}.Tap(daemons[1])
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	intake, err := connsync.Host{}.Intake(daemons[0], func() []uint64 { return []uint64{tap.Inode()} })
	if err != nil {
		t.Fatal(err)
	}
	defer intake.Close()

	// A packet for each, the one by mark too. There is nobody to answer.
	for _, to := range []struct {
		address string
		mark    int
	}{{"10.1.1.1:53", 0}, {"10.1.1.1:54", 0}, {"[2001:db8:1::1]:53", 0}, {"10.1.1.9:99", 7}} {
		address := netip.MustParseAddrPort(to.address)
		family := unix.AF_INET
		var target unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(address.Addr().AsSlice()[:4]), Port: int(address.Port())}
		if address.Addr().Is6() {
			family, target = unix.AF_INET6, &unix.SockaddrInet6{Addr: address.Addr().As16(), Port: int(address.Port())}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, to.mark); err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendto(fd, []byte("?"), 0, target); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}

	heard := make(map[string]bool)
	want := []string{
		"udp 10.1.1.254 -> 10.1.1.1:53 at 10.1.1.2:53", "udp 10.1.1.254 -> 10.1.1.1:54 at 10.1.1.2:54",
		"template 10.1.1.254 -> 10.1.1.1:54 at 10.1.1.2:54", "udp 2001:db8:1::254 -> [2001:db8:1::1]:53 at [2001:db8:1::2]:53",
		"udp 10.1.1.254 -> 10.1.1.9:99 at 10.1.1.3:99", "template 10.1.1.254 -> 0.0.0.7:0 at 10.1.1.3:0",
	}
	deadline := time.AfterFunc(20*time.Second, func() { tap.Close() })
	defer deadline.Stop()
	buffer := make([]byte, 65536)
	var all []connsync.Record
	for len(heard) < len(want) {
		n, gap, err := tap.Hear(buffer)
		if err != nil || gap {
			t.Fatalf("gap %t, %v; heard %v", gap, err, heard)
		}
		m, err := connsync.Decode(buffer[:n])
		if err != nil || m.Skipped > 0 || m.ID != 9 {
			t.Fatalf("%x: %+v, %v", buffer[:n], m, err)
		}
		t.Logf("captured %x", buffer[:n])
		if again, left := connsync.AppendMessage(nil, 9, n, m.Records); !bytes.Equal(again, buffer[:n]) || len(left) > 0 {
			t.Errorf("%x was written again as\n%x", buffer[:n], again)
		}
		for _, r := range m.Records {
			kind := "udp"
			if r.Key.Template {
				kind = "template"
			}
			heard[fmt.Sprintf("%s %s -> %s at %s", kind, r.Key.Client.Addr(), r.Key.Virtual, r.Server)] = true
			all = append(all, r)
		}
	}
	for _, w := range want {
		if !heard[w] {
			t.Errorf("nothing was heard of %s", w)
		}
	}

	listed := func() map[connsync.ConnKey]connsync.Conn {
		out := make(map[connsync.ConnKey]connsync.Conn)
		f := run(t, "cat", "/proc/thread-self/net/ip_vs_conn_sync")
		for c, err := range connsync.Listing(strings.NewReader(f), true) {
			if err != nil {
				t.Fatal(err)
			}
			out[c.Key] = c
		}
		return out
	}
	before := listed()
	for _, r := range all {
		if c := before[r.Key]; c.Server != r.Server || c.Synced {
			t.Errorf("the listing has %+v for %+v", c, r)
		}
	}
	// Another client, so that it is the daemon that makes them.
	for i := range all {
		all[i].Key.Client = netip.AddrPortFrom(netip.MustParseAddr(map[bool]string{true: "10.1.1.77", false: "2001:db8:1::77"}[all[i].Key.Client.Addr().Is4()]), all[i].Key.Client.Port())
	}
	datagram, _ := connsync.AppendMessage(nil, 10, 1024, all)
	if err := intake.Put(datagram); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		after := listed()
		missing := 0
		for _, r := range all {
			if c, there := after[r.Key]; !there || c.Server != r.Server || !c.Synced {
				missing++
			}
		}
		if missing == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d records are not in the kernel: %v", missing, len(all), after)
		}
	}
	if waiting, dropped, err := intake.Backlog(); waiting != 0 || dropped != 0 || err != nil {
		t.Errorf("the daemon's socket: %d octets, %d dropped, %v", waiting, dropped, err)
	}
}
