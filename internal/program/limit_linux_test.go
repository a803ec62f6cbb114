package program

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestRefusals: what counts is refused by the limits of a program's own control groups.
// Since Linux 6.11 pids.events of a group also counts what is refused below it, such as
// in another service of system.slice: a server whose check fails meanwhile is down all
// the same.
func TestRefusals(t *testing.T) {
	const own, other, slice = "system.slice/lvsha.service", "system.slice/other.service", "system.slice"
	type counts map[string]int
	for _, c := range []struct {
		name   string
		groups string
		below  string
		// events are those of each group, and local is its own; nil where the kernel
		// does not tell.
		events, local counts
		want          uint64
	}{
		{"Linux before 6.11, refused here", "0::/" + own, "", counts{own: 3, slice: 0, other: 5}, nil, 3},
		{"refused by our limit", "0::/" + own, "", counts{own: 3, slice: 3}, counts{own: 3, slice: 0}, 3},
		{"refused by the limit above", "0::/" + own, "", counts{own: 0, slice: 4}, counts{own: 0, slice: 4}, 4},
		{"refused to another service", "0::/" + own, "", counts{own: 0, slice: 9, other: 9}, counts{own: 0, slice: 0, other: 9}, 0},
		{"version 1", "8:pids:/" + own + "\n4:memory:/" + other + "\n0::/", "pids", counts{own: 2, other: 5}, counts{own: 2, other: 5}, 2},
		{"no controller", "0::/" + own, "", nil, nil, 0},
	} {
		mount := t.TempDir()
		write := func(file string, of counts) {
			for group, n := range of {
				at := filepath.Join(mount, c.below, group)
				if err := os.MkdirAll(at, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(at, file), fmt.Appendf(nil, "max %d\n", n), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		write("pids.events", c.events)
		write("pids.events.local", c.local)
		if got := refusalsBelow(mount, c.groups); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
