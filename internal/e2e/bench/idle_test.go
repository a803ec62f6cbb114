package bench_test

import (
	"testing"

	"lvsha/internal/e2e/rig"
)

// BenchmarkIdle measures what a director with little to do costs, lvsha's and
// keepalived's side by side.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		if _, code := rig.WithIPVS(b, rig.TestRun{Package: "internal/e2e/bench", Flags: "-test.run '^$' -test.bench '^BenchmarkKernelIdle$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}
