package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvsha/internal/e2e/rig"
)

// TestUnits: systemd accepts the units, with and without the drop-in, and its
// own measure of their exposure is below 3.5.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	binary, err := rig.Program()
	if err != nil {
		t.Fatal(err)
	}
	here := filepath.Join("..", "..", "examples", "systemd")
	var units []string
	for _, name := range []string{"lvsha.service", "lvsha-cleanup.service", "lvsha-realserver.service", "lvsha.service.d/realtime.conf"} {
		text, err := os.ReadFile(filepath.Join(here, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		// The program is not installed here.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/lvsha", binary)), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".service") {
			units = append(units, path)
		}
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=35", units[0]).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	for _, must := range []string{"Type=notify", "ExecReload=", "WatchdogSec=", "RestartKillSignal=SIGUSR2", "ExecStopPost=", "OnFailure=", "RuntimeDirectoryPreserve=yes"} {
		text, err := os.ReadFile(filepath.Join(here, "lvsha.service"))
		if err != nil || !strings.Contains(string(text), must) {
			t.Errorf("the unit lacks %s (%v)", must, err)
		}
	}
}
