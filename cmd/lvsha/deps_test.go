package main_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestRooms holds the directions of imports: a room imports no other package of
// lvsha, and only the internal packages named here import each other.
func TestRooms(t *testing.T) {
	const ground = "internal/plain" // is below the rooms: all may import it, and it imports none
	allowed := map[string][]string{
		ground: nil,
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
			if room, ours := strings.CutPrefix(dep, "lvsha/"); ours && room != ground && !slices.Contains(may, room) {
				t.Errorf("%s imports %s", pkg, room)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d packages seen, %d named", seen, len(allowed))
	}
}
