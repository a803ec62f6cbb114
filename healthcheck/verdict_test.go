package healthcheck_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
)

// TestCounter plays results ('+' success, '-' failure) and notes the state after
// each: ?, U or D.
func TestCounter(t *testing.T) {
	tests := []struct {
		name       string
		initial    healthcheck.State
		rise, fall int
		results    string
		want       string
	}{
		{"first success decides", healthcheck.Unknown, 2, 3, "+", "U"},
		{"first failure decides", healthcheck.Unknown, 2, 3, "-", "D"},
		{"falls after fall in a row", healthcheck.Unknown, 2, 3, "+---", "UUUD"},
		{"a success starts the count again", healthcheck.Unknown, 2, 3, "+--+--+---", "UUUUUUUUUD"},
		{"rises after rise in a row", healthcheck.Unknown, 2, 3, "-++", "DDU"},
		{"a failure starts the count again", healthcheck.Unknown, 2, 3, "-+-++", "DDDDU"},
		{"taken over as up", healthcheck.Up, 2, 3, "---", "UUD"},
		{"taken over as up and is", healthcheck.Up, 2, 3, "+--+", "UUUU"},
		{"taken over as down", healthcheck.Down, 2, 3, "++", "DU"},
		{"one is enough", healthcheck.Unknown, 1, 1, "+-+-", "UDUD"},
		{"flapping below both counts", healthcheck.Up, 3, 3, "-+-+--++--++", "UUUUUUUUUUUU"},
	}
	letters := map[healthcheck.State]string{healthcheck.Unknown: "?", healthcheck.Up: "U", healthcheck.Down: "D"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := healthcheck.NewCounter(tt.initial)
			var got strings.Builder
			now := time.Unix(1000, 0)
			for i, r := range tt.results {
				now = now.Add(time.Second)
				before := c.Verdict()
				reason := "probe " + string(r)
				changed := c.Observe(now, r == '+', reason, tt.rise, tt.fall)
				after := c.Verdict()
				got.WriteString(letters[after.State])
				if changed != (before.State != after.State) {
					t.Errorf("result %d: changed is %v from %v to %v", i, changed, before.State, after.State)
				}
				if changed && (after.Since != now || after.Reason != reason) {
					t.Errorf("result %d: got %+v", i, after)
				}
				if !changed && after.Since != before.Since {
					t.Errorf("result %d: since moved without a change", i)
				}
			}
			if got.String() != tt.want {
				t.Errorf("results %s: got %s, want %s", tt.results, got.String(), tt.want)
			}
		})
	}
}

// TestDamping plays results a second apart.
func TestDamping(t *testing.T) {
	check := healthcheck.Check{Rise: 1, Fall: 1, Damping: healthcheck.Damping{Changes: 3, Within: 20 * time.Second, Hold: 5 * time.Second}}
	letters := map[healthcheck.State]string{healthcheck.Unknown: "?", healthcheck.Up: "U", healthcheck.Down: "D"}
	for _, tt := range []struct{ name, results, want string }{
		{"seldom", "+-+------------------+-+", "UDUDDDDDDDDDDDDDDDDDDUDU"},
		{"often", "+-+-+-+++++++", "UDUDUDDDDDDUU"},
		{"a failure starts the hold again", "+-+-+-+++-+++++++", "UDUDUDDDDDDDDDDUU"},
		{"forgiven when it was quiet for long", "+-+-+-++++++++++++++++++++++++-+", "UDUDUDDDDDDUUUUUUUUUUUUUUUUUUUDU"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := healthcheck.NewCounter(healthcheck.Unknown)
			now, got := time.Unix(1000, 0), ""
			for _, r := range tt.results {
				now = now.Add(time.Second)
				c.ObserveCheck(now, r == '+', "probe "+string(r), check)
				got += letters[c.Verdict().State]
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	c := healthcheck.NewCounter(healthcheck.Up)
	now := time.Unix(1000, 0)
	for _, r := range "-+-+-++" {
		now = now.Add(time.Second)
		c.ObserveCheck(now, r == '+', "status 200", check)
	}
	if want := "kept down, as it went down 3 times within 20s: status 200 for 1s of 5s"; c.Verdict().Reason != want {
		t.Errorf("got %s, want %s", c.Verdict().Reason, want)
	}
}

func TestWeigh(t *testing.T) {
	type a = healthcheck.Advice
	for _, tt := range []struct {
		advice []healthcheck.Advice
		weight int
		admin  healthcheck.Admin
	}{
		{nil, 10, healthcheck.AsIs},
		{[]a{{}, {}}, 10, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Percent, Weight: 25}}, 3, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Percent, Weight: 0}}, 0, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Percent, Weight: 50}, {Unit: healthcheck.Absolute, Weight: 7}}, 4, healthcheck.AsIs},
		// keepalived's misc_dynamic: two scripts that exit with 5 and 22.
		{[]a{{Unit: healthcheck.Instead, Weight: 3}, {Unit: healthcheck.Instead, Weight: 20}}, 13, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Added, Weight: -100}}, 0, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Added, Weight: 1000}}, 100, healthcheck.AsIs},
		{[]a{{Unit: healthcheck.Percent, Weight: 65535}, {Unit: healthcheck.Percent, Weight: 65535}, {Unit: healthcheck.Percent, Weight: 50}}, 50, healthcheck.AsIs},
		{[]a{{Admin: healthcheck.Maint}, {Admin: healthcheck.Drain, Unit: healthcheck.Percent, Weight: 100}}, 10, healthcheck.Maint},
	} {
		if weight, admin := healthcheck.Weigh(10, 100, tt.advice); weight != tt.weight || admin != tt.admin {
			t.Errorf("%v: got %d, %v; want %d, %v", tt.advice, weight, admin, tt.weight, tt.admin)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h healthcheck.Histogram
	for _, d := range []time.Duration{0, time.Millisecond, 1100 * time.Microsecond, time.Second, 6 * time.Second} {
		h.Add(d)
	}
	want := []healthcheck.Bucket{{UpTo: time.Millisecond, Count: 2}, {UpTo: 2 * time.Millisecond, Count: 1}, {UpTo: time.Second, Count: 1}, {Count: 1}}
	if diff := cmp.Diff(want, h.Buckets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCombineWeights holds that a check counts for its weight.
func TestCombineWeights(t *testing.T) {
	up, down, unknown := healthcheck.Verdict{State: healthcheck.Up, Reason: "fine"}, healthcheck.Verdict{State: healthcheck.Down, Reason: "not"}, healthcheck.Verdict{}
	for _, tt := range []struct {
		verdicts []healthcheck.Verdict
		want     string
	}{
		{[]healthcheck.Verdict{up, down, down}, "up: 3 of 5 points of checks up, want 3: fine"},
		{[]healthcheck.Verdict{down, up, up}, "down: 2 of 5 points of checks up, want 3: not"},
		{[]healthcheck.Verdict{unknown, up, down}, "unknown: "},
	} {
		v := healthcheck.Require(3).Combine(tt.verdicts, 3, 1, 1)
		if got := v.State.String() + ": " + v.Reason; got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestCombine(t *testing.T) {
	at := func(sec int64) time.Time { return time.Unix(sec, 0) }
	up := healthcheck.Verdict{State: healthcheck.Up, Reason: "connected", Since: at(1)}
	up2 := healthcheck.Verdict{State: healthcheck.Up, Reason: "status 200", Since: at(2)}
	down := healthcheck.Verdict{State: healthcheck.Down, Reason: "timeout", Since: at(3)}
	down2 := healthcheck.Verdict{State: healthcheck.Down, Reason: "refused", Since: at(4)}
	unknown := healthcheck.Verdict{Reason: "not probed yet", Since: at(5)}

	tests := []struct {
		name     string
		require  healthcheck.Require
		verdicts []healthcheck.Verdict
		want     healthcheck.Verdict
	}{
		{"no check", healthcheck.RequireAll, nil, healthcheck.Verdict{State: healthcheck.Up, Reason: "no check"}},
		{"one up", healthcheck.RequireAll, []healthcheck.Verdict{up}, up},
		{"one down", healthcheck.RequireAny, []healthcheck.Verdict{down}, down},
		{"one unknown", healthcheck.RequireAll, []healthcheck.Verdict{unknown}, unknown},
		{"all, all up", healthcheck.RequireAll, []healthcheck.Verdict{up, up2},
			healthcheck.Verdict{State: healthcheck.Up, Reason: "2 of 2 checks up, want all: connected", Since: at(2)}},
		{"all, one down", healthcheck.RequireAll, []healthcheck.Verdict{up, down},
			healthcheck.Verdict{State: healthcheck.Down, Reason: "1 of 2 checks up, want all: timeout", Since: at(3)}},
		{"all, one unknown", healthcheck.RequireAll, []healthcheck.Verdict{up, unknown}, unknown},
		{"all, down beats unknown", healthcheck.RequireAll, []healthcheck.Verdict{unknown, down},
			healthcheck.Verdict{State: healthcheck.Down, Reason: "0 of 2 checks up, want all: timeout", Since: at(3)}},
		{"any, one up", healthcheck.RequireAny, []healthcheck.Verdict{down, up},
			healthcheck.Verdict{State: healthcheck.Up, Reason: "1 of 2 checks up, want any: connected", Since: at(1)}},
		{"any, up beats unknown", healthcheck.RequireAny, []healthcheck.Verdict{unknown, up},
			healthcheck.Verdict{State: healthcheck.Up, Reason: "1 of 2 checks up, want any: connected", Since: at(1)}},
		{"any, down and unknown", healthcheck.RequireAny, []healthcheck.Verdict{down, unknown}, unknown},
		{"any, none", healthcheck.RequireAny, []healthcheck.Verdict{down, down2},
			healthcheck.Verdict{State: healthcheck.Down, Reason: "0 of 2 checks up, want any: timeout", Since: at(4)}},
		{"two of three", 2, []healthcheck.Verdict{down, up, up2},
			healthcheck.Verdict{State: healthcheck.Up, Reason: "2 of 3 checks up, want 2: connected", Since: at(2)}},
		{"one of three is not two", 2, []healthcheck.Verdict{down, up, down2},
			healthcheck.Verdict{State: healthcheck.Down, Reason: "1 of 3 checks up, want 2: timeout", Since: at(4)}},
		{"more than there are is all", 9, []healthcheck.Verdict{up, up2},
			healthcheck.Verdict{State: healthcheck.Up, Reason: "2 of 2 checks up, want 9: connected", Since: at(2)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.require.Combine(tt.verdicts)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextDue(t *testing.T) {
	base := time.Unix(1000, 0)
	const s = time.Second
	for _, tt := range []struct {
		name string
		late time.Duration // when the probe due at base ended
		want time.Duration // when the next one is due
	}{
		{"in time", s / 10, s},
		{"used the whole interval", s, s},
		{"a bit more than the interval: the rhythm holds", s + s/10, s},
		{"missed one: skip it", 2*s + s/10, 3 * s},
		{"stopped for a while: no burst", 100*s + s/2, 101 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := healthcheck.NextDue(base, base.Add(tt.late), s).Sub(base)
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestPhase holds that neighbouring servers are spread evenly.
func TestPhase(t *testing.T) {
	const targets, buckets = 10000, 20
	var count [buckets]int
	for i := range targets {
		count[int(healthcheck.Phase(target(i, tcpCheck))*buckets)]++
	}
	for b, n := range count {
		if n < targets/buckets*8/10 || n > targets/buckets*12/10 {
			t.Errorf("bucket %d has %d of %d targets, want about %d", b, n, targets, targets/buckets)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for in, want := range map[string]string{
		"": "200-299", "200": "200", "200-299,304": "200-299,304", " 200 - 204 , 301": "200-204,301", "100-599": "100-599",
	} {
		set, err := healthcheck.ParseStatus(in)
		if err != nil || set.String() != want {
			t.Errorf("%q: got %v, %v, want %s", in, set, err, want)
		}
	}
	for _, in := range []string{",", "20", "600", "99-200", "300-200", "2xx", "200-", "-200", "200,,300", "200-250-300", "+200"} {
		if set, err := healthcheck.ParseStatus(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, set)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{"", "200", "200-299,304", "9-", ",,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := healthcheck.ParseStatus(s)
		if err != nil {
			return
		}
		again, err := healthcheck.ParseStatus(set.String())
		if err != nil {
			t.Fatalf("%q is printed as %q, which is refused: %v", s, set, err)
		}
		if diff := cmp.Diff(set, again); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCanonical(t *testing.T) {
	a := healthcheck.Target{Server: addrPort("192.0.2.21:80"), Check: healthcheck.Check{Ask: healthcheck.TCP{}, Port: 8080}}
	b := healthcheck.Target{Server: addrPort("[::ffff:192.0.2.21]:443"), Check: healthcheck.Check{Ask: healthcheck.TCP{}, Port: 8080}}
	if a.Canonical() != b.Canonical() {
		t.Errorf("%v and %v are one probe", a.Canonical(), b.Canonical())
	}
	if got, want := a.Canonical().String(), "192.0.2.21:8080 tcp"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCombineMute: what passes without a word of the server counts for nothing where
// another check has one, and for success where none has.
func TestCombineMute(t *testing.T) {
	up := healthcheck.Verdict{State: healthcheck.Up, Reason: "status 200"}
	down := healthcheck.Verdict{State: healthcheck.Down, Reason: "status 500"}
	open := healthcheck.Verdict{Reason: "not probed yet"}
	mute := healthcheck.Verdict{State: healthcheck.Up, Reason: "agent is not heard", Mute: true}
	for _, tt := range []struct {
		require  healthcheck.Require
		verdicts []healthcheck.Verdict
		want     healthcheck.State
		reason   string
	}{
		{healthcheck.RequireAny, []healthcheck.Verdict{down, mute}, healthcheck.Down, "status 500"},
		{healthcheck.RequireAny, []healthcheck.Verdict{mute, down, mute}, healthcheck.Down, "status 500"},
		{healthcheck.RequireAny, []healthcheck.Verdict{up, down, mute}, healthcheck.Up, "1 of 2 checks up, want any: status 200"},
		{healthcheck.RequireAny, []healthcheck.Verdict{open, mute}, healthcheck.Unknown, "not probed yet"},
		{healthcheck.Require(2), []healthcheck.Verdict{up, mute, down}, healthcheck.Down, "1 of 2 checks up, want 2: status 500"},
		{healthcheck.Require(2), []healthcheck.Verdict{up, mute}, healthcheck.Up, "status 200"},
		{healthcheck.RequireAll, []healthcheck.Verdict{up, mute}, healthcheck.Up, "status 200"},
		{healthcheck.RequireAll, []healthcheck.Verdict{mute, mute}, healthcheck.Up, "agent is not heard"},
		{healthcheck.RequireAll, []healthcheck.Verdict{down, mute}, healthcheck.Down, "status 500"},
	} {
		if got := tt.require.Combine(tt.verdicts); got.State != tt.want || got.Reason != tt.reason {
			t.Errorf("%s of %v: %s (%s), want %s (%s)", tt.require, tt.verdicts, got.State, got.Reason, tt.want, tt.reason)
		}
	}
}
