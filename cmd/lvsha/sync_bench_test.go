package main_test

import "testing"

// BenchmarkLargeSync prints how long a director that boots takes to have a large
// table.
func BenchmarkLargeSync(b *testing.B) {
	for b.Loop() {
		if _, code := withIPVS(b, testRun{"cmd/lvsha", "-test.timeout 1h -test.run '^$' -test.bench '^BenchmarkKernelLargeSync$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}

// BenchmarkSync prints how many connections survive what happens to directors, lvsha
// beside keepalived.
func BenchmarkSync(b *testing.B) {
	for b.Loop() {
		if _, code := withIPVS(b, testRun{"cmd/lvsha", "-test.timeout 1h -test.run '^$' -test.bench '^BenchmarkKernelSync$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}
