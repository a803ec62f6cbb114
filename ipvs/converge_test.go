package ipvs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// world is a kernel that refuses at random, loses its module at random and has
// somebody else's hands in it, the record of an lvsha that crashes at random, and
// what is to hold at all times.
type world struct {
	t      *testing.T
	kernel *ipvs.Memory

	mu      sync.Mutex // guards everything below
	rng     *rand.Rand
	calm    bool
	hands   bool // the change is somebody else's
	module  bool
	record  []ipvs.ServiceKey
	foreign map[ipvs.ServiceKey]bool // made by others and not adopted
}

func (w *world) open() (ipvs.Kernel, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.module {
		return nil, ipvs.ErrNoIPVS
	}
	return w.kernel, nil
}

func (w *world) write(keys []ipvs.ServiceKey) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record = slices.Clone(keys)
	for _, k := range keys {
		delete(w.foreign, k) // adopted
	}
	return nil
}

// fault is asked before each operation on the kernel.
func (w *world) fault(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hands {
		return nil
	}
	if name, adds := strings.CutPrefix(what, "add service "); adds {
		name, _, _ = strings.Cut(name, " scheduler")
		if !slices.Contains(w.record, key(name)) {
			w.t.Errorf("%q before it was recorded", what)
		}
	}
	if name, removes := strings.CutPrefix(what, "remove service "); removes && w.foreign[key(name)] {
		w.t.Errorf("%q, which is foreign", what)
	}
	if !w.calm && w.rng.IntN(10) == 0 || !w.module {
		return syscall.ENOMEM
	}
	return nil
}

// meddle makes a few changes that lvsha is not told of.
func (w *world) meddle() {
	w.kernel.Fail(nil)
	defer w.kernel.Fail(w.fault)
	table := list(w.t, w.kernel)
	w.mu.Lock()
	w.hands = true
	plan := ipvs.Diff(table, randomTable(w.rng), func(ipvs.ServiceKey) bool { return true })
	w.mu.Unlock()
	for range min(3, len(plan)) {
		c := plan[w.rng.IntN(len(plan))]
		if c.Do(w.kernel) != nil {
			continue
		}
		w.mu.Lock()
		switch {
		case c.Op == ipvs.RemoveService:
			delete(w.foreign, c.Service.Key)
		case c.Op == ipvs.AddService && !slices.Contains(w.record, c.Service.Key):
			w.foreign[c.Service.Key] = true
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	w.hands = false
	w.mu.Unlock()
}

func TestReconcilerConverges(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, seed) })
		})
	}
}

func converge(t *testing.T, seed uint64) {
	w := &world{
		t: t, kernel: ipvs.NewMemory(nil), module: true,
		rng: rand.New(rand.NewPCG(seed, 2)), foreign: make(map[ipvs.ServiceKey]bool),
	}
	w.kernel.Fail(w.fault)
	var r *ipvs.Reconciler
	stop := func() {}
	var want []ipvs.Service
	var generation uint64
	set := func() {
		generation++
		r.Set(ipvs.Desired{Generation: generation, Services: want})
	}
	restart := func() {
		stop()
		r = ipvs.New(ipvs.Options{Kernel: w.open, Owned: w.record, Record: w.write})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Run(ctx) })
		stop = func() { cancel(); wg.Wait() }
		set()
	}
	restart()
	defer func() { stop() }()
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 60 {
		switch rng.IntN(8) {
		case 0, 1, 2:
			want = randomTable(rng)
			set()
		case 3, 4:
			w.meddle()
		case 5:
			restart()
		case 6:
			w.mu.Lock()
			w.module = !w.module
			w.mu.Unlock()
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		synctest.Wait()
	}
	w.mu.Lock()
	w.calm, w.module = true, true
	w.mu.Unlock()
	time.Sleep(40 * time.Second)
	synctest.Wait()

	if s := r.Snapshot(); s.State != "ok" && (s.State != "off" || len(want) > 0) {
		t.Errorf("state is %q", s.State)
	}
	wanted := make(map[ipvs.ServiceKey]bool)
	for _, s := range want {
		wanted[s.Key] = true
	}
	expected := ipvs.NewMemory(nil)
	load(t, expected, want)
	mine := slices.DeleteFunc(list(t, w.kernel), func(s ipvs.Service) bool { return !wanted[s.Key] })
	if diff := cmp.Diff(list(t, expected), mine, tables); diff != "" {
		t.Errorf("wanted services (-want +got):\n%s", diff)
	}
	for _, s := range list(t, w.kernel) {
		if !wanted[s.Key] && !w.foreign[s.Key] {
			t.Errorf("%s is left behind", s.Key)
		}
	}
	var keys []ipvs.ServiceKey
	for _, s := range mine {
		keys = append(keys, s.Key)
	}
	if diff := cmp.Diff(keys, w.record, tables); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}
