package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"lvsha/internal/config"
	"lvsha/ipvs"
)

// loadAsAll reads a file as each of its directors.
func loadAsAll(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names struct{ Director map[string]any }
	if _, err := toml.Decode(string(text), &names); err != nil {
		t.Fatal(err)
	}
	if len(names.Director) == 0 {
		names.Director = map[string]any{"": nil}
	}
	for name := range names.Director {
		cfg, err := config.ParseReading(file, text, config.Identity{As: name}, exemplary)
		if err != nil {
			t.Errorf("as %q:\n%v", name, err)
			continue
		}
		acceptable(t, cfg)
	}
}

// exemplary has the secrets that the reference and the examples speak of.
func exemplary(name string) ([]byte, error) {
	switch {
	case strings.HasPrefix(name, "/etc/lvsha/") && strings.HasSuffix(name, ".key"):
		return []byte(strings.Repeat("a5", 32) + "\n"), nil
	case strings.HasPrefix(name, "/etc/lvsha/") && strings.HasSuffix(name, ".password"):
		return []byte("s3cret\n"), nil
	}
	return nil, fs.ErrNotExist
}

// acceptable holds that the rooms take what this package found valid.
func acceptable(t *testing.T, cfg *config.Config) {
	t.Helper()
	for _, r := range cfg.Routers {
		if err := r.Validate(); err != nil {
			t.Errorf("vrrp refuses: %v", err)
		}
	}
	for _, s := range cfg.Services {
		for _, l := range s.Listen {
			svc := s.On(l)
			for _, server := range s.Servers {
				svc.Destinations = append(svc.Destinations, server.Destination(l))
			}
			if err := ipvs.Validate(svc); err != nil {
				t.Errorf("ipvs refuses: %v", err)
			}
			if s.Sorry == nil {
				continue
			}
			svc.Destinations = []ipvs.Destination{s.Sorry.Destination(l)}
			if err := ipvs.Validate(svc); err != nil {
				t.Errorf("ipvs refuses the sorry server: %v", err)
			}
		}
	}
}

// TestReference holds that reference.toml is valid and shows every key there is.
func TestReference(t *testing.T) {
	loadAsAll(t, "reference.toml")
	text, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	meta, err := toml.Decode(string(text), &tree)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, k := range meta.Keys() {
		// The second part is a name the operator chose.
		k = slices.Clone(k)
		if len(k) > 1 && !slices.Contains([]string{"bfd", "health", "ipvs", "notify", "peer", "sync"}, k[0]) {
			k[1] = "NAME"
		}
		for i := range k {
			key := strings.Join(k[:i+1], ".")
			shown[key], shown[strings.TrimSuffix(key, "_file")] = true, true
			// A request of several is a check's in all but its place.
			shown[strings.Replace(key, ".check.requests.", ".check.", 1)] = true
		}
	}
	for _, key := range config.KnownKeys() {
		if !shown[key] {
			t.Errorf("%s is not in reference.toml", key)
		}
	}
}

// TestExamples loads every lvsha.toml below examples as every director in it,
// and wants a README beside it.
func TestExamples(t *testing.T) {
	const root = "../../examples"
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "lvsha.toml" {
			return err
		}
		n++
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			loadAsAll(t, path)
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "README.md")); err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if n < 5 {
		t.Errorf("found %d examples, want at least 5", n)
	}
}
