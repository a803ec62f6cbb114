package healthcheck_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/healthcheck"
)

// TestPanic: a probe that panics has failed with a reason, is counted, and is logged
// with its stack once; the checks go on.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		bad, worse, good := target(1, tcpCheck), target(2, tcpCheck), target(3, tcpCheck)
		fine := tcpCheck
		fine.Ask = fake{"prepared badly"}
		unready := target(4, fine)
		m := healthcheck.New(healthcheck.Options{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Prepare: func(q healthcheck.Question) (healthcheck.ProbeFunc, error) {
				if q == fine.Ask {
					panic("at the beginning")
				}
				return func(_ context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
					switch t.Server {
					case bad.Server:
						var none []byte
						none[len(t.Check.Kind())] = 1
					case worse.Server:
						panic("\x1b[2J" + strings.Repeat("x", 120<<10))
					}
					return healthcheck.Answer{Detail: "fine"}, nil
				}, nil
			},
		})
		m.Set(wants(bad, worse, good, unready))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(10500 * time.Millisecond)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for server, want := range map[healthcheck.Target]string{
			bad:     "the check itself failed, which is a fault of lvsha: runtime error: index out of range [4] with length 0",
			worse:   "the check itself failed, which is a fault of lvsha: ?[2Jxxx",
			unready: "the check itself failed, which is a fault of lvsha: at the beginning",
			good:    "fine",
		} {
			s := state(t, m, server)
			up := server == good
			if !strings.HasPrefix(s.Reason, want) || (s.State == healthcheck.Up) != up || s.Counters.Probes < 10 {
				t.Errorf("%v after %d probes: %q, want %q", s.State, s.Counters.Probes, s.Reason, want)
			}
			if s.Counters.Panics != s.Counters.Failures || (s.Counters.Panics > 0) == up {
				t.Errorf("%d panics, %d failures", s.Counters.Panics, s.Counters.Failures)
			}
			if len([]rune(s.Reason)) > 200 {
				t.Errorf("a reason of %d characters", len([]rune(s.Reason)))
			}
		}
		if n := strings.Count(log.String(), "a check panicked"); n != 3 {
			t.Errorf("%d lines about panics, want one for each place: %s", n, &log)
		}
		if !strings.Contains(log.String(), "guard_test.go") || strings.Contains(log.String(), "\x1b") {
			t.Errorf("no stack of the panic, or raw text, in %s", &log)
		}
	})
}

// TestShown: whatever a kind of check says is fit to be kept and shown.
func TestShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := "\x1b[2J\u202e\xff\n" + strings.Repeat("y", 120<<10)
		const want = "?[2J???yyy"
		fails, warns := target(1, tcpCheck), target(2, tcpCheck)
		var said []string
		m := healthcheck.New(healthcheck.Options{
			OnChange: func(c healthcheck.Change) { said = append(said, c.Reason) },
			Prepare: func(healthcheck.Question) (healthcheck.ProbeFunc, error) {
				return func(_ context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
					if t.Server == fails.Server {
						return healthcheck.Answer{}, errors.New(long)
					}
					return healthcheck.Answer{Detail: long, Warning: long}, nil
				}, nil
			},
		})
		m.Set(wants(fails, warns))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(3 * time.Second)
		cancel()
		<-done
		for _, s := range m.Snapshot() {
			said = append(said, s.Reason, s.Last.Reason, s.History[0].Reason)
			if s.Target == warns {
				said = append(said, s.Last.Warning)
			}
		}
		if len(said) != 9 {
			t.Errorf("%d texts, want 9", len(said))
		}
		for _, text := range said {
			if !strings.HasPrefix(text, want) || len([]rune(text)) != 200 {
				t.Errorf("%d characters: %q", len([]rune(text)), text)
			}
		}
	})
}
