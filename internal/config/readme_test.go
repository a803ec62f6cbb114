package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"lvsha/healthcheck"
	"lvsha/internal/config"
)

// TestReadmeKinds: the README has a line for each kind of check.
func TestReadmeKinds(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| type | passes when |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, kind := range healthcheck.Kinds() {
		if !strings.Contains(table, "`"+kind+"`") {
			t.Errorf("no %s", kind)
		}
	}
}

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
