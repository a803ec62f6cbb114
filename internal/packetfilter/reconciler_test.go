package packetfilter_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/internal/packetfilter"
)

// reconciled runs a test with a reconciler over memory. records are what it recorded.
func reconciled(t *testing.T, owned bool, test func(*testing.T, *packetfilter.Reconciler, *packetfilter.Memory, *[]bool)) {
	synctest.Test(t, func(t *testing.T) {
		kernel := packetfilter.NewMemory()
		var records []bool
		r := packetfilter.New(packetfilter.Options{
			Kernel: func() (packetfilter.Kernel, error) { return kernel, nil }, Owned: owned,
			Record: func(owned bool) error {
				records = append(records, owned)
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		test(t, r, kernel, &records)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestReconciler(t *testing.T) {
	reconciled(t, false, func(t *testing.T, r *packetfilter.Reconciler, kernel *packetfilter.Memory, records *[]bool) {
		r.Set(packetfilter.Rules{})
		if err := r.Settled(t.Context()); err != nil || r.Snapshot().State != "off" || len(*records) > 0 {
			t.Errorf("nothing wanted: %v, %+v, %v", err, r.Snapshot(), *records)
		}
		r.Set(everything())
		if err := r.Settled(t.Context()); err != nil {
			t.Error(err)
		}
		if got := kernel.String(); got != tablesText(everything()) || r.Snapshot() != (packetfilter.Status{State: "ok"}) || !slices.Equal(*records, []bool{true}) {
			t.Errorf("%+v, %v, tables\n%s", r.Snapshot(), *records, got)
		}

		// Somebody takes them away.
		if err := kernel.Replace(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := kernel.String(); got != tablesText(everything()) || r.Snapshot().Repaired != 1 {
			t.Errorf("after a repair: %+v, tables\n%s", r.Snapshot(), got)
		}

		// A failure is tried again, and ends.
		kernel.Fail(errors.New("out of order"))
		less := everything()
		less.Sync = nil
		r.Set(less)
		if err := r.Settled(t.Context()); err == nil || r.Snapshot().State != "failing: out of order" {
			t.Errorf("failing: %v, %+v", err, r.Snapshot())
		}
		kernel.Fail(nil)
		time.Sleep(time.Minute)
		if got := kernel.String(); got != tablesText(less) || r.Snapshot() != (packetfilter.Status{State: "ok", Repaired: 1}) {
			t.Errorf("after a failure: %+v, tables\n%s", r.Snapshot(), got)
		}

		if err := r.Flush(t.Context()); err != nil || kernel.String() != "" || r.Snapshot().State != "released" || !slices.Equal(*records, []bool{true, false}) {
			t.Errorf("released: %v, %+v, %v, tables\n%s", err, r.Snapshot(), *records, kernel)
		}
		time.Sleep(time.Minute)
		if kernel.String() != "" {
			t.Error("tables came back after a release")
		}
	})
}

// TestReconcilerAfterCrash: what an earlier process recorded goes when nothing is wanted
// any more, and stays untouched when it is right.
func TestReconcilerAfterCrash(t *testing.T) {
	reconciled(t, true, func(t *testing.T, r *packetfilter.Reconciler, kernel *packetfilter.Memory, records *[]bool) {
		if err := kernel.Replace(everything().Tables()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if kernel.String() == "" || r.Snapshot().State != "starting" {
			t.Errorf("before anything is wanted: %+v", r.Snapshot())
		}
		r.Set(packetfilter.Rules{})
		if err := r.Settled(t.Context()); err != nil || kernel.String() != "" || r.Snapshot().State != "off" || !slices.Equal(*records, []bool{false}) {
			t.Errorf("%v, %+v, %v, tables\n%s", err, r.Snapshot(), *records, kernel)
		}
	})
	reconciled(t, true, func(t *testing.T, r *packetfilter.Reconciler, kernel *packetfilter.Memory, records *[]bool) {
		if err := kernel.Replace(everything().Tables()); err != nil {
			t.Fatal(err)
		}
		r.Set(everything())
		if err := r.Settled(t.Context()); err != nil || r.Snapshot() != (packetfilter.Status{State: "ok"}) || len(*records) > 0 {
			t.Errorf("%v, %+v, %v", err, r.Snapshot(), *records)
		}
	})
}
