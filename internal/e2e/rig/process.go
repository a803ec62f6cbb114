package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time of CLOCK_MONOTONIC, which the log of the kernel in memory has too.
func Monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}

// Descendants are the processes below a process.
func Descendants(t testing.TB, pid int) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	below := []int{pid}
	for i := 0; i < len(below); i++ {
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			var child, parent int
			var state string
			if _, err := fmt.Sscanf(string(text[strings.LastIndexByte(string(text), ')')+1:]), "%s %d", &state, &parent); err != nil || parent != below[i] {
				continue
			}
			if _, err := fmt.Sscan(filepath.Base(filepath.Dir(path)), &child); err != nil {
				t.Fatal(err)
			}
			below = append(below, child)
		}
	}
	return below[1:]
}
