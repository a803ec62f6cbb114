package director

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/track"
	"lvsha/vrrp"
)

// planned shows a plan of a text.
func (m *lone) planned(text string) string {
	m.Helper()
	before := m.table.String()
	p, err := m.d.Plan(m.Context(), control.PlanRequest{File: "next.toml", Text: text})
	if err != nil {
		return "error: " + err.Error()
	}
	if after := m.table.String(); after != before {
		m.Errorf("the plan changed the table:\n%s\nto\n%s", before, after)
	}
	var b strings.Builder
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "! %s\n", w)
	}
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s: %s\n", c.Kind, c.Name, c.Change)
	}
	for _, c := range p.IPVS {
		fmt.Fprintf(&b, "%s (%d, %d) %s\n", c.Change, c.Connections, c.Templates, c.When)
	}
	if p.Connections+p.Templates > 0 {
		fmt.Fprintf(&b, "cuts %d, %d\n", p.Connections, p.Templates)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLone(t, drained)
		m.connections("10.0.0.1:80", 2, 1, 4)
		m.connections("10.0.0.2:80", 5, 0, 0)
		file := func(from ...string) string { return strings.NewReplacer(from...).Replace(drained) }
		for _, c := range []struct{ name, text, want string }{
			{"the same", drained, ""},
			{"a comment", "# hello\n" + drained, ""},
			{"another name", file("service.web", "service.site"), "service site: name web -> site\n"},
			{"a weight", file("weight = 3", "weight = 4"),
				"service web: servers\nset weight of server 10.0.0.2:80 of 192.0.2.10:80/tcp from 3 to 4 (0, 0) \n"},
			{"a server less and one more", file("10.0.0.1", "10.0.0.7"), `service web: servers
add server 10.0.0.7:80 to 192.0.2.10:80/tcp weight 1 forward nat (0, 0) 
set weight of server 10.0.0.1:80 of 192.0.2.10:80/tcp from 1 to 0 (0, 0) 
remove server 10.0.0.1:80 from 192.0.2.10:80/tcp (3, 4) 
cuts 3, 4
`},
			{"checks", file("forward", "check = { type = \"tcp\" }\nforward"), `service web: servers
check 10.0.0.1:80 tcp: new
check 10.0.0.2:80 tcp: new
`},
			{"a new server with a check", drained + "[[service.web.server]]\naddress = \"10.0.0.3:80\"\ncheck = { type = \"tcp\" }\n", `service web: servers
check 10.0.0.3:80 tcp: new
add server 10.0.0.3:80 to 192.0.2.10:80/tcp weight 1 forward nat (0, 0) when its checks pass
`},
			{"another address", file("10:80/tcp", "11:80/tcp"), `service web: new
service web: gone
add service 192.0.2.11:80/tcp scheduler wlc (0, 0) 
add server 10.0.0.1:80 to 192.0.2.11:80/tcp weight 1 forward nat (0, 0) 
add server 10.0.0.2:80 to 192.0.2.11:80/tcp weight 3 forward nat (0, 0) 
remove service 192.0.2.10:80/tcp (8, 4) 
cuts 8, 4
`},
			{"what else there is", file("[service.web]", "[sync]\ninterface = \"eth1\"\n[service.web]", "forward", "scheduler = \"mh\"\nforward"), `service web: scheduler wlc -> mh, quiesces false -> true
connection sync : new
set scheduler of service 192.0.2.10:80/tcp from wlc to mh (0, 0) 
`},
			{"nonsense", "[service", "error: next.toml:1: column 8: "},
		} {
			got := m.planned(c.text)
			if c.name == "nonsense" {
				got = got[:min(len(got), len(c.want))]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
		m.is("10.0.0.1:80", "up")
	})
}

// TestChanged: values that are no words, or the same words, are named and not shown.
func TestChanged(t *testing.T) {
	target := netip.MustParseAddrPort("10.0.0.1:80")
	file := func(c config.Config) *config.Config { return &c }
	for _, c := range []struct {
		name      string
		was, next *config.Config
		want      string
	}{
		{"another key", file(config.Config{Channel: config.Channel{KeyFile: "/a", Key: []byte{1, 2}}}), file(config.Config{Channel: config.Channel{KeyFile: "/b", Key: []byte{3, 4}}}),
			"channel : key file /a -> /b, key"},
		{"a director more", file(config.Config{}), file(config.Config{Directors: []config.Director{{Name: "lvs2"}}}), "directors : changed"},
		{"pacing", file(config.Config{}), file(config.Config{Pacing: []vrrp.Pacing{{}}}), "pacing : changed"},
		{"tracking", file(config.Config{}), file(config.Config{Tracks: map[vrrp.Key][]track.Ref{{}: nil}}), "tracking : changed"},
		{"sysctls", file(config.Config{}), file(config.Config{ManageSysctls: true}), "sysctls : false -> true"},
	} {
		var got []string
		for _, p := range fileChanges(c.was, c.next, nil) {
			got = append(got, p.Kind+" "+p.Name+": "+p.Change)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	wants := func(password string) []healthcheck.Want {
		check := healthcheck.Check{Ask: healthcheck.Redis{Password: healthcheck.Secret(password)}}
		return []healthcheck.Want{{Target: healthcheck.Target{Server: target, Check: check}}}
	}
	if got := checkChanges(wants("old"), wants("new")); len(got) != 1 || got[0].Change != "ask" {
		t.Errorf("another password: %+v", got)
	}
}
