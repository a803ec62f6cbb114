package rig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"lvsha/internal/lab"
)

// TestRun is one use of a package's tests.
type TestRun struct {
	// Package is below the module, such as "ipvs", and Flags are those of its test binary.
	Package, Flags string
	// Realtime has every lvsha run with a real-time priority, as on directors that must not
	// miss an advertisement: inside the machine all hosts share the processors of one.
	Realtime bool
	// Aside runs it beside those that follow. What it printed comes at the end.
	Aside bool
}

// WithIPVS compiles the tests of packages with the tag ipvskernel and runs them, one
// after the other but for those aside, where there is an IPVS kernel; one build and one
// boot do for all. It returns what they printed, and 1 if any of them failed.
func WithIPVS(t testing.TB, runs ...TestRun) (out string, code int) {
	t.Helper()
	binary, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := lab.Machine{
		Programs: []string{"ipvsadm", "keepalived", "nft", "setpriv"},
		Files:    map[string]string{binary: binary},
		Env:      []string{"LVSHA_PROGRAM=" + binary},
		MemoryMB: 1536,
	}
	build := []string{"test", "-c", "-tags", "ipvskernel", "-o", dir + "/"}
	script, ends := "ulimit -n 65536\ncode=0\n", ""
	for i, run := range runs {
		test := filepath.Join(dir, path.Base(run.Package)+".test")
		command := test
		if run.Realtime {
			command = runFlags + "='--realtime 20' " + test
		}
		if run.Aside {
			script += fmt.Sprintf("%s -test.timeout 20m %s >%s.%d 2>&1 &\naside%d=$!\n", command, run.Flags, test, i, i)
			ends += fmt.Sprintf("wait $aside%d || code=1\ncat %s.%d\n", i, test, i)
		} else {
			script += fmt.Sprintf("%s -test.timeout 20m %s || code=1\n", command, run.Flags)
		}
		if m.Files[test] == "" {
			m.Files[test] = test
			build = append(build, "./"+run.Package)
		}
	}
	if err := goTool(root, build...); err != nil {
		t.Fatal(err)
	}
	m.Command = []string{"/bin/sh", "-c", script + ends + "exit $code"}
	limit := 25 * time.Minute
	if _, long := t.(*testing.B); long {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var text bytes.Buffer
	code, err = lab.RunWithIPVS(ctx, m, io.MultiWriter(&text, os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), code
}
