package failover_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// tells waits until the script has logged these lines, and nothing else.
func tells(r *rig.Rig, h *lab.Host, want ...string) {
	r.Helper()
	_, err := lab.Eventually("lines of the script", 30*time.Second, func() bool { return cmp.Equal(want, r.Logged(h)) })
	if err != nil {
		r.Fatalf("the script logged (-want +got):\n%s", cmp.Diff(want, r.Logged(h)))
	}
}

// TestHooks: a script written for keepalived, and a reader of its FIFO, are told
// what keepalived itself tells them.
func TestHooks(t *testing.T) {
	t.Parallel()
	const (
		backup = "own INSTANCE web BACKUP 150: standing by"
		master = "own INSTANCE web MASTER 150: starting"
		fault  = "own INSTANCE web FAULT 150: stopping"
		stop   = "own INSTANCE web STOP 150: stopping"
	)
	line := func(told string) string {
		fields := strings.Fields(told)
		return fmt.Sprintf("INSTANCE %q %s 150", fields[2], fields[3])
	}
	for _, kind := range []string{"keepalived", "lvsha"} {
		t.Run(kind, func(t *testing.T) {
			r := rig.New(t)
			h := r.LVS[0]
			reader := r.Hooks(h)
			var end func() error
			if kind == "keepalived" {
				file := strings.Replace(rig.KeepalivedFile(3, rig.Fast, 150), "global_defs {", "global_defs {\n  script_user root\n  vrrp_notify_fifo /run/notify.fifo", 1)
				k := r.Keepalived(h, strings.Replace(file, "vrrp_instance web {", "vrrp_instance web {\n  notify \"/run/notify.sh own\"", 1))
				end = func() error {
					if err := k.Signal(syscall.SIGTERM); err != nil {
						return err
					}
					_, err := k.Wait(10 * time.Second)
					return err
				}
			} else {
				d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+rig.NotifySection)
				end = func() error {
					_, err := d.End(syscall.SIGTERM)
					return err
				}
			}
			tells(r, h, backup, master)
			r.Check(r.Ports[0].Unplug())
			tells(r, h, backup, master, fault)
			r.Check(r.Ports[0].Plug())
			tells(r, h, backup, master, fault, backup, master)
			r.Check(end())
			want := []string{backup, master, fault, backup, master, stop}
			if kind == "lvsha" {
				// The end waits for the script, although it takes its time.
				if diff := cmp.Diff(want, r.Logged(h)); diff != "" {
					t.Errorf("after the end (-want +got):\n%s", diff)
				}
				json, err := h.ReadFile("/run/active.json")
				if err != nil || !strings.Contains(string(json), `"object":"router","name":"web"`) || !strings.Contains(string(json), `"to":"active"`) ||
					!strings.Contains(string(json), `"director":"lvs1","addresses":["10.0.0.100/24"]`) {
					t.Errorf("standard input %s, %v", json, err)
				}
			}
			var lines []string
			for _, told := range want {
				lines = append(lines, line(told))
			}
			_, err := lab.Eventually("lines in the FIFO", 30*time.Second, func() bool { return cmp.Equal(lines, rig.InFIFO(reader)) })
			if err != nil {
				t.Errorf("FIFO (-want +got):\n%s", cmp.Diff(lines, rig.InFIFO(reader)))
			}
		})
	}
}

// TestHooksRestart: a restart tells of no stop, and the next process of what it is.
func TestHooksRestart(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Hooks(h)
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+rig.NotifySection)
	const backup, master = "own INSTANCE web BACKUP 150: standing by", "own INSTANCE web MASTER 150: starting"
	tells(r, h, backup, master)
	if _, err := d.End(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	d = r.Again(h)
	tells(r, h, backup, master, master)
	if events, err := h.Run(r.Binary, "events"); err != nil || !strings.Contains(events, "told active by /run/notify.sh") {
		t.Errorf("%v in\n%s", err, events)
	}

	// A router that leaves the file is told as stopped, with what it had.
	without, _, _ := strings.Cut(rig.VRRPFile(3, rig.Fast), "[vrrp.web]")
	r.Check(h.WriteFile(rig.ConfigPath, []byte(without+"[sync]\ninterface = \"eth0\"\n[notify]\ncommand = \"/run/notify.sh own\"\n"), 0o644))
	if out, err := h.Run(r.Binary, "reload"); err != nil {
		t.Fatalf("reload: %q, %v", out, err)
	}
	tells(r, h, backup, master, master, "own INSTANCE web STOP 150: stopping")
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestHooksSlow: a script that hangs delays neither a takeover nor, for longer
// than its timeout, the end.
func TestHooksSlow(t *testing.T) {
	r := rig.New(t)
	section := "\n[notify]\ncommand = \"/run/slow.sh\"\ntimeout = \"1s\"\n"
	for _, h := range r.LVS {
		r.Check(h.WriteFile("/run/slow.sh", []byte("#!/bin/sh\necho began\nsleep 1000\n"), 0o755))
	}
	active := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast)+section)
	r.Becomes(active, "active")
	backup := r.Lvsha(r.LVS[1], rig.VRRPFile(3, rig.Fast)+section)
	r.Becomes(backup, "backup")
	took, silence, stall := r.Failover(rig.Director{Kill: active.Kill})
	t.Logf("last advertisement to first answer %v, silence %v", took, silence)
	if took > rig.Bound(rig.Fast)+100*time.Millisecond+stall {
		t.Errorf("failover took %v, bound %v", took, rig.Bound(rig.Fast))
	}
	begin := time.Now()
	if code, err := backup.End(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("the end took %v", took)
	}
	if out := backup.Output(); !strings.Contains(out, "was killed") || !strings.Contains(out, "began") {
		t.Error("nothing is said of the script that hangs")
	}
}

// TestHooksGroup: a sync group is told when all its members have come to a state,
// with priority 0.
func TestHooksGroup(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Hooks(h)
	file := rig.VRRPFile(3, rig.Fast) + `
[vrrp.inside]
interface = "eth0"
vrid      = 52
advertise = "100ms"
addresses = ["10.0.0.101/24"]
[group.all]
routers = ["web", "inside"]
[group.all.notify]
any = ["/run/notify.sh", "own"]
`
	d := r.Lvsha(h, file)
	const group = "own GROUP all "
	tells(r, h, group+"BACKUP 0: standing by", group+"MASTER 0: starting")
	r.Check(r.Ports[0].Unplug())
	tells(r, h, group+"BACKUP 0: standing by", group+"MASTER 0: starting", group+"FAULT 0: stopping")
	r.Check(r.Ports[0].Plug())
	want := []string{
		group + "BACKUP 0: standing by", group + "MASTER 0: starting", group + "FAULT 0: stopping",
		group + "BACKUP 0: standing by", group + "MASTER 0: starting",
	}
	tells(r, h, want...)
	if code, err := d.End(syscall.SIGTERM); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if diff := cmp.Diff(append(want, group+"STOP 0: stopping"), r.Logged(h)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHooksDropIn: systemd accepts the drop-in for scripts.
func TestHooksDropIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary, err := rig.Program()
	if err != nil {
		t.Fatal(err)
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lvsha.service", "lvsha-cleanup.service", "lvsha.service.d/notify.conf"} {
		text, err := os.ReadFile(filepath.Join(root, "examples", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/lvsha", binary)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, "lvsha.service")).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
