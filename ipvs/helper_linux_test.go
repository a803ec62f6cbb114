package ipvs

import (
	"slices"
	"testing"
)

func TestParseHelpers(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "prot port    usecnt name\n": nil, "prot port    usecnt name\nTCP  21      0      ftp              \n": {"ftp"},
	} {
		if got := parseHelpers(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
