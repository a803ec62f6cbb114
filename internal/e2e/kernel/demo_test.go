package kernel_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestDemoInterrupted: whatever ends the demo half-way, Ctrl-C or SIGKILL, no
// process and no file is left.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	binary, err := rig.Program()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			files := t.TempDir()
			cmd := exec.Command(binary, "demo")
			cmd.Env = append(os.Environ(), "TMPDIR="+files)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				if strings.HasPrefix(lines.Text(), "Requests spread") {
					break // the directors and servers run
				}
			}
			children := rig.Descendants(t, cmd.Process.Pid)
			if len(children) == 0 {
				t.Error("the demo has no processes to leave behind")
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() { // until the pipe closes
			}
			if err := cmd.Wait(); err == nil {
				t.Error("an interrupted demo ended with exit code 0")
			}
			_, err = lab.Eventually("processes gone", 30*time.Second, func() bool {
				for _, pid := range children {
					if _, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
						return false
					}
				}
				return true
			})
			if err != nil {
				t.Error(err)
			}
			left, err := os.ReadDir(files)
			if err != nil || len(left) > 0 {
				t.Errorf("files left: %v, %v", left, err)
			}
		})
	}
}
