package director

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/peer"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// farNetwork has servers that are out of reach until an address comes.
type farNetwork struct {
	mu      sync.Mutex // guards what follows
	reached bool
	how     error
	dead    map[string]bool
	refuses map[string]bool
}

func (n *farNetwork) come() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reached = true
}

func (n *farNetwork) prepare(healthcheck.Question) (healthcheck.ProbeFunc, error) {
	return func(ctx context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
		n.mu.Lock()
		reached, how, at := n.reached, n.how, t.Server.Addr().String()
		dead, refuses := n.dead[at], n.refuses[at]
		n.mu.Unlock()
		switch {
		case !reached && how != nil:
			return healthcheck.Answer{}, fmt.Errorf("connect: %w", how)
		case !reached, dead:
			<-ctx.Done()
			if errors.Is(ctx.Err(), context.Canceled) {
				return healthcheck.Answer{}, errors.New("connect: operation was canceled")
			}
			return healthcheck.Answer{}, fmt.Errorf("connect: %w", syscall.ETIMEDOUT)
		}
		select {
		case <-time.After(150 * time.Millisecond):
		case <-ctx.Done():
		}
		if refuses {
			return healthcheck.Answer{}, errors.New("status 503")
		}
		return healthcheck.Answer{Detail: "status 200"}, nil
	}, nil
}

// TestTakeoverOfFarServers: a backup that can reach the servers only once it has the address
// uses those that the lost active director had up from the moment on at which it has it, and
// what it hears of each itself decides as soon as it does.
func TestTakeoverOfFarServers(t *testing.T) {
	servers := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
	const up = "10.0.0.1:80=1 10.0.0.2:80=1 10.0.0.3:80=1"
	for _, tt := range []struct {
		name   string
		how    error         // it cannot reach them; nil is silence
		closed time.Duration // before the takeover; zero is not at all
		late   time.Duration // the address, after the takeover
		at0    string        // what is used at once
		at250  string        // after 250 ms, or that after the address came
		at10s  string
	}{
		// 10.0.0.2 refuses, 10.0.0.3 is dead by now, 10.0.0.4 was down for the other.
		{"no route", syscall.ENETUNREACH, time.Second, 0, up, "10.0.0.1:80=1 10.0.0.3:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
		{"silence", nil, time.Second, 0, up, "10.0.0.1:80=1 10.0.0.3:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
		{"no address", fmt.Errorf("%w: %w", healthcheck.ErrInconclusive, syscall.EADDRNOTAVAIL), time.Second, 0, up, "10.0.0.1:80=1 10.0.0.3:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
		{"the address comes late", syscall.ENETUNREACH, time.Second, 300 * time.Millisecond, up, "10.0.0.1:80=1 10.0.0.3:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
		{"the session is there still", syscall.ENETUNREACH, 0, 0, up, "10.0.0.1:80=1 10.0.0.3:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
		{"the session ended long ago", syscall.ENETUNREACH, 2 * time.Minute, 0, "", "10.0.0.1:80=1 10.0.0.4:80=1", "10.0.0.1:80=1 10.0.0.4:80=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := &farNetwork{how: tt.how, refuses: map[string]bool{"10.0.0.2": true}, dead: map[string]bool{"10.0.0.3": true}}
				m := &lone{T: t, table: ipvs.NewMemory(nil), dir: t.TempDir(), state: t.TempDir(), text: serviceOf("", servers...), prepare: far.prepare}
				m.start()
				t.Cleanup(func() { m.stop() })
				used := func(want string) {
					t.Helper()
					synctest.Wait()
					got := strings.ReplaceAll(m.servers(), "192.0.2.10:80/tcp>", "")
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("in use (-want +got):\n%s", diff)
					}
				}
				session := &peer.Session{}
				channel := m.d.channel
				channel.mu.Lock()
				channel.compare.open("lvs2", session)
				sees := make(map[string]seen)
				for _, s := range m.d.monitor.Snapshot() {
					sees[targetID(s.Target)] = seen{State: map[bool]string{true: "down", false: "up"}[s.Target.Server.Addr().String() == "10.0.0.4"]}
				}
				channel.compare.others["lvs2"].sees, channel.compare.others["lvs2"].whole = sees, true
				channel.mu.Unlock()
				m.pass(20*time.Second + 100*time.Millisecond) // silence: probes are in flight
				used("")
				if tt.closed > 0 {
					channel.mu.Lock()
					channel.compare.keep("lvs2", session, time.Now())
					channel.compare.shut("lvs2", session)
					channel.mu.Unlock()
					m.pass(tt.closed)
				}
				used("")
				if tt.late == 0 {
					far.come()
				}
				m.d.inbox.add(vrrp.Transition{Name: "web", From: vrrp.Backup, To: vrrp.Active, At: time.Now()})
				used(tt.at0)
				if tt.late > 0 {
					m.pass(tt.late)
					used(tt.at0)
					far.come()
					m.pass(100 * time.Millisecond)
				}
				m.pass(250 * time.Millisecond)
				used(tt.at250)
				m.pass(10 * time.Second)
				used(tt.at10s)
				if status := m.shows("web"); !strings.HasPrefix(status, "up: 2 of 4 servers up") {
					t.Errorf("status %s", status)
				}
			})
		})
	}
}
