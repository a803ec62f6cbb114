package vrrp

import (
	"testing"
	"time"
)

// TestBuckets: every delay is in a bucket that ends at most an eighth above it.
func TestBuckets(t *testing.T) {
	before := -1
	for d := time.Duration(0); d < time.Hour; d += 1 + d/50 {
		i := bucketOf(d)
		end := bucketEnd(i)
		if i < before || end <= d || end > d+d/8+time.Microsecond {
			t.Fatalf("%s is in bucket %d, which ends at %s, after bucket %d", d, i, end, before)
		}
		before = i
	}
	if i := bucketOf(1000 * time.Hour); i != 33*8-1 {
		t.Errorf("a delay beyond all buckets is in %d", i)
	}
}

func TestQuantiles(t *testing.T) {
	var l lateness
	if got := l.jitter(); got != (Jitter{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := 1; i <= 20_000; i++ {
		l.add(time.Duration(i) * time.Microsecond)
	}
	l.add(-time.Second) // early counts as in time
	got := l.jitter()
	for _, q := range []struct {
		name       string
		got, exact time.Duration
	}{{"p50", got.P50, 10 * time.Millisecond}, {"p99", got.P99, 19800 * time.Microsecond}, {"p99.99", got.P9999, 19998 * time.Microsecond}} {
		if q.got < q.exact-time.Millisecond/100 || q.got > q.exact+q.exact/8 {
			t.Errorf("%s is %s, want %s or up to an eighth more", q.name, q.got, q.exact)
		}
	}
	if got.Count != 20_001 || got.Max != 20*time.Millisecond {
		t.Errorf("%+v", got)
	}
}
