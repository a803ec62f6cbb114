package checks_test

import (
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestNeverReload: with takeover = "never" another priority in the file is no reason for
// a takeover, although the director in standby has it first: the active one does not
// advertise less than its own file gives it.
func TestNeverReload(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	first, second := r.NewKey(r.LVS[0]), r.NewKey(r.LVS[1])
	file := channelFile(first, second)
	file = strings.Replace(file, "[vrrp.web]\n", "[vrrp.web]\ntakeover = \"never\"\n", 1)
	two := r.Lvsha(r.LVS[1], file, "--kernel=memory")
	r.Becomes(two, "active")
	one := r.Lvsha(r.LVS[0], file, "--kernel=memory")
	r.Becomes(one, "backup")
	r.Eventually("a channel", 30*time.Second, func() bool {
		_, p := channelTo(one, "lvs2")
		return p.State == "connected"
	})
	since := two.Router("web").Since
	other := strings.Replace(file, "priority = 100", "priority = 120", 1)
	reload := func(h *lab.Host) {
		r.Helper()
		r.Check(h.WriteFile(rig.ConfigPath, []byte(other), 0o644))
		_, err := h.Run(r.Binary, "reload")
		r.Check(err)
	}
	reload(r.LVS[0])
	r.Printed(r.LVS[0], 15*time.Second, "lvs2 runs another file")
	r.Settle(time.Second) // ten advertisements
	reload(r.LVS[1])
	r.Eventually("one file", 30*time.Second, func() bool {
		_, p := channelTo(one, "lvs2")
		return p.SameFile != nil && *p.SameFile
	})
	r.Settle(2 * time.Second) // and another look at it
	if now := two.Router("web"); now.State != "active" || !now.Since.Equal(since) {
		r.Errorf("lvs2 is %s since %s: %s", now.State, now.Since, now.Reason)
	}
	if now := one.Router("web"); now.State != "backup" {
		r.Errorf("lvs1 is %s: %s", now.State, now.Reason)
	}
}
