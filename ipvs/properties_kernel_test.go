//go:build ipvskernel

package ipvs_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// TestKernelProperties takes random tables to others on the real kernel, one change after
// the other up to where a process is killed, and the rest by another process, in batches.
// The table is the one that was wanted, and the one in memory agrees at every step.
func TestKernelProperties(t *testing.T) {
	newNamespace(t)
	k := open(t)
	var owned []ipvs.ServiceKey
	have := list(t, k)
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 5))
		want := randomTable(rng)
		for i := range want {
			// The kernel of the machine does not have them all.
			want[i].Scheduler = []string{"rr", "wlc", "mh", "sh"}[rng.IntN(4)]
			if want[i].Scheduler != "mh" {
				want[i].Flags = 0
			}
		}
		m := ipvs.NewMemory(nil)
		loadPlaced(t, m, have)
		before, after := live(have), live(want)
		plan := ipvs.Diff(have, want, all)
		killed := rng.IntN(len(plan) + 1)
		for _, c := range plan[:killed] {
			must(t, c.Do(k))
			must(t, c.Do(m))
			now := list(t, k)
			if diff := cmp.Diff(list(t, m), now, tables); diff != "" {
				t.Fatalf("seed %d after %q: memory is not like the kernel (-memory +kernel):\n%s", seed, c, diff)
			}
			if diff := cmp.Diff(order(list(t, m)), order(now)); diff != "" {
				t.Fatalf("seed %d after %q: another order (-memory +kernel):\n%s", seed, c, diff)
			}
			for key := range after {
				if before[key] && after[key] && !live(now)[key] {
					t.Fatalf("seed %d: no server of %s takes connections after %q", seed, key, c)
				}
			}
		}
		for range 2 { // the second time for those that waited for their places
			own := open(t) // which the process closes
			owned = nil
			for _, s := range list(t, k) {
				owned = append(owned, s.Key)
			}
			process(t, own, &owned, want)
		}
		expected := ipvs.NewMemory(nil)
		load(t, expected, want)
		have = list(t, k)
		if diff := cmp.Diff(list(t, expected), have, tables); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		if again := ipvs.Diff(have, want, all); len(again) > 0 {
			t.Fatalf("seed %d: there is more to do:\n%s", seed, again)
		}
	}
}

// loadPlaced fills a table in the order of the places.
func loadPlaced(t *testing.T, k ipvs.Kernel, table []ipvs.Service) {
	t.Helper()
	var out []ipvs.Service
	for _, s := range table {
		s.Destinations = slices.Clone(s.Destinations)
		slices.SortFunc(s.Destinations, byPlace)
		out = append(out, s)
	}
	load(t, k, out)
}

// order is the order of the servers of each service.
func order(table []ipvs.Service) map[string][]string {
	out := make(map[string][]string)
	for _, s := range table {
		dests := slices.Clone(s.Destinations)
		slices.SortFunc(dests, byPlace)
		for _, d := range dests {
			out[s.Key.String()] = append(out[s.Key.String()], d.Addr.String())
		}
	}
	return out
}

// TestKernelBatch needs a kernel without the scheduler twos.
func TestKernelBatch(t *testing.T) {
	newNamespace(t)
	batchOf(t, open(t), open(t))
}
