package config_test

import (
	"os"
	"regexp"
	"testing"

	"lvsha/internal/config"
)

// TestReadme: the configuration that the README explains is valid.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(snippets) == 0 {
		t.Fatal("no configuration in the README")
	}
	for _, s := range snippets {
		for _, name := range []string{"lvs1", "lvs2"} {
			if _, err := config.Parse("README.md", s[1], config.Identity{As: name}); err != nil {
				t.Errorf("as %s: %v", name, err)
			}
		}
	}
}
