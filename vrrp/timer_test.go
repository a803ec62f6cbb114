package vrrp_test

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/vrrp"
)

// TestV3_TMR_06 checks Active_Down_Interval and Skew_Time as a Backup has them:
// by its deadline after Startup and after a release, to the nanosecond (V3-TMR-04).
func TestV3_TMR_06(t *testing.T) {
	for _, tt := range []struct {
		priority   uint8
		interval   time.Duration
		skew, down string
	}{
		{100, time.Second, "609.375ms", "3.609375s"},
		{200, time.Second, "218.75ms", "3.21875s"},
		{1, time.Second, "996.09375ms", "3.99609375s"},
		{1, 40950 * time.Millisecond, "40.790039062s", "2m43.640039062s"},
		{254, 100 * time.Millisecond, "781.25µs", "300.78125ms"}, // V3-TMR-04
		{200, 100 * time.Millisecond, "21.875ms", "321.875ms"},
	} {
		r := vrrp.NewRouter(with(func(c *vrrp.Config) { c.Priority, c.Interval = tt.priority, tt.interval }))
		r.Step(epoch, usable)
		r.Step(epoch, vrrp.Startup{})
		if got := r.Deadline().Sub(epoch).String(); got != tt.down {
			t.Errorf("priority %d every %s: down %s, want %s", tt.priority, tt.interval, got, tt.down)
		}
		r.Step(epoch, received(0, higher, 0, tt.interval))
		if got := r.Deadline().Sub(epoch).String(); got != tt.skew {
			t.Errorf("priority %d every %s: skew %s, want %s", tt.priority, tt.interval, got, tt.skew)
		}
	}
}

// TestV3_TMR_07 wants 0 < skew < A, and less the higher the priority.
func TestV3_TMR_07(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Millisecond, time.Second, 40950 * time.Millisecond} {
		last := interval
		for p := 1; p < 255; p++ {
			r := vrrp.NewRouter(with(func(c *vrrp.Config) { c.Priority, c.Interval = uint8(p), interval }))
			r.Step(epoch, usable)
			r.Step(epoch, vrrp.Startup{})
			skew := r.Deadline().Sub(epoch) - 3*interval
			if skew <= 0 || skew >= last {
				t.Fatalf("priority %d every %s: skew %s after %s", p, interval, skew, last)
			}
			last = skew
		}
	}
}

// TestV3_TMR_03 has an Active that learned another interval as Backup beat with
// its own.
func TestV3_TMR_03(t *testing.T) {
	r := vrrp.NewRouter(base())
	r.Step(epoch, usable)
	r.Step(epoch, vrrp.Startup{})
	r.Step(epoch, received(0, higher, 150, 2*time.Second))
	at := r.Deadline()
	r.Step(at, vrrp.Tick{})
	if r.State() != vrrp.Active {
		t.Fatalf("state %s", r.State())
	}
	r.Step(r.Deadline().Add(-time.Nanosecond), vrrp.Tick{})
	if got := r.Deadline().Sub(at); got > time.Second {
		t.Errorf("beats after %s", got)
	}
}

// TestV3_ACT_13 floods an Active (SIM-STORM-03): answers and announcements stay
// within their buckets, and it stays Active.
func TestV3_ACT_13(t *testing.T) {
	r := vrrp.NewRouter(base())
	r.Step(epoch, usable)
	r.Step(epoch, vrrp.Startup{})
	r.Step(epoch.Add(elected), vrrp.Tick{})
	sent, rounds := 0, 0
	for i := range 10000 { // a millisecond apart
		at := elected + time.Duration(i)*time.Millisecond
		actions := append([]vrrp.Action(nil), r.Step(epoch.Add(at), received(at, lower, 50, time.Second))...)
		actions = append(actions, r.Step(epoch.Add(at), vrrp.Tick{})...)
		for _, a := range actions {
			switch a := a.(type) {
			case vrrp.Send:
				sent++
			case vrrp.Announce:
				rounds += a.Rounds
			}
		}
	}
	if sent > 3+4*10+10 || rounds > 60 || r.State() != vrrp.Active {
		t.Errorf("10,000 losing advertisements in 10 s: %d sent, %d rounds, %s", sent, rounds, r.State())
	}
}

// TestSIM_SAFE_08 breaks each octet of a good packet: what is refused must not
// reach a router, and no octet can be broken without its being refused, but
// those that the checksum cannot tell.
func TestSIM_SAFE_08(t *testing.T) {
	good, err := hex.DecodeString("3133640100640572c0000264")
	if err != nil {
		t.Fatal(err)
	}
	var adv vrrp.Advertisement
	for i := range good {
		for bit := range 8 {
			p := packet(t, "192.0.2.1", "224.0.0.18", "3133640100640572c0000264")
			p.Payload[i] ^= 1 << bit
			before := fmt.Sprint(adv)
			if _, reason := adv.Decode(p, 3, vrrp.ChecksumAuto); reason == vrrp.Accepted {
				t.Errorf("octet %d bit %d was accepted", i, bit)
			}
			if diff := cmp.Diff(before, fmt.Sprint(adv)); diff != "" {
				t.Errorf("a refused packet was decoded:\n%s", diff)
			}
		}
	}
}
