package healthcheck_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/healthcheck"
)

// TestAnew: what could not be reached is asked at once when addresses have come, and its
// first answer decides; what had answered keeps its pace. What fails in the first half of a
// second is asked again and says nothing.
func TestAnew(t *testing.T) {
	check := tcpCheck
	check.Interval, check.Timeout = time.Minute, 500*time.Millisecond
	unreachable := fmt.Errorf("connect: %w", syscall.ENETUNREACH)
	local := fmt.Errorf("%w: %w", healthcheck.ErrInconclusive, syscall.EADDRNOTAVAIL)
	refused := errors.New("connect: refused")
	for _, tt := range []struct {
		name          string
		before, after error
		lasts         time.Duration // before, after the addresses came
		within        time.Duration // of the first probe since; 0 is not asked
		state         healthcheck.State
		decided       time.Duration // when it is that; 0 is not asked about
	}{
		{"unreachable, then up", unreachable, nil, 0, 2 * time.Millisecond, healthcheck.Up, 2 * time.Millisecond},
		{"timeout, then up", healthcheck.ErrTimeout, nil, 0, 2 * time.Millisecond, healthcheck.Up, 2 * time.Millisecond},
		{"no address, then up", local, nil, 0, 2 * time.Millisecond, healthcheck.Up, 2 * time.Millisecond},
		{"unreachable for a while, then up", unreachable, nil, 350 * time.Millisecond, 2 * time.Millisecond, healthcheck.Up, 460 * time.Millisecond},
		{"unreachable, then refused", unreachable, refused, 0, 2 * time.Millisecond, healthcheck.Down, 0},
		{"unreachable for good", unreachable, unreachable, 0, 2 * time.Millisecond, healthcheck.Down, 0},
		{"refused", refused, nil, 0, 0, healthcheck.Down, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			monitored(t, 10, func(t *testing.T, f *farm, m *healthcheck.Monitor, _ *changes) {
				one := target(1, check)
				f.set(one, tt.before)
				m.Set([]healthcheck.Want{{Target: one}})
				time.Sleep(150 * time.Second)
				if s, _ := m.Status(one); s.State == healthcheck.Up {
					t.Fatalf("up before: %+v", s)
				}
				n, start := len(f.probes(one)), time.Now()
				if tt.lasts == 0 {
					f.set(one, tt.after)
				}
				until := m.Anew()
				anew := func() bool {
					synctest.Wait()
					return m.Judgments([]healthcheck.Target{one})[0].Anew
				}
				if tt.within == 0 {
					time.Sleep(5 * time.Second)
					if anew() || len(f.probes(one)) != n || !until.IsZero() {
						t.Errorf("asked although it had answered, until %v", until)
					}
					return
				}
				if !until.Equal(start.Add(time.Second + check.Timeout)) {
					t.Errorf("until %v", until.Sub(start))
				}
				if tt.lasts > 0 {
					time.Sleep(tt.lasts)
					if !anew() {
						t.Error("an early failure counts")
					}
					f.set(one, tt.after)
				}
				time.Sleep(time.Until(start.Add(max(tt.decided, tt.within))))
				if probes := f.probes(one); len(probes) <= n || probes[n].Sub(start) > tt.within {
					t.Fatalf("probes %v", probes[n:])
				}
				if s, _ := m.Status(one); tt.decided > 0 && (anew() || s.State != tt.state) {
					t.Errorf("%v, anew %t", s.Verdict, anew())
				}
				time.Sleep(time.Until(until))
				if s, _ := m.Status(one); anew() || s.State != tt.state {
					t.Errorf("%v, anew %t at the end", s.Verdict, anew())
				}
				if n := len(f.probes(one)) - n; n > 8 {
					t.Errorf("%d probes", n)
				}
			})
		})
	}
}
