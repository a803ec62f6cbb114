package main_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/e2e/rig"
)

// TestServersByHand drives drain, undrain, weight and plan as an operator does, over the
// table in memory.
func TestServersByHand(t *testing.T) {
	r := rig.New(t)
	h := r.LVS[0]
	const file = `
[service.web]
listen  = "192.0.2.10:80/tcp"
owner   = "none"
forward = "nat"
[[service.web.server]]
address = "10.1.0.21"
[[service.web.server]]
address = "10.1.0.22"
weight  = 2
`
	log := filepath.Join(t.TempDir(), "ipvs.log")
	d := r.Lvsha(h, file, "--kernel=memory", "--kernel-log", log)
	r.Eventually("the table is there", 10*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok"
	})
	r.Check(h.WriteFile("/run/next.toml", []byte(strings.Replace(file, "weight  = 2", "weight  = 3", 1)), 0o644))
	r.Check(h.WriteFile("/run/bad.toml", []byte(strings.Replace(file, "weight  = 2", "weight  = -1", 1)), 0o644))
	for _, c := range []struct {
		args string
		code int
		want string // in what is printed
	}{
		{"plan", 0, "nothing to change\n"},
		{"plan -c /run/next.toml", 0, "service web: servers\nIPVS:\n  set weight of server 10.1.0.22:80 of 192.0.2.10:80/tcp from 2 to 3\nno connection is cut\n"},
		{"plan -c /run/next.toml --json", 0, `"change": "set weight of server 10.1.0.22:80 of 192.0.2.10:80/tcp from 2 to 3"`},
		{"plan -c /run/bad.toml", 1, "/run/bad.toml:10: service.web.server[2].weight: want an integer from 0 to 65535, got -1"},
		{"plan -c /run/none.toml", 1, "no such file"},
		{"weight web 10.1.0.22 7", 0, "10.1.0.22:80 of web is up, weight 2 (now 7), 0 active, 0 inactive, 0 templates: weight 7 by an operator since "},
		{"weight web 10.1.0.22 --back", 0, "10.1.0.22:80 of web is up, weight 2, "},
		{"weight web 10.1.0.22", 2, "usage"},
		{"weight web 10.1.0.22 many", 2, "want a weight such as 2"},
		{"weight web 10.1.0.22 70000", 1, "weight 70000 is not between 0 and 65535"},
		{"drain web 10.1.0.21 --for 1h", 0, "10.1.0.21:80 of web is draining, weight 1 (now 0), "},
		{"drain --wait --all-services 10.1.0.21", 0, "10.1.0.21:80 of web is disabled, "},
		{"undrain web 10.1.0.21", 0, "10.1.0.21:80 of web is up, weight 1, "},
		{"drain web 10.1.0.29", 1, "service web has no server 10.1.0.29; it has: 10.1.0.21:80, 10.1.0.22:80"},
		{"drain web", 2, "usage"},
		{"undrain web 10.1.0.21 now", 2, "usage"},
		{"drain web 10.1.0.21 --for -1s", 2, "positive"},
	} {
		// Its own process, for what it prints to both streams.
		out, err := h.Run("/bin/sh", "-c", r.Binary+" "+c.args+" 2>&1; echo code $?")
		r.Check(err)
		i := strings.LastIndex(out, "code ")
		if !strings.Contains(out[:i], c.want) {
			t.Errorf("lvsha %s prints\n%s\nwhich is without\n%s", c.args, out[:i], c.want)
		}
		if diff := cmp.Diff(c.code, int(out[i+5]-'0')); diff != "" {
			t.Errorf("lvsha %s: exit code (-want +got):\n%s", c.args, diff)
		}
	}
}
