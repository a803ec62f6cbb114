package main_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ground is the ground floor: all may import it, and it imports nothing of ours.
var ground = []string{"internal/reconcile", "internal/program", "internal/cmsg", "internal/nlconn", "internal/plain"}

// TestRooms holds the directions of imports: a room imports no other package of
// lvsha but the ground floor, and only the internal packages named here import each
// other.
func TestRooms(t *testing.T) {
	allowed := map[string][]string{
		"vrrp": nil, "healthcheck": nil, "ipvs": nil, "sync": nil, "examples": nil,
		"vrrp/vrrptest":        {"vrrp"},
		"internal/track":       {"vrrp", "healthcheck"},
		"internal/bfd":         nil,
		"internal/bfd/bfdtest": {"internal/bfd"},
		"internal/notify":      nil,
		"internal/peer":        nil,
		"internal/config":      {"vrrp", "healthcheck", "ipvs", "sync", "internal/track", "internal/bfd", "internal/notify", "internal/peer"},
		"internal/netif":       {"vrrp"},
		"internal/machine":     {"vrrp", "healthcheck", "ipvs", "sync", "internal/config", "internal/track", "internal/bfd", "internal/notify", "internal/peer"},
		"internal/doctor":      {"vrrp", "healthcheck", "ipvs", "sync", "internal/config", "internal/track", "internal/bfd", "internal/notify", "internal/peer", "internal/machine"},
		"internal/realserver":  {"vrrp", "healthcheck", "ipvs", "sync", "internal/config", "internal/track", "internal/bfd", "internal/notify", "internal/peer", "internal/machine", "internal/netif"},
		"internal/control":     nil,
		"internal/director":    {"vrrp", "healthcheck", "ipvs", "sync", "internal/machine", "internal/config", "internal/control", "internal/track", "internal/bfd", "internal/notify", "internal/peer", "internal/packetfilter"},
		"internal/lab":         {"internal/control"},
		"internal/demo":        {"internal/lab", "internal/control", "examples"},

		"internal/packetfilter": nil,

		"internal/reconcile": nil, "internal/program": {"internal/plain"}, "internal/cmsg": nil, "internal/nlconn": nil, "internal/plain": nil,

		// Packages of tests, and the rig, which nothing else imports.
		"internal/e2e/rig":      {"internal/lab", "internal/control"},
		"internal/e2e/failover": nil,
		"internal/e2e/checks":   nil,
		"internal/e2e/kernel":   nil,
		"internal/e2e/bench":    nil,

		"cmd/lvsha": {
			"vrrp", "healthcheck", "ipvs", "sync", "examples",
			"internal/config", "internal/netif", "internal/control", "internal/director", "internal/demo", "internal/lab", "internal/track",
			"internal/bfd", "internal/notify", "internal/peer", "internal/machine", "internal/realserver", "internal/doctor", "internal/packetfilter",
		},
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "lvsha/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], "lvsha/")
		may, known := allowed[pkg]
		if !known {
			t.Errorf("package %s has no place in the design: say here what it may import", pkg)
			continue
		}
		seen++
		for _, dep := range fields[1:] {
			room, ours := strings.CutPrefix(dep, "lvsha/")
			if below := slices.Contains(ground, room) && !slices.Contains(ground, pkg); ours && !below && !slices.Contains(may, room) {
				t.Errorf("%s imports %s", pkg, room)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d packages seen, %d named", seen, len(allowed))
	}
}

// TestPrograms: what the daemon starts it starts by internal/program, which tells its
// children from those that the kernel gives it to bury.
func TestPrograms(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{.ImportPath}} {{join .Imports " "}}{{end}}`, "lvsha/cmd/lvsha").Output()
	if err != nil {
		t.Fatal(err)
	}
	var starts []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && slices.Contains(fields[1:], "os/exec") {
			starts = append(starts, fields[0])
		}
	}
	slices.Sort(starts)
	// The networks of the demo are made in a process that is no daemon.
	if want := []string{"lvsha/internal/lab", "lvsha/internal/program"}; !slices.Equal(starts, want) {
		t.Errorf("%q import os/exec, want %q", starts, want)
	}
}

// TestDebugSettings: certificates with negative serial numbers are taken by the whole
// process, which only its main package can say.
func TestDebugSettings(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.DefaultGODEBUG}}", "lvsha/cmd/lvsha").Output()
	if err != nil || !slices.Contains(strings.Split(strings.TrimSpace(string(out)), ","), "x509negativeserial=1") {
		t.Errorf("the settings of the program are %s, %v", out, err)
	}
}
