package config

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/ipvs"
)

// TestClaimsGrow: to hold an address and port against all others takes no longer with many.
func TestClaimsGrow(t *testing.T) {
	spent := func(n int) time.Duration {
		var before, after unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &before); err != nil {
			t.Fatal(err)
		}
		claims, r := newClaims(), &report{}
		for i := range n {
			a, port := netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 2)}), uint16(1+i/2)
			if !claims.addresses(r, &node{}, "web", span{Cover: Cover{From: a, To: a, Protocol: ipvs.TCP, First: port, Last: port}}, false) {
				t.Fatalf("claim %d is refused", i)
			}
		}
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &after); err != nil {
			t.Fatal(err)
		}
		return time.Duration(after.Nano() - before.Nano())
	}
	const mostGrowth, besides, rounds = 15, time.Millisecond, 12
	few, many := time.Hour, time.Hour
	for round := 0; round < 3 || round < rounds && many > mostGrowth*(few+besides); round++ {
		few, many = min(few, spent(1000)), min(many, spent(10_000))
	}
	t.Logf("%v for 1,000 and %v for 10,000", few, many)
	if many > mostGrowth*(few+besides) {
		t.Errorf("%v for 1,000 and %v for 10,000", few, many)
	}
}
