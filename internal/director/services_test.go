package director

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/ipvs"
)

// TestServices: what a file says of services of every kind becomes the kernel's table
// and is shown.
func TestServices(t *testing.T) {
	cfg := parse(t, `
[director.lvs1]
address = ["192.0.2.1", "2001:db8::1"]
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24"]
[vrrp.web6]
interface = "eth0"
vrid = 51
addresses = ["2001:db8::10/64"]
[service.web]
listen = "[2001:db8::10]:80/tcp"
scheduler = "mh"
scheduler_flags = ["mh-port", "mh-fallback"]
forward = "tun"
tunnel = { type = "gue", port = 6080, checksum = "remote" }
persistence = "1m"
persistence_mask = 64
sorry = "2001:db8::99"
[[service.web.server]]
address = "2001:db8::21"
upper_threshold = 100
lower_threshold = 80
[[service.web.server]]
address = "192.0.2.22"
tunnel = { type = "gre" }
[[service.web.server]]
address = "[2001:db8::23]:8080"
forward = "nat"
[service.sigtran]
listen = ["192.0.2.10:2905/sctp", "[2001:db8::10]:2905/sctp"]
forward = "tun"
[[service.sigtran.server]]
address = "192.0.2.31"
[service.site]
listen = ["mark 5", "mark 5 ipv6"]
one_packet = true
forward = "tun"
check = { type = "exec", command = ["/bin/check", "{vip}", "{vport}"] }
[[service.site.server]]
address = "192.0.2.41"
`)
	j := &judging{}
	j.set(cfg, steer(cfg, steering{}))
	up := func(targets []healthcheck.Target) []healthcheck.Judgment {
		out := make([]healthcheck.Judgment, len(targets))
		for i := range out {
			out[i].State = healthcheck.Up
		}
		return out
	}
	j.look(time.Unix(1, 0), up, nil)
	for _, s := range j.table() {
		if err := ipvs.Validate(s); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"add service 192.0.2.10:2905/sctp scheduler wlc",
		"add server 192.0.2.31:2905 to 192.0.2.10:2905/sctp weight 1 forward tun",
		"add service [2001:db8::10]:80/tcp scheduler mh flags mh-fallback mh-port persistence 60s mask 64",
		"add server 192.0.2.22:80 to [2001:db8::10]:80/tcp weight 1 forward tun gre",
		"add server [2001:db8::21]:80 to [2001:db8::10]:80/tcp weight 1 forward tun gue port 6080 checksum remote upper threshold 100 lower threshold 80",
		"add server [2001:db8::23]:8080 to [2001:db8::10]:80/tcp weight 1 forward nat",
		"add server [2001:db8::99]:80 to [2001:db8::10]:80/tcp weight 0 forward tun gue port 6080 checksum remote",
		"add service [2001:db8::10]:2905/sctp scheduler wlc",
		"add server 192.0.2.31:2905 to [2001:db8::10]:2905/sctp weight 1 forward tun",
		"add service mark 5 scheduler wlc one-packet",
		"add server 192.0.2.41:0 to mark 5 weight 1 forward tun",
		"add service mark 5 ipv6 scheduler wlc one-packet",
		"add server 192.0.2.41:0 to mark 5 ipv6 weight 1 forward tun",
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(ipvs.Diff(nil, j.table(), nil).String()), "\n")); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}

	now := j.stand()
	var got, problems []string
	for i := range cfg.Services {
		problems = append(problems, now.problems(i)...)
		s := serviceStatus(&cfg.Services[i], now.of(i), func(healthcheck.Target) (healthcheck.Status, bool) { return healthcheck.Status{}, false })
		got = append(got, fmt.Sprintf("%s on %s, %s %s one-packet %t", s.Name, strings.Join(s.Listen, " "), s.Scheduler, s.SchedulerFlags, s.OnePacket))
		for _, server := range s.Servers {
			got = append(got, fmt.Sprintf("%s %q %d %d", server.Address, server.Tunnel, server.UpperThreshold, server.LowerThreshold))
		}
		if s.Sorry != nil {
			got = append(got, fmt.Sprintf("%s %q", s.Sorry.Address, s.Sorry.Tunnel))
		}
	}
	want = []string{
		"sigtran on 192.0.2.10:2905/sctp [2001:db8::10]:2905/sctp, wlc [] one-packet false",
		`192.0.2.31:2905 "ipip" 0 0`,
		"site on mark 5 mark 5 ipv6, wlc [] one-packet true",
		`192.0.2.41:0 "ipip" 0 0`,
		"web on [2001:db8::10]:80/tcp, mh [mh-fallback mh-port] one-packet false",
		`[2001:db8::21]:80 "gue port 6080 checksum remote" 100 80`,
		`192.0.2.22:80 "gre" 0 0`,
		`[2001:db8::23]:8080 "" 0 0`,
		`[2001:db8::99]:80 "gue port 6080 checksum remote"`,
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("status, problems %q (-want +got):\n%s", problems, diff)
	}
	for _, w := range targets(cfg, steer(cfg, steering{}), usedBy(nil, nil)) {
		if command := w.Target.Check.Ask.(healthcheck.Exec).Command; string(command) != "/bin/check\x005\x000" {
			t.Errorf("the command of the mark's check is %q", command)
		}
	}
}
