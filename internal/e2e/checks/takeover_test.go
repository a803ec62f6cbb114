package checks_test

import (
	"strings"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
)

// TestTakeoverWithoutAddress: no director has an address of its own in the servers' network:
//
//	lvs1    .1 ──┐
//	lvs2    .2 ──┼── 10.0.0.0/24 ── VRRP and the channel
//	lvs1       ──┐
//	lvs2       ──┼── 10.1.0.0/24 ── .254 is the active one's
//	servers .21 ─┘   and .22, .23
//
// The backup reaches nobody, and when the active one is gone it has them all in use at once.
func TestTakeoverWithoutAddress(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	segment, err := r.Net.Segment("inside")
	r.Check(err)
	inside := make(map[int]interface{ Cut() error })
	for i := range r.LVS {
		inside[i], err = segment.Attach(r.LVS[i], "eth1")
		r.Check(err)
	}
	backends := r.Backends(segment, "10.1.0.21/24", "10.1.0.22/24", "10.1.0.23/24")
	backends.Serve(doubtServers...)
	file, _, _ := strings.Cut(channelFile(r.NewKey(r.LVS[0]), r.NewKey(r.LVS[1])), "[service.web]")
	file = strings.Replace(file, `addresses = ["10.0.0.100/24"]`, `addresses = ["10.0.0.100/24", "10.1.0.254/24 dev eth1"]`, 1) + `
[service.web]
listen  = "10.0.0.100:80/tcp"
forward = "nat"
check   = { type = "http", interval = "5s", timeout = "1s" }
` + rig.ServersFile("web", doubtServers...)
	// A busy machine must not have the backup take over before its time.
	file = strings.Replace(file, `advertise = "100ms"`, `advertise = "500ms"`, 1)
	one := r.Lvsha(r.LVS[0], file, memory...)
	r.Becomes(one, "active")
	two := r.Lvsha(r.LVS[1], file, memory...)
	r.Becomes(two, "backup")
	all := []string{"10.1.0.21:80=1", "10.1.0.22:80=1", "10.1.0.23:80=1"}
	r.PoolIs(r.LVS[0], doubtService, all...)
	r.PoolIs(r.LVS[1], doubtService)
	r.Eventually("the channel tells", 30*time.Second, func() bool {
		_, to := channelTo(two, "lvs1")
		return to.Compared == 3
	})
	r.Check(r.Ports[0].Cut())
	r.Check(inside[0].Cut())
	r.Becomes(two, "active")
	r.PoolIs(r.LVS[1], doubtService, all...)
	r.Settle(3 * time.Second) // they are asked, and stay
	r.PoolIs(r.LVS[1], doubtService, all...)
	for _, line := range r.KernelLines(r.LVS[1], "remove server 10.1.0.2") {
		t.Error(line)
	}
	var active, whole time.Time
	r.Check(two.Client().Events(t.Context(), false, func(e control.Event) error {
		switch {
		case e.Kind == "vrrp" && strings.Contains(e.Text, "-> active"):
			active = e.Time
		case e.Kind == "ipvs" && strings.Contains(e.Text, "add server 10.1.0.2"):
			whole = e.Time
		}
		return nil
	}))
	if after := whole.Sub(active); active.IsZero() || after > 500*time.Millisecond {
		t.Errorf("the servers were in use %v after lvs2 was active at %v", after, active)
	} else {
		t.Logf("the servers were in use %v after lvs2 was active", after)
	}
	// By their own answers, not by another's word.
	r.Eventually("their answers", 30*time.Second, func() bool {
		s := r.Server(two, "web/0")
		return s.State == "up" && strings.Contains(s.Reason, "200")
	})
}
