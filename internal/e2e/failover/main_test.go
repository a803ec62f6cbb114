package failover_test

import (
	"testing"

	"lvsha/internal/e2e/rig"
)

// TestMain runs the tests that ask how soon something happens first, one at a time; the
// others side by side.
func TestMain(m *testing.M) { rig.Main(m, 6) }
