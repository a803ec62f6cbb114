package ipvs_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/ipvs"
)

// TestTimeouts: those that are wanted are set, kept and, when they are wanted no longer,
// put back to what was found.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := ipvs.NewMemory(nil)
		found := ipvs.DefaultTimeouts()
		var records []ipvs.Timeouts
		r := ipvs.New(ipvs.Options{
			Kernel:         func() (ipvs.Kernel, error) { return kernel, nil },
			RecordTimeouts: func(t ipvs.Timeouts) error { records = append(records, t); return nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		generation := uint64(0)
		step := func(what string, want ipvs.Timeouts, expect ipvs.Timeouts, recorded ...ipvs.Timeouts) {
			t.Helper()
			generation++
			r.Set(ipvs.Desired{Generation: generation, Timeouts: want})
			if err := r.Applied(ctx, generation); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got, err := kernel.Timeouts(); got != expect || err != nil || !slices.Equal(records, recorded) {
				t.Errorf("%s: %s, %v, want %s; recorded %v, want %v", what, got, err, expect, records, recorded)
			}
			records = nil
		}
		set := found
		set.TCP = time.Hour
		step("one", ipvs.Timeouts{TCP: time.Hour}, set, ipvs.Timeouts{TCP: found.TCP})
		step("again", ipvs.Timeouts{TCP: time.Hour}, set)
		if err := kernel.SetTimeouts(ipvs.Timeouts{TCP: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		step("somebody else's is put right", ipvs.Timeouts{TCP: time.Hour}, set)
		other := found
		other.UDP = 10 * time.Second
		step("another", ipvs.Timeouts{UDP: 10 * time.Second}, other,
			ipvs.Timeouts{TCP: found.TCP, UDP: found.UDP}, ipvs.Timeouts{UDP: found.UDP})
		kernel.Fail(func(string) error { return errors.New("no") })
		r.Set(ipvs.Desired{Generation: 100})
		if err := r.Applied(ctx, 100); err == nil {
			t.Error("a failure is not told")
		}
		kernel.Fail(nil)
		if err := r.Flush(ctx); err != nil {
			t.Error(err)
		}
		if got, err := kernel.Timeouts(); got != found || err != nil || !slices.Equal(records, []ipvs.Timeouts{{}}) {
			t.Errorf("after a release: %s, %v, recorded %v", got, err, records)
		}
	})
	for _, bad := range []ipvs.Timeouts{{TCP: -1}, {TCPFin: time.Millisecond}, {UDP: ipvs.MaxTimeout + time.Second}} {
		if bad.Validate() == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
