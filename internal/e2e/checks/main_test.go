package checks_test

import (
	"testing"

	"lvsha/internal/e2e/rig"
)

// TestMain runs the tests side by side.
func TestMain(m *testing.M) { rig.Main(m, 6) }
