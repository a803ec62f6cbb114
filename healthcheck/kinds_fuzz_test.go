package healthcheck_test

import (
	"testing"

	"lvsha/healthcheck"
)

// FuzzHealthStatus decodes answers of the health service of gRPC.
func FuzzHealthStatus(f *testing.F) {
	f.Add([]byte("\x08\x01"))
	f.Add([]byte("\x12\x02hi\x08\x02"))
	f.Add([]byte("\x0f\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if status, err := healthcheck.HealthStatus(b); err == nil && status == "" {
			t.Errorf("%x has no name", b)
		}
	})
}
