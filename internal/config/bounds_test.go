package config_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"lvsha/internal/config"
)

// TestBounds: a text that is no configuration is refused with a sentence, before it
// costs memory or the stack of the daemon that reads it.
func TestBounds(t *testing.T) {
	deep := strings.Repeat("a.", 200_000)
	for name, c := range map[string]struct{ text, want string }{
		"lists in lists":          {"a = " + strings.Repeat("[", 4<<20), "lists and tables are nested more than 24 deep"},
		"closed lists in lists":   {"a = " + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20), "nested more than 24 deep"},
		"tables in tables":        {strings.Repeat("a = {", 1<<20), "nested more than 24 deep"},
		"a header of many parts":  {"[" + deep + "a]\nb = 1\n", "a key has more than 24 parts"},
		"blanks between parts":    {"[" + strings.Repeat("a . ", 100_000) + "a]\n", "a key has more than 24 parts"},
		"quoted parts":            {strings.Repeat(`"a".`, 100_000) + "a = 1\n", "a key has more than 24 parts"},
		"a key of many parts":     {"x = 1\n" + deep + "a = 1\n", "a key has more than 24 parts"},
		"long tables, many keys":  {"[" + strings.Repeat("a", 1<<20) + "]\n" + many(10_000), "a key has more than 4096 characters"},
		"long strings as tables":  {`["` + strings.Repeat("a", 1<<20) + `"]` + "\n" + many(10_000), "a key has more than 4096 characters"},
		"long keys of tables":     {strings.Repeat("a", 1<<20) + " = {" + strings.ReplaceAll(many(10_000), "\n", ",") + "}", "a key has more than 4096 characters"},
		"long enough, many keys":  {"[" + strings.Repeat("a", 4000) + "]\n" + many(100_000), "too long for so many of them"},
		"many keys":               {many(2_100_000), "more than 2000000 keys, items and lines"},
		"many items":              {"a = [" + strings.Repeat("1,", 2_100_000) + "]", "more than 2000000 keys, items and lines"},
		"too large":               {strings.Repeat("# nothing but comment\n", 2<<20), "more than 32 MiB"},
		"behind a string":         {`a = "` + `\"` + `"` + "\nb = " + strings.Repeat("[", 1<<20), "nested more than 24 deep"},
		"behind a string of many": {"a = '''\n'\n''''\nb = " + strings.Repeat("[", 1<<20), "nested more than 24 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begun := time.Now()
			_, err := config.Parse("lvsha.toml", []byte(c.text), config.Identity{})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.200v, want %q", err, c.want)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("a problem of %d octets: %.200v", len(err.Error()), err)
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 1024 {
				t.Errorf("took %d MiB for %d octets", used, len(c.text))
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// many are keys, one a line.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d=1\n", i)
	}
	return b.String()
}

// TestBoundsOfFiles: a file without an end is one that is too large.
func TestBoundsOfFiles(t *testing.T) {
	for _, load := range map[string]func() (*config.Config, error){
		"check":  func() (*config.Config, error) { return config.Load("/dev/zero", "") },
		"reload": config.NewLoader("/dev/zero", "").Load,
		"server": func() (*config.Config, error) { return config.LoadForServer("/dev/zero") },
	} {
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "more than 32 MiB") {
			t.Errorf("got %v", err)
		}
	}
}

// TestManyProblems: what is wrong with a text that is none of ours is told in bounds, and
// costs in bounds.
func TestManyProblems(t *testing.T) {
	numbered := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const service = "[service.web]\nlisten = \"192.0.2.1:80/tcp\"\nowner = \"none\"\nforward = \"nat\"\n"
	for name, c := range map[string]struct {
		text, want string
		most       int
	}{
		"unknown tables":         {service + numbered(60_000, "[a%d]\n"), "more problems are not shown", 1001},
		"unknown keys":           {service + numbered(60_000, "k%d = 1\n"), "more problems are not shown", 1001},
		"services that are none": {numbered(20_000, "[service.a%d]\nlisten = 1\n"), "more problems are not shown", 1001},
		"directors":              {service + numbered(5000, "[director.a%d]\n"), "a file has at most 64 directors, and this one has 5000", 10},
		"conditions":             {service + numbered(10_000, "[track.a%d]\ntype = \"interface\"\n"), "more problems are not shown", 1001},
		"a long value":           {service + "[[service.web.server]]\naddress = \"" + strings.Repeat("a", 8<<20) + "\"\n", "want", 10},
		"a long number":          {service + "scale = " + strings.Repeat("9", 1<<20) + "\n", "the number is out of range for int64", 1},
		"a long exponent":        {service + "scale = 1e" + strings.Repeat("9", 1<<20) + "\n", "the number is out of range for float64", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := config.Parse("lvsha.toml", []byte(c.text), config.Identity{Hostname: "lvs1"})
			runtime.ReadMemStats(&after)
			var all config.Problems
			if !errors.As(err, &all) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %.200v, want %q", err, c.want)
			}
			if len(all) > c.most || len(err.Error()) > 2<<20 {
				t.Errorf("%d problems in %d octets", len(all), len(err.Error()))
			}
			for _, p := range all {
				if len(p.Message) > 5000 {
					t.Errorf("a problem of %d octets: %.200s", len(p.Message), p.Message)
				}
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 2048 {
				t.Errorf("took %d MiB for %d octets", used, len(c.text))
			}
		})
	}
}
