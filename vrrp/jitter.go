package vrrp

import (
	"math/bits"
	"time"
)

// Jitter says how late the periodic advertisements were sent: from when
// Adver_Timer was due to when the kernel had the packet.
type Jitter struct {
	// Count is the number of advertisements measured.
	Count uint64
	// P50, P99 and P9999 are quantiles, rounded up by at most an eighth; Max is
	// exact.
	P50, P99, P9999, Max time.Duration
}

// lateness is a histogram of delays: eight buckets for each power of two of
// microseconds, from 1 µs to over an hour.
type lateness struct {
	count   uint64
	max     time.Duration
	buckets [33 * 8]uint64
}

// bucket is where a delay is counted.
func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 8 {
		return int(us)
	}
	exponent := bits.Len64(us) - 4 // us >> exponent is 8 to 15
	return min(8*exponent+int(us>>exponent), 33*8-1)
}

// bucketEnd is the first delay that a bucket does not hold.
func bucketEnd(i int) time.Duration {
	if i < 8 {
		return time.Duration(i+1) * time.Microsecond
	}
	exponent := i/8 - 1
	return time.Duration(uint64(i%8+9)<<exponent) * time.Microsecond
}

// add counts one delay.
func (l *lateness) add(d time.Duration) {
	l.count++
	l.max = max(l.max, d)
	l.buckets[bucketOf(d)]++
}

// jitter is the histogram in figures.
func (l *lateness) jitter() Jitter {
	return Jitter{Count: l.count, P50: l.quantile(50, 100), P99: l.quantile(99, 100), P9999: l.quantile(9999, 10000), Max: l.max}
}

// quantile is the delay that part of whole were not longer than.
func (l *lateness) quantile(part, whole uint64) time.Duration {
	rank := (l.count*part + whole - 1) / whole
	var seen uint64
	for i, n := range l.buckets {
		if seen += n; n > 0 && seen >= rank {
			return min(bucketEnd(i), l.max)
		}
	}
	return 0
}
