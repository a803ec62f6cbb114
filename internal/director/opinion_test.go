package director

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/peer"
)

// TestOpinions: a host is alive for another director when one of its checks is up
// there, or is refused; who knows nothing of it, or has not told everything, has no
// opinion of it.
func TestOpinions(t *testing.T) {
	const a, b, c = "192.0.2.21:80", "192.0.2.22:80", "192.0.2.23:80"
	ping := healthcheck.Check{Ask: healthcheck.Ping{}, Interval: time.Second, Rise: 2, Fall: 3}
	refused := status(a, tcp, healthcheck.Down, "connect: refused")
	refused.Last = healthcheck.Probe{Start: time.Unix(999, 0), Reason: "connect: refused"}
	silent := status(a, tcp, healthcheck.Down, "timeout")
	silent.Last = healthcheck.Probe{Start: time.Unix(999, 0), Silent: true}
	id := func(server string, check healthcheck.Check) string {
		return targetID(status(server, check, 0, "").Target)
	}
	lost := [][]string{{id(a, tcp), id(a, ping)}, {id(b, tcp)}}
	for _, tt := range []struct {
		name string
		sees []healthcheck.Status
		want healthcheck.Opinion
	}{
		{"knows neither", []healthcheck.Status{status(c, tcp, healthcheck.Down, "")}, healthcheck.Opinion{}},
		{"has not looked yet", []healthcheck.Status{status(a, tcp, healthcheck.Unknown, ""), status(b, tcp, healthcheck.Unknown, "")}, healthcheck.Opinion{}},
		{"hears one of two checks", []healthcheck.Status{silent, status(a, ping, healthcheck.Up, ""), status(b, tcp, healthcheck.Down, "")}, healthcheck.Opinion{Alive: 1, Dead: 1}},
		{"is refused", []healthcheck.Status{refused}, healthcheck.Opinion{Alive: 1}},
		{"hears nothing", []healthcheck.Status{silent, status(a, ping, healthcheck.Unknown, ""), status(b, tcp, healthcheck.Down, "")}, healthcheck.Opinion{Dead: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, other := two(nil, tt.sees)
			if got := one.opinions(lost); len(got) > 0 {
				t.Errorf("an opinion before anything was told: %+v", got)
			}
			tell(t, other, "lvs1", one, "lvs2")
			tt.want.Director = "lvs2"
			if diff := cmp.Diff([]healthcheck.Opinion{tt.want}, one.opinions(lost)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			one.shut("lvs2", one.others["lvs2"].session)
			if got := one.opinions(lost); len(got) > 0 {
				t.Errorf("an opinion of one that is gone: %+v", got)
			}
		})
	}

	// Half a table is no opinion.
	var many []healthcheck.Status
	for i := range 1000 {
		many = append(many, status(fmt.Sprintf("192.0.%d.%d:80", i/250, i%250), tcp, healthcheck.Down, "timeout"))
	}
	one, other := two(nil, many)
	payload, more := other.compose("lvs1")
	if err := one.receive("lvs2", one.others["lvs2"].session, payload); err != nil || !more {
		t.Fatalf("%v, more %v", err, more)
	}
	if got := one.opinions(lost); len(got) > 0 {
		t.Errorf("an opinion after half of it: %+v", got)
	}
	if n := tell(t, other, "lvs1", one, "lvs2"); n == 0 || len(one.opinions(lost)) != 1 {
		t.Errorf("%d messages, opinions %+v", n, one.opinions(lost))
	}
	one.open("lvs3", &peer.Session{})
	if got := one.opinions(lost); len(got) != 1 {
		t.Errorf("opinions %+v", got)
	}
}

// TestAsksOthers: in doubt, other directors are asked about the hosts that were
// lost, by the checks that tell of a machine.
func TestAsksOthers(t *testing.T) {
	cfg := parse(t, `
[director.lvs1]
address = "192.0.2.1"
[service.web]
listen  = "192.0.2.10:80/tcp"
owner   = "none"
forward = "nat"
check   = [{ type = "tcp" }, { type = "file", file = "/etc/lvsha/drain/{server}" }, { type = "agent", port = 9777 }, { type = "udp" }]
[[service.web.server]]
address = "192.0.2.21"
[[service.web.server]]
address = "192.0.2.22"
[[service.web.server]]
address = "192.0.2.23"
[[service.web.server]]
address = "192.0.2.24"
`)
	dead := []netip.Addr{netip.MustParseAddr("192.0.2.21")} // for an hour
	now := time.Unix(10000, 0)
	known := func(targets []healthcheck.Target) (out []healthcheck.Judgment) {
		for _, target := range targets {
			v := healthcheck.Judgment{Verdict: healthcheck.Verdict{State: healthcheck.Down, Since: now}, Fell: true, Silence: now.Add(-time.Second)}
			switch {
			case target.Check.Kind() != "tcp":
				v = healthcheck.Judgment{Verdict: healthcheck.Verdict{State: healthcheck.Up}, Heard: now}
			case target.Server.Addr() == dead[0]:
				v.Since = now.Add(-time.Hour)
			case target.Server.Addr() == netip.MustParseAddr("192.0.2.24"):
				v.Fell = false // was never seen
			}
			out = append(out, v)
		}
		return out
	}
	var asked [][]string
	sees := healthcheck.Opinion{Director: "lvs2", Alive: 2}
	ask := func(hosts [][]string) []healthcheck.Opinion {
		asked = hosts
		return []healthcheck.Opinion{sees}
	}
	var j judging
	j.set(cfg, steering{})
	j.look(now, known, ask)
	if diff := cmp.Diff([][]string{{"192.0.2.22:80 tcp"}, {"192.0.2.23:80 tcp"}}, asked); diff != "" {
		t.Errorf("asked about (-want +got):\n%s", diff)
	}
	const why = "nothing is heard from any of 2 servers: is it this director? lvs2 hears 2 of them."
	if !j.doubted.Now || j.doubted.Why != why {
		t.Errorf("doubt %+v", j.doubted)
	}
	if got := len(j.table()[0].Destinations); got != 2 {
		t.Errorf("%d servers are kept, want 2", got)
	}
	sees = healthcheck.Opinion{Director: "lvs2", Dead: 2}
	j.look(now, known, ask)
	if j.doubted.Now || len(j.table()[0].Destinations) != 0 {
		t.Errorf("doubt %+v", j.doubted)
	}
}

// TestQuorums: a service with two addresses is whole when both are, and nothing is
// told before both are known.
func TestQuorums(t *testing.T) {
	cfg := parse(t, `
[director.lvs1]
address = "192.0.2.1"
[service.web]
listen  = ["192.0.2.10:80/tcp", "192.0.2.10:81/tcp"]
owner   = "none"
forward = "nat"
check   = { type = "tcp" }
[[service.web.server]]
address = "192.0.2.21"
`)
	var j judging
	j.set(cfg, steering{})
	for i, step := range []struct {
		first, second healthcheck.State
		want          map[string]bool
	}{
		{healthcheck.Unknown, healthcheck.Unknown, map[string]bool{}},
		{healthcheck.Up, healthcheck.Unknown, map[string]bool{}},
		{healthcheck.Up, healthcheck.Up, map[string]bool{"web": true}},
		{healthcheck.Up, healthcheck.Up, map[string]bool{"web": true}},
		{healthcheck.Down, healthcheck.Up, map[string]bool{"web": false}},
		{healthcheck.Down, healthcheck.Down, map[string]bool{"web": false}},
		{healthcheck.Up, healthcheck.Down, map[string]bool{"web": false}},
		{healthcheck.Up, healthcheck.Up, map[string]bool{"web": true}},
	} {
		j.look(time.Unix(int64(1000+i), 0), func(targets []healthcheck.Target) (out []healthcheck.Judgment) {
			for _, target := range targets {
				state := step.first
				if target.Server.Port() == 81 {
					state = step.second
				}
				out = append(out, healthcheck.Judgment{Verdict: healthcheck.Verdict{State: state}})
			}
			return out
		}, nil)
		if diff := cmp.Diff(step.want, j.quorums()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}
