package ipvs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// TestKilledAnywhere has one process die before each of the requests that it makes of the
// kernel, and another start: the table is the same in the end, nothing is left behind, and
// no pool that has a server before and after was ever empty.
func TestKilledAnywhere(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		have, want := randomTable(rng), randomTable(rng)
		expected := ipvs.NewMemory(nil)
		load(t, expected, want)
		for n, all := 0, false; !all; n++ {
			t.Run(fmt.Sprintf("%d before request %d", seed, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := ipvs.NewMemory(nil)
					load(t, k, have)
					before, after := live(have), live(want)
					var owned []ipvs.ServiceKey
					for _, s := range have {
						owned = append(owned, s.Key)
					}
					requests := 0
					k.Fail(func(what string) error {
						if what == "list" {
							return nil
						}
						if requests++; requests > n {
							return syscall.EIO // the process that is told so is dead
						}
						return nil
					})
					process(t, k, &owned, want)
					all = requests <= n
					k.Fail(nil)
					for key := range after {
						if now := live(list(t, k)); before[key] && after[key] && !now[key] {
							t.Errorf("no server of %s takes connections", key)
						}
					}
					process(t, k, &owned, want)
					if diff := cmp.Diff(list(t, expected), list(t, k), tables); diff != "" {
						t.Errorf("table (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// process is one that lives until it has tried everything.
func process(t *testing.T, k ipvs.Kernel, owned *[]ipvs.ServiceKey, want []ipvs.Service) {
	t.Helper()
	r := ipvs.New(ipvs.Options{
		Kernel: func() (ipvs.Kernel, error) { return k, nil }, Owned: *owned,
		Record: func(keys []ipvs.ServiceKey) error { *owned = slices.Clone(keys); return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	r.Set(ipvs.Desired{Generation: 1, Services: want})
	_ = r.Applied(ctx, 1) // what it could not do is the point
	cancel()
	wg.Wait()
}
