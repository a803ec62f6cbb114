package ipvs_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"lvsha/ipvs"
)

// bigTable has 1,000 services of 10 servers.
func bigTable() []ipvs.Service {
	var table []ipvs.Service
	for i := range 1000 {
		s := service(fmt.Sprintf("192.0.2.%d:%d/tcp", 1+i%100, 1000+i/100), "wlc")
		for j := range 10 {
			s.Destinations = append(s.Destinations, ipvs.Destination{
				Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % 250), byte(j)}), 80),
				Forward: ipvs.NAT, Weight: 1,
			})
		}
		table = append(table, s)
	}
	return table
}

func BenchmarkDiff(b *testing.B) {
	have, want := bigTable(), bigTable()
	want[500].Destinations[3].Weight = 2
	for b.Loop() {
		if n := len(ipvs.Diff(have, want, all)); n != 1 {
			b.Fatalf("%d changes, want 1", n)
		}
	}
}

// BenchmarkOneWeight is a change of one weight in a large table, from Set to the
// kernel's acknowledgement.
func BenchmarkOneWeight(b *testing.B) {
	k := ipvs.NewMemory(nil)
	r := ipvs.New(ipvs.Options{Kernel: func() (ipvs.Kernel, error) { return k, nil }})
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(b.Context()) })
	table := bigTable()
	var generation uint64
	for b.Loop() {
		generation++
		next := slices.Clone(table)
		next[500].Destinations = slices.Clone(next[500].Destinations)
		next[500].Destinations[3].Weight = int(generation % 100)
		r.Set(ipvs.Desired{Generation: generation, Services: next})
		if err := r.Applied(b.Context(), generation); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(wg.Wait)
}
