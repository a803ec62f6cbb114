package ipvs_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// TestBatch is batchOf over the table in memory, which takes one change at a time.
func TestBatch(t *testing.T) {
	k := ipvs.NewMemory(nil)
	k.RemoveScheduler("twos")
	batchOf(t, k, k)
}

// batchOf fills a kernel without the scheduler twos with a large table, in the middle of
// which is a service that needs it: the error names the module, and once; all else is
// there. own is given up to the process.
func batchOf(t *testing.T, k, own ipvs.Kernel) {
	t.Helper()
	var want, expected []ipvs.Service
	for i := range 120 {
		s := service(fmt.Sprintf("192.0.2.10:%d/tcp", 1000+i), "wlc")
		if i%2 == 1 {
			s = service(fmt.Sprintf("[2001:db8::10]:%d/udp", 1000+i), "mh")
			s.Flags = ipvs.Fallback
		}
		for j := range 5 {
			d := ipvs.Destination{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + j)}), 80), Forward: ipvs.NAT, Weight: 1 + j}
			if i%2 == 1 {
				d = ipvs.Destination{Addr: netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%d]:%d", 20+j, 1000+i)), Forward: ipvs.TUN, Weight: 1}
				d.Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 6080}
				d.UpperThreshold, d.LowerThreshold = 100, 50
			}
			s.Destinations = append(s.Destinations, d)
		}
		if i == 61 {
			s.Scheduler, s.Flags = "twos", 0
		} else {
			expected = append(expected, s)
		}
		want = append(want, s)
	}
	r := ipvs.New(ipvs.Options{Kernel: func() (ipvs.Kernel, error) { return own, nil }})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = r.Run(ctx) })
	r.Set(ipvs.Desired{Generation: 1, Services: want})
	err := r.Applied(ctx, 1)
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "scheduler twos is not in this kernel: modprobe ip_vs_twos") {
		t.Errorf("error: %v", err)
	}
	m := ipvs.NewMemory(nil)
	load(t, m, expected)
	if diff := cmp.Diff(list(t, m), list(t, k), tables); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if err := r.Flush(ctx); err != nil {
		t.Error(err)
	}
	if left := list(t, k); len(left) != 0 {
		t.Errorf("%d services are left after a stop", len(left))
	}
}
