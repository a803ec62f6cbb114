package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvsha/internal/config"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/peer"
)

// TestKey: a key is made once, for its owner alone, and its public part printed
// each time.
func TestKey(t *testing.T) {
	binary, err := rig.Program()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "etc", "director.key")
	run := func(args ...string) (out, complaint string, err error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(binary, append([]string{"key", "--out", path}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err = cmd.Run()
		return stdout.String(), stderr.String(), err
	}
	first, told, err := run("--as", "lvs1")
	if err != nil || !strings.Contains(told, "made "+path) {
		t.Fatalf("%v: %s", err, told)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second, told, err := run("--as", "lvs1.example.com")
	if err != nil || !strings.Contains(told, "is there already") {
		t.Errorf("%v: %s", err, told)
	}
	if want := strings.Replace(first, "lvs1", `"lvs1.example.com"`, 1); second != want {
		t.Errorf("printed %q, then %q", first, second)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("the key has changed")
	}
	// What is printed is what the file wants.
	cfg, err := config.Parse("x.toml", []byte(first+"[peer]\nkey_file = \""+path+"\"\n[sync]\ninterface = \"eth0\"\n"), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Channel.Problem != "" || cfg.Directors[0].Pin != peer.PinOf(cfg.Channel.Key) {
		t.Errorf("read as %q", cfg.Channel.Problem)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, told, err := run(); err == nil || !strings.Contains(told, "others than its owner have rights to it (mode 0644); do: chmod 600 "+path) {
		t.Errorf("a key that others can read: %v, %s", err, told)
	}
	if err := os.WriteFile(path, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, told, err := run(); err == nil || !strings.Contains(told, "has no private key") {
		t.Errorf("what is no key: %v, %s", err, told)
	}
}
