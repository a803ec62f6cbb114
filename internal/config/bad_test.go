package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

// TestBad reads each testdata/bad/NAME.toml as director lvs1 and compares the
// problems with NAME.problems.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse(filepath.Base(file), text, config.Identity{As: as(string(text))})
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want problems", err)
			}
			got := problems.Error() + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".problems"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// as is who reads the file: lvs1 unless its first line says otherwise
// ("# as NAME", "# as" for nobody in particular).
func as(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	if name, ok := strings.CutPrefix(first, "# as"); ok {
		return strings.TrimSpace(name)
	}
	return "lvs1"
}
