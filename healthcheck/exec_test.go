package healthcheck_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/healthcheck"
)

// shell is an exec check of a shell script; the shell is the program under test
// here, the check itself uses none.
func shell(script string) healthcheck.Check {
	return healthcheck.Check{Ask: healthcheck.Exec{Command: healthcheck.NewList("/bin/sh", "-c", script)}}
}

// as is shell as another user.
func as(user, script string) healthcheck.Check {
	c := shell(script)
	ask := c.Ask.(healthcheck.Exec)
	ask.User = user
	c.Ask = ask
	return c
}

const server = "192.0.2.21:8080"

func TestExec(t *testing.T) {
	// The check's environment is its own, not the daemon's.
	t.Setenv("LVSHA_TEST_LEAK", "leaked")
	quick := func(c healthcheck.Check) healthcheck.Check {
		c.Timeout = 300 * time.Millisecond
		return c
	}
	nobody := as("nobody", "id -un")
	stranger := as("no-such-user", "true")

	tests := []struct {
		name  string
		check healthcheck.Check
		want  string
	}{
		{"well", shell("exit 0"), "ok: exit status 0"},
		{"well and talkative", shell("echo; echo 'replica is 2 s behind'; echo more"), "ok: exit status 0: replica is 2 s behind"},
		{"ill", shell("echo 'disk is full' >&2; exit 2"), "fail: exit status 2: disk is full"},
		{"killed", shell("kill -9 $$"), "fail: signal: killed"},
		{"environment", shell(`echo "$LVSHA_SERVER $LVSHA_PORT ${LVSHA_TEST_LEAK-none} $PWD"`), "ok: exit status 0: 192.0.2.21 8080 none /"},
		{"arguments as they are", healthcheck.Check{Ask: healthcheck.Exec{Command: healthcheck.NewList("/bin/echo", "$HOME", "a  b", "*")}}, "ok: exit status 0: $HOME a  b *"},
		{"nothing to read", shell("cat; echo done"), "ok: exit status 0: done"},
		{"control characters", shell(`printf '\033[31mred\007'; exit 1`), "fail: exit status 1: ?[31mred?"},
		{"megabytes", shell("head -c 20000000 /dev/zero | tr '\\0' x; exit 3"), "fail: exit status 3: " + strings.Repeat("x", 119) + "…"},
		{"output without end", quick(shell("yes")), "fail: timeout after 300ms while running /bin/sh"},
		{"hangs", quick(shell("sleep 100")), "fail: timeout after 300ms while running /bin/sh"},
		{"hangs and ignores signals", quick(shell("trap '' TERM INT HUP; sleep 100; sleep 100")), "fail: timeout after 300ms while running /bin/sh"},
		{"another user", nobody, "ok: exit status 0: nobody"},
		{"no such user", stranger, `fail: user "no-such-user": user: unknown user no-such-user`},
		{"no such program", healthcheck.Check{Ask: healthcheck.Exec{Command: "/no/such/program"}}, "fail: start: fork/exec /no/such/program: no such file or directory"},
		{"no program", healthcheck.Check{Ask: healthcheck.Exec{}}, "fail: no command"},
		{"left a child that left the group", shell("setsid sleep 2 & echo fine"), "ok: exit status 0: fine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := probe(t, server, tt.check); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestExecKillsChildren holds that no process of a check outlives it: all of them
// hold a pipe open, whose reader sees the end when the last one is gone.
func TestExecKillsChildren(t *testing.T) {
	tests := []struct {
		name, script, want string
	}{
		{"at the timeout", "sleep 100 & (sleep 100 & sleep 100) & sleep 100", "fail: timeout after 300ms while running /bin/sh"},
		{"left behind", "sleep 100 & echo fine", "ok: exit status 0: fine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			gone := make(chan error, 1)
			go func() {
				f, err := os.Open(fifo)
				if err == nil {
					defer f.Close()
					_, err = io.Copy(io.Discard, f)
				}
				gone <- err
			}()
			c := shell("exec 3>'" + fifo + "'; " + tt.script)
			c.Timeout = 300 * time.Millisecond
			if got := probe(t, server, c); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			select {
			case err := <-gone:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("a child of the check is still there")
			}
		})
	}
}
