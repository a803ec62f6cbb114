package kernel_test

import (
	"testing"

	"lvsha/internal/e2e/rig"
)

// TestMain runs the tests with connections that are to survive something first, one at a
// time; the others two at a time, which is as many as the machine has processors.
func TestMain(m *testing.M) { rig.Main(m, 2) }
