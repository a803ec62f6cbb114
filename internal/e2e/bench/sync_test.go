package bench_test

import (
	"testing"

	"lvsha/internal/e2e/rig"
)

// BenchmarkLargeSync prints how long a director that boots takes to have a large
// table.
func BenchmarkLargeSync(b *testing.B) {
	for b.Loop() {
		if _, code := rig.WithIPVS(b, rig.TestRun{Package: "internal/e2e/bench", Flags: "-test.timeout 1h -test.run '^$' -test.bench '^BenchmarkKernelLargeSync$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}

// BenchmarkSync prints how many connections survive what happens to directors, lvsha
// beside keepalived.
func BenchmarkSync(b *testing.B) {
	for b.Loop() {
		if _, code := rig.WithIPVS(b, rig.TestRun{Package: "internal/e2e/bench", Flags: "-test.timeout 1h -test.run '^$' -test.bench '^BenchmarkKernelSync$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}
