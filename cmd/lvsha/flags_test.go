package main_test

import (
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// TestWrongStart: what a new user meets first.
func TestWrongStart(t *testing.T) {
	r := rig.New(t)
	h := r.LVS[0]
	r.Check(h.WriteFile("/run/other.toml", []byte(strings.ReplaceAll(rig.VRRPFile(3, rig.Fast), "lvs", "box")), 0o644))
	r.Check(h.WriteFile("/run/broken.toml", []byte("[vrrp.web\n"), 0o644))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "usage: lvsha COMMAND"},
		{[]string{"frobnicate"}, 2, `there is no command "frobnicate"`},
		{[]string{"status", "--nonsense"}, 2, "-nonsense"},
		{[]string{"reload", "web"}, 2, `no argument "web"`},
		{[]string{"run", "--kernel=bsd"}, 2, "linux or memory"},
		{[]string{"status"}, 1, "no lvsha daemon is running here"},
		{[]string{"reload"}, 1, "no lvsha daemon is running here"},
		{[]string{"run", "-c", "/run/missing.toml"}, 1, "/run/missing.toml"},
		{[]string{"check", "-c", "/run"}, 1, "/run"},
		{[]string{"check", "-c", "/run/broken.toml"}, 1, "/run/broken.toml:1"},
		{[]string{"check", "-c", "/run/other.toml"}, 1, "--as"},
		{[]string{"check", "-c", "/run/other.toml", "--as", "box1"}, 0, "is valid"},
		{[]string{"version"}, 0, "lvsha"},
		{[]string{"cleanup"}, 0, "nothing is left"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			p, err := h.Start(nil, r.Binary, c.args...)
			r.Check(err)
			code, err := p.Wait(10 * time.Second)
			r.Check(err)
			if code != c.code || !strings.Contains(p.Output(), c.want) {
				t.Errorf("exit code %d, want %d; want %q in:\n%s", code, c.code, c.want, p.Output())
			}
		})
	}
}
