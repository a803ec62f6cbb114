package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/control"
)

var update = flag.Bool("update", false, "write testdata anew")

// statusForTest is a status with all that the printer makes words of.
func statusForTest(now time.Time) control.Status {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	check := control.Check{
		Check: "10.1.0.21:80 http /healthz", State: "up", Since: ago(time.Hour), Reason: "status 200", Interval: "2s", Timeout: "1s", Rise: 2, Fall: 3,
		Streak: 2, Last: &control.Probe{Time: ago(800 * time.Millisecond), Latency: "1.2ms", Reason: "connect: refused"},
		Warning: "the certificate expires on 2026-02-01, in 9 days", Probes: 1801, Failures: 5, Inconclusive: 1, Late: 2,
		Latency: []control.Bucket{{UpTo: "1ms", Count: 1200}, {UpTo: "2ms", Count: 590}, {UpTo: "inf", Count: 5}},
		History: []control.Transition{
			{Time: ago(2 * time.Hour), From: "unknown", To: "up", Reason: "status 200"},
			{Time: ago(90 * time.Minute), From: "up", To: "down", Reason: "status 503, want 200-299"},
			{Time: ago(time.Hour), From: "down", To: "up", Reason: "status 200"},
		},
	}
	agent := control.Check{
		Check: "10.1.0.21:9777 agent", State: "up", Since: ago(time.Hour), Reason: "agent says 50%", Interval: "1s", Timeout: "1s", Rise: 2, Fall: 3,
		Last: &control.Probe{Time: ago(200 * time.Millisecond), Latency: "300µs", OK: true, Reason: "agent says 50%"}, Advice: "weight 50%", Probes: 1,
	}
	refused := control.Check{
		Check: "10.1.0.22:80 http /healthz", State: "down", Since: ago(time.Minute), Reason: "connect: refused", Interval: "2s", Timeout: "1s", Rise: 2, Fall: 3,
		Streak: 1, Last: &control.Probe{Time: ago(time.Second), Latency: "2ms", OK: true, Reason: "status 200"}, Probes: 30, Failures: 29,
	}
	return control.Status{
		Director: "lvs1", Generation: 3, Started: ago(3 * time.Hour), File: "/etc/lvsha/lvsha.toml",
		Problems: []string{"service web: a warning", "service mail: no server is up", "this director is doubted"},
		VRRP:     []control.Router{{Name: "site", State: "active", Since: ago(time.Hour), Reason: "nobody else", Interface: "eth0", Addresses: []string{"192.0.2.10/24"}}},
		Services: []control.Service{
			{
				Name: "web", Listen: []string{"192.0.2.10:80/tcp"}, Scheduler: "wlc", Forward: "dr", State: "up", Reason: "2 of 3 servers up",
				Quorum: true, Require: "all", WeightUp: 3, QuorumWeight: 2, Hysteresis: 1, Scale: 100,
				Servers: []control.Server{
					{
						Address: "10.1.0.21:80", Weight: 2, State: "up", Since: ago(time.Hour), Reason: "weight 1 instead of 2, as it was advised; status 200",
						Active: 3, Inactive: 4, Used: true, Share: 100,
						Traffic: &control.Traffic{Connections: 1 << 40, InPackets: 9, InBytes: 9999, InByteRate: 12345, ConnectionRate: 7}, Checks: []control.Check{check, agent},
						Peers: map[string]control.ServerView{"lvs2": {State: "up", Reason: "status 200"}},
					},
					{Address: "10.1.0.22:80", Weight: 1, UpperThreshold: 100, LowerThreshold: 80, Tunnel: "gue port 6080", State: "down", Since: ago(time.Minute), Reason: "connect: refused", Checks: []control.Check{refused}},
					{
						Address: "10.1.0.23:80", Weight: 1, State: "up", Since: ago(3 * time.Second), Reason: "slow start: 10 % of its share, all of it in 27s; status 200",
						Used: true, Share: 10,
					},
				},
				Sorry: &control.Server{Address: "10.1.0.99:80", Weight: 1, State: "standby", Reason: "there is a quorum"},
			},
			{Name: "mail", Listen: []string{"mark 5", "mark 5 ipv6"}, Scheduler: "mh", SchedulerFlags: []string{"mh-port"}, OnePacket: true, Forward: "dr", State: "down", Reason: "no server is up"},
		},
		IPVS: control.IPVS{State: "ok"},
	}
}

// TestPrintStatus compares with what is in testdata.
func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 23, 12, 0, 0, 0, time.Local)
	for name, names := range map[string][]string{"all": nil, "web": {"web"}, "site": {"site"}} {
		t.Run(name, func(t *testing.T) {
			s := statusForTest(now)
			if names != nil {
				var err error
				if s, err = s.Of(names...); err != nil {
					t.Fatal(err)
				}
			}
			var got strings.Builder
			if err := printStatus(&got, s, names != nil, now); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "status-"+name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatusOfNobody: a name that there is not is told with those that there are.
func TestStatusOfNobody(t *testing.T) {
	_, err := statusForTest(time.Now()).Of("web", "wbe")
	if want := `there is no service or virtual router "wbe"; there is mail, site, web`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = control.Status{}.Of("web")
	if want := `there is no service or virtual router "web", nor any other`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
