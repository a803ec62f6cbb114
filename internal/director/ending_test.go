package director

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"lvsha/healthcheck"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// TestStopAfterHold: a stop that comes after the one that was to restart gives everything
// up, whenever it comes.
func TestStopAfterHold(t *testing.T) {
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			m := newLone(t, drained)
			m.has("192.0.2.10:80/tcp>10.0.0.1:80=1 192.0.2.10:80/tcp>10.0.0.2:80=3")
			m.d.Stop(vrrp.Hold)
			m.d.Stop(vrrp.Release)
			m.pass(5 * time.Second)
			m.has("")
			if r, err := readRecord(m.dir); err != nil || r.Phase != Released {
				t.Errorf("the record says %s, %v", r.Phase, err)
			}
		})
	}
}

// TestEndingOvertaken: whoever has held everything already is told that it is too much.
func TestEndingOvertaken(t *testing.T) {
	e := newEnding(vrrp.Hold)
	e.held = true
	if e.overtaken() || over(e.hurry) || over(e.release) {
		t.Error("a hold alone is overtaken")
	}
	e.again(vrrp.Hold)
	if e.overtaken() || !over(e.hurry) {
		t.Error("a second hold is no hurry, or more than that")
	}
	e.again(vrrp.Release)
	e.again(vrrp.Release)
	if !e.overtaken() || !over(e.release) {
		t.Error("a release does not win")
	}
}

// TestEndWithoutWhatHangs: a check that does not come back, as its file is on a server that
// does not answer, does not keep the process from ending.
func TestEndWithoutWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never, release := io.Pipe()
		const text = `
[service.web]
listen = "192.0.2.10:80/tcp"
owner = "none"
forward = "nat"
check = { type = "file", file = "/number" }
[[service.web.server]]
address = "10.0.0.1:80"
`
		m := &lone{T: t, table: ipvs.NewMemory(nil), dir: t.TempDir(), state: t.TempDir(), text: text}
		m.prepare = func(healthcheck.Question) (healthcheck.ProbeFunc, error) {
			return func(context.Context, healthcheck.Target) (healthcheck.Answer, error) {
				_, err := never.Read(make([]byte, 1))
				return healthcheck.Answer{}, err
			}, nil
		}
		m.start()
		began := time.Now()
		m.d.Stop(vrrp.Hold)
		<-m.ended
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		r, err := readRecord(m.dir)
		if err != nil || r.Phase != Held {
			t.Errorf("the record says %s, %v", r.Phase, err)
		}
		release.Close()
		m.stop()
	})
}
