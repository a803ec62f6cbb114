package kernel_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/e2e/rig"
)

// TestWithIPVSKernel runs the tests that need an IPVS kernel (build tag
// ipvskernel, names TestKernel… and TestModule…) where there is one: here, in namespaces, or
// inside the emulated machine.
func TestWithIPVSKernel(t *testing.T) {
	t.Parallel()
	const all, modules = "-test.v -test.run '^TestKernel'", "-test.v -test.run '^TestModule'"
	if *onlyKernel != "" {
		some := "-test.v -test.run '" + *onlyKernel + "'"
		out, code := rig.WithIPVS(t, rig.TestRun{Package: "ipvs", Flags: some}, rig.TestRun{Package: "sync", Flags: some}, rig.TestRun{Package: "internal/e2e/kernel", Flags: some, Realtime: true})
		if code != 0 || !strings.Contains(out, "--- PASS: ") {
			t.Errorf("exit code %d", code)
		}
		return
	}
	out, code := rig.WithIPVS(t,
		// First, while no namespace has used the modules that it takes away.
		rig.TestRun{Package: "internal/e2e/kernel", Flags: modules},
		rig.TestRun{Package: "ipvs", Flags: all, Aside: true}, rig.TestRun{Package: "sync", Flags: all, Aside: true},
		rig.TestRun{Package: "internal/e2e/kernel", Flags: all, Realtime: true})
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

// sameMatrix compares what kernel tests say of the kinds of services ("matrix: …"), in any
// order, with what was seen before.
func sameMatrix(t *testing.T, out string) {
	t.Helper()
	var got []string
	for _, line := range regexp.MustCompile(`(?m)^matrix: (.*)$`).FindAllStringSubmatch(out, -1) {
		got = append(got, strings.TrimSpace(line[1])+"\n")
	}
	slices.Sort(got)
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(root, "ipvs", "testdata", "matrix.txt")
	if *updateMatrix {
		if err := os.WriteFile(golden, []byte(strings.Join(got, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(strings.Lines(string(want))), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}
