package checks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// A pair whose servers are on a segment of their own:
//
//	client  .9 ──┐
//	lvs1    .1 ──┼── 10.0.0.0/24 ── VRRP and the channel
//	lvs2    .2 ──┘
//	lvs1    .1 ──┐
//	lvs2    .2 ──┼── 10.1.0.0/24
//	servers .21 ─┘   and .22, .23; the sorry server is .99
type doubtRig struct {
	*rig.Rig
	*rig.Backends
	inside  [2]*lab.Port
	daemons [2]*lab.Daemon
}

var doubtServers = []string{"10.1.0.21:80", "10.1.0.22:80", "10.1.0.23:80"}

const doubtService = "10.0.0.100:80/tcp"

// newDoubtRig starts the pair, with the channel or without.
func newDoubtRig(t *testing.T, channel bool, health string) *doubtRig {
	t.Helper()
	r := &doubtRig{Rig: rig.New(t)}
	segment, err := r.Net.Segment("inside")
	r.Rig.Check(err)
	for i, address := range []string{"10.1.0.1/24", "10.1.0.2/24"} {
		r.inside[i], err = segment.Attach(r.LVS[i], "eth1", address)
		r.Rig.Check(err)
	}
	r.Backends = r.Rig.Backends(segment, "10.1.0.21/24", "10.1.0.22/24", "10.1.0.23/24", "10.1.0.99/24")
	r.Serve(doubtServers...)
	one, two := "", ""
	if channel {
		one, two = r.NewKey(r.LVS[0]), r.NewKey(r.LVS[1])
	}
	head, _, _ := strings.Cut(channelFile(one, two), "[service.web]")
	file := head + health + `
[service.web]
listen  = "10.0.0.100:80/tcp"
forward = "nat"
quorum  = 2
sorry   = "10.1.0.99:80"
check   = [
  { type = "http", interval = "200ms", timeout = "150ms", rise = 2, fall = 2 },
  { type = "file", file = "/run/drain-{server}", interval = "200ms" },
  { type = "agent", port = 9777, interval = "200ms" },
]
` + rig.ServersFile("web", doubtServers...)
	for i, h := range r.LVS {
		r.daemons[i] = r.Lvsha(h, file, memory...)
	}
	r.Becomes(r.daemons[0], "active")
	r.Becomes(r.daemons[1], "backup")
	for i := range r.LVS {
		r.whole(i)
	}
	if channel {
		r.Eventually("both compare", 30*time.Second, func() bool {
			_, a := channelTo(r.daemons[0], "lvs2")
			_, b := channelTo(r.daemons[1], "lvs1")
			return a.Compared == 9 && b.Compared == 9
		})
	}
	return r
}

// whole waits until all servers are in the pool of a director.
func (r *doubtRig) whole(i int) {
	r.Rig.Helper()
	r.PoolIs(r.LVS[i], doubtService, "10.1.0.21:80=1", "10.1.0.22:80=1", "10.1.0.23:80=1")
}

// sorry waits until the sorry server has everything.
func (r *doubtRig) sorry(i int) {
	r.Rig.Helper()
	r.PoolIs(r.LVS[i], doubtService, "10.1.0.99:80=1")
}

// doubts are the problems of a director that doubts itself.
func doubts(d *lab.Daemon) []string {
	s, err := d.Status()
	if err != nil {
		return []string{err.Error()}
	}
	return slices.DeleteFunc(s.Problems, func(p string) bool { return !strings.Contains(p, "is it this director?") })
}

// neverLost fails the test if a server left the pool of a director.
func (r *doubtRig) neverLost(i int) {
	r.Rig.Helper()
	for _, line := range r.KernelLines(r.LVS[i], "server") {
		if strings.HasPrefix(line, "remove server 10.1.0.2") || strings.HasPrefix(line, "set weight of server 10.1.0.2") {
			r.Rig.Errorf("%s: %s", r.LVS[i].Name, line)
		}
	}
}

// TestDoubtCut: lvs1 is cut off from the servers. It keeps its pool, says why, and
// lvs2, which hears them, takes over; when it is healed all is as before.
func TestDoubtCut(t *testing.T) {
	for _, channel := range []bool{true, false} {
		t.Run(fmt.Sprintf("channel %v", channel), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			r := newDoubtRig(t, channel, "")
			one, two := r.daemons[0], r.daemons[1]
			cut := time.Now()
			r.Rig.Check(r.inside[0].Cut())
			r.Becomes(two, "active")
			t.Logf("lvs2 was active %v after the cut", time.Since(cut))
			r.Becomes(one, "backup")
			why := "! nothing is heard from any of 3 servers: is it this director?"
			if channel {
				why += " lvs2 hears 3 of them."
			}
			r.Printed(r.LVS[0], 15*time.Second, why, "priority 50 (150 configured, -100 because nothing is heard",
				"service web: UP: no server passes its checks, and 3 are kept", "kept: nothing is heard from any server, so this director is doubted; ")
			r.Settle(time.Second)
			r.neverLost(0)
			if got := doubts(two); len(got) > 0 {
				t.Errorf("lvs2 doubts itself: %q", got)
			}
			r.Rig.Check(r.inside[0].Mend())
			r.Becomes(one, "active")
			r.Becomes(two, "backup")
			r.Eventually("an end of the doubt", 30*time.Second, func() bool { return len(doubts(one)) == 0 })
			r.neverLost(0)
			r.neverLost(1)
			events := r.Events(one)
			for _, want := range []string{"nothing is heard from any of 3 servers", "this director is not doubted any more"} {
				if !strings.Contains(events, want) {
					t.Errorf("no %q in\n%s", want, events)
				}
			}
			if strings.Contains(events, "quorum lost") {
				t.Errorf("the quorum was told lost:\n%s", events)
			}
		})
	}
}

// TestDoubtRefused: the processes of all servers are gone, and their machines refuse.
// That is no reason to doubt.
func TestDoubtRefused(t *testing.T) {
	t.Parallel()
	r := newDoubtRig(t, true, "")
	r.Kill(doubtServers...)
	r.sorry(0)
	r.sorry(1)
	for _, d := range r.daemons {
		if strings.Contains(r.Events(d), "is it this director?") {
			t.Errorf("doubt:\n%s", r.Events(d))
		}
	}
	r.Becomes(r.daemons[0], "active")
	r.Serve(doubtServers...)
	r.whole(0)
	r.whole(1)
}

// TestDoubtOne: one machine of three is gone. The others are heard, so that nobody
// waits to take it out.
func TestDoubtOne(t *testing.T) {
	t.Parallel()
	r := newDoubtRig(t, false, "")
	_, err := r.Host.Run("ip", "addr", "del", "10.1.0.23/24", "dev", "eth0")
	r.Rig.Check(err)
	died := time.Now()
	r.PoolIs(r.LVS[0], doubtService, "10.1.0.21:80=1", "10.1.0.22:80=1")
	took := time.Since(died)
	t.Logf("out of the pool %v after it died", took)
	// Two intervals of 200 ms and a timeout of 150 ms.
	if took > 1200*time.Millisecond {
		t.Errorf("it was out of the pool after %v", took)
	}
	for _, d := range r.daemons {
		if got := doubts(d); len(got) > 0 {
			t.Errorf("doubt: %q", got)
		}
	}
}

// TestDoubtDead: the machines of all servers are gone, for both directors. Over the
// channel they find out at once; without it they go by the limit.
func TestDoubtDead(t *testing.T) {
	for _, channel := range []bool{true, false} {
		t.Run(fmt.Sprintf("channel %v", channel), func(t *testing.T) {
			t.Parallel()
			const limit = 5 * time.Second
			r := newDoubtRig(t, channel, fmt.Sprintf("[health]\ndoubt = %q\n", limit))
			died := time.Now()
			r.Rig.Check(r.Backends.Port.Cut())
			r.sorry(0)
			took := time.Since(died)
			r.sorry(1)
			t.Logf("the sorry server answers %v after the servers died", took)
			if channel && took > limit/2 {
				t.Errorf("the doubt lasted %v with another director that hears nothing either", took)
			}
			if !channel && took < limit {
				t.Errorf("the doubt lasted %v, want %v", took, limit)
			}
			r.Becomes(r.daemons[0], "active")
			for _, d := range r.daemons {
				if got := doubts(d); len(got) > 0 {
					t.Errorf("doubt: %q", got)
				}
				if s := d.Router("web"); s.Priority != s.Configured {
					t.Errorf("priority %d, configured %d", s.Priority, s.Configured)
				}
			}
			r.Rig.Check(r.Backends.Port.Mend())
			r.whole(0)
			r.whole(1)
			s, err := r.daemons[0].Status()
			r.Rig.Check(err)
			if i := slices.IndexFunc(s.Services, func(v control.Service) bool { return v.State != "up" }); i >= 0 {
				t.Errorf("service %+v", s.Services[i])
			}
		})
	}
}
