package main_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/lab"
)

// TestWithIPVSKernel runs the tests that need an IPVS kernel (build tag
// ipvskernel, names TestKernel… and TestModule…) where there is one: here, in namespaces, or
// inside the emulated machine.
func TestWithIPVSKernel(t *testing.T) {
	const all, modules = "-test.v -test.run '^TestKernel'", "-test.v -test.run '^TestModule'"
	if *onlyKernel != "" {
		some := "-test.v -test.run '" + *onlyKernel + "'"
		out, code := withIPVS(t, testRun{"ipvs", some}, testRun{"sync", some}, testRun{"cmd/lvsha", some})
		if code != 0 || !strings.Contains(out, "--- PASS: ") {
			t.Errorf("exit code %d", code)
		}
		return
	}
	out, code := withIPVS(t,
		// First, while no namespace has used the modules that it takes away.
		testRun{"cmd/lvsha", modules},
		testRun{"ipvs", all}, testRun{"sync", all}, testRun{"cmd/lvsha", all})
	sameMatrix(t, out)
	passed := len(regexp.MustCompile(`(?m)^--- PASS: Test(?:Kernel|Module)`).FindAllString(out, -1))
	t.Logf("%d kernel tests passed", passed)
	if code != 0 || passed == 0 {
		t.Errorf("exit code %d, %d tests passed", code, passed)
	}
	for _, line := range regexp.MustCompile(`(?m)^\s*--- (?:FAIL|SKIP).*`).FindAllString(out, -1) {
		t.Error(line)
	}
}

// onlyKernel names the kernel tests that are of interest.
var onlyKernel = flag.String("kernel", "", "run only the kernel tests that match, and compare nothing with ipvs/testdata/matrix.txt")

// updateMatrix writes what the kernel did down as what it is to do.
var updateMatrix = flag.Bool("update-matrix", false, "write ipvs/testdata/matrix.txt")

// sameMatrix compares what kernel tests say of the kinds of services ("matrix: …") with what
// was seen before.
func sameMatrix(t *testing.T, out string) {
	t.Helper()
	var got strings.Builder
	for _, line := range regexp.MustCompile(`(?m)^matrix: (.*)$`).FindAllStringSubmatch(out, -1) {
		got.WriteString(strings.TrimSpace(line[1]) + "\n")
	}
	const golden = "../../ipvs/testdata/matrix.txt"
	if *updateMatrix {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// BenchmarkIdle measures what a director with little to do costs, lvsha's and
// keepalived's side by side.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		if _, code := withIPVS(b, testRun{"cmd/lvsha", "-test.run '^$' -test.bench '^BenchmarkKernelIdle$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}

// testRun is one use of a package's tests.
type testRun struct{ pkg, flags string }

// withIPVS compiles the tests of packages and runs them where there is an IPVS
// kernel; one boot does for all.
func withIPVS(t testing.TB, runs ...testRun) (out string, code int) {
	t.Helper()
	binary, err := program()
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
	script := "ulimit -n 65536\ncode=0\n"
	for _, run := range runs {
		test := filepath.Join(dir, strings.ReplaceAll(run.pkg, "/", "-")+".test")
		script += fmt.Sprintf("%s -test.timeout 15m %s || code=1\n", test, run.flags)
		if m.Files[test] != "" {
			continue
		}
		cmd := exec.Command("go", "test", "-c", "-tags", "ipvskernel", "-o", test, "lvsha/"+run.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compiling the tests of %s: %v\n%s", run.pkg, err, out)
		}
		m.Files[test] = test
	}
	m.Command = []string{"/bin/sh", "-c", script + "exit $code"}
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
