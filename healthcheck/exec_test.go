package healthcheck_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		{"ill", shell("echo 'disk is full' >&2; exit 2"), "fail: exit status 2: disk is full"},
		{"killed", shell("kill -9 $$"), "fail: signal: killed"},
		{"environment", shell(`echo "$LVSHA_SERVER $LVSHA_PORT ${LVSHA_TEST_LEAK-none} $PWD"`), "ok: exit status 0: 192.0.2.21 8080 none /"},
		{"hangs", quick(shell("sleep 100")), "fail: timeout after 300ms while running /bin/sh"},
		{"another user", nobody, "ok: exit status 0: nobody"},
		{"no such user", stranger, `fail: user "no-such-user": user: unknown user no-such-user`},
		{"no such program", healthcheck.Check{Ask: healthcheck.Exec{Command: "/no/such/program"}}, "fail: start: /no/such/program: no such file or directory"},
		{"no program", healthcheck.Check{Ask: healthcheck.Exec{}}, "fail: no command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := probe(t, server, tt.check); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestExecKillsChildren holds that no process of a check that holds its output outlives it.
func TestExecKillsChildren(t *testing.T) {
	got := probe(t, server, shell("sleep 100 & echo $!"))
	pid, err := strconv.Atoi(strings.TrimPrefix(got, "ok: exit status 0: "))
	if err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		// A zombie that nobody buries in a container is gone too.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a child of the check is still there")
		}
	}
}

// TestExecInconclusive: a program that this machine keeps from starting says nothing about
// the server, and the reason says so; one that is not there is a failure.
func TestExecInconclusive(t *testing.T) {
	busy := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(busy, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(busy, os.O_WRONLY, 0) // as long as it is open it cannot be started
	if err != nil {
		t.Fatal(err)
	}
	ask := func(program string) error {
		ask, err := healthcheck.Exec{Command: healthcheck.NewList(program)}.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		_, err = ask(t.Context(), healthcheck.Target{Server: netip.MustParseAddrPort(server)})
		return err
	}
	want := "nothing learned about the server: start: " + busy + ": it is being written: text file busy"
	if err := ask(busy); !errors.Is(err, healthcheck.ErrInconclusive) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ask(busy); err != nil {
		t.Errorf("when it can be started: %v", err)
	}
	if err := ask("/no/such/program"); err == nil || errors.Is(err, healthcheck.ErrInconclusive) {
		t.Errorf("one that is not there: %v", err)
	}
}
