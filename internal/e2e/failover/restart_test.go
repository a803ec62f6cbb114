package failover_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// TestRestart: the active director's daemon ends without giving anything away,
// and the next process goes on where it was. No probe is lost.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		sig   syscall.Signal
		pause time.Duration // until the next process starts
		taken bool          // the backup takes over meanwhile
	}{
		{"SIGUSR2 and at once", syscall.SIGUSR2, 0, false},
		{"SIGKILL and at once", syscall.SIGKILL, 0, false},
		{"SIGUSR2 and a second later", syscall.SIGUSR2, time.Second, true},
		{"SIGKILL and a second later", syscall.SIGKILL, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			families := rig.Families
			if c.taken {
				t.Parallel()
				families = rig.ParallelFamilies
			}
			families(t, func(r *rig.Rig) {
				active, backup := r.Pair(rig.Fast)
				measured := r.Stalls()
				lost := r.LostWhile(func() {
					if _, err := active.End(c.sig); err != nil {
						r.Fatal(err)
					}
					r.Settle(c.pause)
					if out, err := r.LVS[0].Run(r.Binary, "cleanup"); err != nil || !strings.Contains(out, "in place for the next") {
						r.Errorf("ExecStopPost: %q, %v", out, err)
					}
					active = r.Again(r.LVS[0])
					r.Becomes(active, "active")
					r.Becomes(backup, "backup")
				})
				stall := measured()
				if lost != 0 {
					r.Errorf("%d probes lost by a restart", lost)
				}
				// A machine that stands still takes longer than the three intervals there are.
				if s := backup.Router("web"); !c.taken && s.Counters["became_active"] > 0 && stall < rig.Fast {
					r.Errorf("the backup took over: %+v", s)
				}
				r.Holds(0, time.Second) // the address is where it was
			})
		})
	}
}

// TestRestartAlone: without a peer keepalived takes its own address away until
// it is master again; lvsha loses nothing.
func TestRestartAlone(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, time.Second))
	r.Becomes(d, "active")
	lost := r.LostWhile(func() {
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		r.Settle(4 * time.Second) // longer than three intervals
		d = r.Again(r.LVS[0])
		r.Becomes(d, "active")
	})
	if lost != 0 {
		t.Errorf("%d probes lost", lost)
	}
}

// TestReload: the difference is applied to running objects.
func TestReload(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	before := active.Router("web")
	more := strings.ReplaceAll(rig.VRRPFile(3, rig.Fast), `["10.0.0.100/24"]`, `["10.0.0.100/24", "10.0.0.101/24"]`)
	other := strings.Replace(more, "[vrrp.web]", "[vrrp.renamed]", 1)
	lost := r.LostWhile(func() {
		for _, file := range []string{more, other} {
			for _, h := range r.LVS {
				r.Check(h.WriteFile(rig.ConfigPath, []byte(file), 0o644))
				if out, err := h.Run(r.Binary, "reload"); err != nil {
					t.Fatalf("reload: %q, %v", out, err)
				}
			}
		}
		r.Eventually("second address", 10*time.Second, func() bool {
			out, err := r.LVS[0].Run("ip", "-br", "addr", "show", "dev", "eth0")
			return err == nil && strings.Contains(out, "10.0.0.101/24")
		})
	})
	if lost != 0 {
		t.Errorf("%d probes lost by reloads", lost)
	}
	after := active.Router("renamed")
	if !after.Since.Equal(before.Since) || after.State != "active" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if b := backup.Router("renamed"); b.State != "backup" || b.Counters["became_active"] > 0 {
		t.Errorf("backup: %+v", b)
	}

	// An address that goes is removed; a file without the router makes it leave.
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	if _, err := r.LVS[0].Run(r.Binary, "reload"); err != nil {
		t.Fatal(err)
	}
	r.Eventually("second address gone", 10*time.Second, func() bool {
		out, err := r.LVS[0].Run("ip", "-br", "addr", "show", "dev", "eth0")
		return err == nil && !strings.Contains(out, "10.0.0.101/")
	})
	without, _, _ := strings.Cut(rig.VRRPFile(3, rig.Fast), "[vrrp.web]")
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(without+"[sync]\ninterface = \"eth0\"\n"), 0o644))
	lost = r.LostWhile(func() {
		if _, err := r.LVS[0].Run(r.Binary, "reload"); err != nil {
			t.Fatal(err)
		}
		r.Holds(1, 3*time.Second)
	})
	if lost > 1 {
		t.Errorf("%d probes lost by removing the router on the active director", lost)
	}
}

// TestReloadRefused: a wrong file changes nothing and is explained.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, _ := r.Pair(rig.Fast)
	for name, c := range map[string]struct{ file, want string }{
		"unknown key": {strings.Replace(rig.VRRPFile(3, rig.Fast), "advertise", "advertize", 1), `unknown key "advertize"; did you mean "advertise"?`},
		"syntax":      {"[director.lvs1\n", "lvsha.toml:1"},
		"empty":       {"", "nothing to do"},
	} {
		t.Run(name, func(t *testing.T) {
			r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(c.file), 0o644))
			_, err := r.LVS[0].Run(r.Binary, "reload")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("want exit 1 and %q, got %v", c.want, err)
			}
			if s, err := active.Status(); err != nil || s.Generation != 1 || s.VRRP[0].State != "active" {
				t.Errorf("status afterwards: %+v, %v", s, err)
			}
		})
	}
}

// TestCleanup: a stop that was killed half-way is finished by cleanup, and
// everything goes when systemd has given up.
func TestCleanup(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	file := rig.VRRPFile(3, time.Second)
	d := r.Lvsha(r.LVS[0], file)
	r.Becomes(d, "active")
	r.Check(d.Signal(syscall.SIGTERM))
	r.Becomes(d, "leaving") // for two seconds, as nobody takes over
	r.Check(d.Kill())
	if !r.Has(r.LVS[0], rig.VIP) {
		t.Fatal("the address is gone already")
	}
	if out, err := r.LVS[0].Run(r.Binary, "cleanup"); err != nil || !strings.Contains(out, "removed address 10.0.0.100/24 dev eth0") {
		t.Errorf("cleanup: %q, %v", out, err)
	}
	if r.Has(r.LVS[0], rig.VIP) {
		t.Error("the address is still there")
	}

	d = r.Again(r.LVS[0])
	r.Becomes(d, "active")
	if _, err := r.LVS[0].Run(r.Binary, "cleanup", "--all"); err == nil || !strings.Contains(err.Error(), "another lvsha daemon is running") {
		t.Errorf("cleanup beside a living daemon: %v", err)
	}
	r.Check(d.Kill())
	if out, err := r.LVS[0].Run(r.Binary, "cleanup", "--all"); err != nil || !strings.Contains(out, "removed address") {
		t.Errorf("cleanup --all: %q, %v", out, err)
	}
	if r.Has(r.LVS[0], rig.VIP) {
		t.Error("the address is still there")
	}
}

// TestLostHalfStop: if nobody ran cleanup, the next process does not take the
// address that a half-finished stop left for its own.
func TestLostHalfStop(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, time.Second))
	r.Becomes(d, "active")
	r.Check(d.Signal(syscall.SIGTERM))
	r.Becomes(d, "leaving")
	r.Check(d.Kill())
	d = r.Again(r.LVS[0])
	r.Becomes(d, "backup")
	r.Eventually("address removed", 10*time.Second, func() bool { return !r.Has(r.LVS[0], rig.VIP) })
}

// TestUpgradeChangesFile: addresses that the new file no longer has go.
func TestUpgradeChangesFile(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast))
	r.Becomes(d, "active")
	if _, err := d.End(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	d = r.Lvsha(r.LVS[0], strings.Replace(rig.VRRPFile(3, rig.Fast), "10.0.0.100", "10.0.0.102", 1))
	r.Becomes(d, "active")
	r.Eventually("old address removed", 10*time.Second, func() bool { return !r.Has(r.LVS[0], rig.VIP) })
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := r.LVS[0].ReadFile("/run/lvsha/control.sock"); !os.IsNotExist(err) {
		t.Errorf("control socket after a stop: %v", err)
	}
}
