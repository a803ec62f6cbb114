package program

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// refusals is how often the kernel has refused a process to the control groups of this
// one, which a program shares, because of their pids.max. It only grows; 0 where it
// cannot be told.
func refusals() uint64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	return refusalsBelow("/sys/fs/cgroup", string(text))
}

// refusalsBelow is refusals where the control groups are mounted, for the lines of
// /proc/PID/cgroup.
func refusalsBelow(mount, groups string) (n uint64) {
	for line := range strings.Lines(groups) {
		// 8:pids:/some/group in version 1, 0::/some/group in version 2.
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, found := strings.Cut(rest, ":")
		root := mount
		switch {
		case !found || controllers != "" && controllers != "pids":
			continue
		case controllers == "pids":
			root += "/pids"
		}
		// Kernels before 6.11 count in the group of the process, newer ones where the limit
		// is and in all above that, where other services have their refusals too: those
		// keep what they count for one group alone in a file of its own.
		for ; ; group = filepath.Dir(group) {
			at := filepath.Join(root, group)
			alone, found := refusalsOf(filepath.Join(at, "pids.events.local"))
			if !found {
				alone, _ = refusalsOf(filepath.Join(at, "pids.events"))
			}
			n += alone
			if group == "/" || group == "." {
				break
			}
		}
	}
	return n
}

// refusalsOf reads one pids.events; found is false where there is none, as in the root.
func refusalsOf(file string) (n uint64, found bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(text) {
		if count, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte("max ")); found {
			n, _ := strconv.ParseUint(string(count), 10, 64) // the kernel writes numbers
			return n, true
		}
	}
	return 0, true
}
