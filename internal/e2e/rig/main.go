package rig

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// Main runs the tests of a package, those that are parallel n at a time unless the
// command line says otherwise: they wait most of the time, so that the number of
// processors does not matter.
func Main(m *testing.M, n int) {
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
