package rig

import (
	"slices"
	"strings"
	"time"

	"lvsha/internal/lab"
)

// Table is the kernel's IPVS table of a host in ipvsadm's words, sorted.
func (r *Rig) Table(h *lab.Host) string {
	r.Helper()
	out, err := h.Run("ipvsadm", "-S", "-n")
	r.Check(err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TableIs waits until the kernel's table is as given, lines in any order.
func (r *Rig) TableIs(h *lab.Host, want ...string) {
	r.Helper()
	slices.Sort(want)
	_, err := lab.Eventually("table", 30*time.Second, func() bool { return r.Table(h) == strings.Join(want, "\n") })
	if err != nil {
		r.Fatalf("table of %s (wanted)\n%s\n(have)\n%s", h.Name, strings.Join(want, "\n"), r.Table(h))
	}
}
