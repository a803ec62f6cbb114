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
func refusals() (n uint64) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		// 8:pids:/some/group in version 1, 0::/some/group in version 2.
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, found := strings.Cut(rest, ":")
		root := "/sys/fs/cgroup"
		switch {
		case !found || controllers != "" && controllers != "pids":
			continue
		case controllers == "pids":
			root += "/pids"
		}
		// Older kernels count in the group of the process, newer ones where the limit is.
		for ; ; group = filepath.Dir(group) {
			n += refusalsOf(filepath.Join(root, group, "pids.events"))
			if group == "/" || group == "." {
				break
			}
		}
	}
	return n
}

// refusalsOf reads one pids.events, of which the root has none.
func refusalsOf(file string) uint64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if count, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte("max ")); found {
			n, _ := strconv.ParseUint(string(count), 10, 64) // the kernel writes numbers
			return n
		}
	}
	return 0
}
