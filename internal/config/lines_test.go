package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsha/internal/config"
)

// grammar holds the corners of TOML that an index of lines can trip over.
const grammar = `# comment with [table] and key = "value"
top = 1 # trailing # twice
"quoted key" = "a \" quote and a # and a ] and a }"
'literal.key' = 'C:\no\escape'
"esc\u0061ped\t\"" = ""
dotted . "b.c" .d = 1979-05-27 07:32:00
multi = """
line = 2
\""" = still
ends with two quotes"""""
after = '''
[not.a.table]
'''
list = [
  "one", # comment, with ] in it
  [ "two", 'three' ],

  { a.b = 1, "c" = [ 1, 2 ], d = {} },
]
empty = ""

[table]
x = true
  [table.sub] # indented
  y = -1.5e3
[ spaced . "out" ]
z = inf
[[array]]
name = "first"
[array.sub]
deep = 1
[[array.nested]]
n = 1
[[array.nested]]
n = 2
[[array]]
name = "second"
[[array.nested]]
n = 3
[a.b.c]
`

func TestIndexLines(t *testing.T) {
	for p, want := range map[string]int{
		"top":                  2,
		`"quoted key"`:         3,
		`"literal.key"`:        4,
		`"escaped\t\""`:        5,
		`dotted`:               6,
		`dotted."b.c".d`:       6,
		"multi":                7,
		"after":                11,
		"list":                 14,
		"list[1]":              15,
		"list[2]":              16,
		"list[2][2]":           16,
		"list[3]":              18,
		"list[3].a.b":          18,
		"list[3].c[2]":         18,
		"empty":                20,
		"table":                22,
		"table.sub":            24,
		"table.sub.y":          25,
		"spaced.out.z":         27,
		"array":                28,
		"array[1]":             28,
		"array[1].name":        29,
		"array[1].sub.deep":    31,
		"array[1].nested[2].n": 35,
		"array[2]":             36,
		"array[2].nested[1].n": 39,
		"a":                    40,
		"a.b.c":                40,
		"line":                 0,
		`array[2].nested[2]`:   0,
		"not.a.table":          0,
	} {
		if got := config.IndexLine(grammar, p); got != want {
			t.Errorf("%s is on line %d, want %d", p, got, want)
		}
	}
	// Windows' line ends count the same.
	if got := config.IndexLine(strings.ReplaceAll(grammar, "\n", "\r\n"), "a.b.c"); got != 40 {
		t.Errorf("with CRLF a.b.c is on line %d, want 40", got)
	}
}

// sameKeys compares the index with the library, if the text is TOML at all.
func sameKeys(t *testing.T, text string) {
	t.Helper()
	var tree map[string]any
	meta, err := toml.Decode(text, &tree)
	if err != nil {
		return
	}
	if diff := cmp.Diff(meta.Keys(), config.IndexKeys(text), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("keys of %q (-library +index):\n%s", text, diff)
	}
}

func tomlFiles(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"testdata/bad/*.toml", "../../examples/*/lvsha.toml", "reference.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(text))
		}
	}
	return out
}

// TestIndexKeys holds the index equal to MetaData.Keys().
func TestIndexKeys(t *testing.T) {
	for _, text := range append(tomlFiles(t), grammar, pair, "\xef\xbb\xbfbom = 1", "a = 1", "a = '''''", "[a]\n[a.b]\n", `a = """"""`, `a = """"a"""`) {
		sameKeys(t, text)
	}
	if !slices.ContainsFunc(config.IndexKeys(grammar), func(k toml.Key) bool { return k.String() == "array.nested.n" }) {
		t.Error("the grammar's keys were not read")
	}
}

func FuzzIndexKeys(f *testing.F) {
	f.Add(grammar)
	f.Add(pair)
	for _, text := range tomlFiles(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config.IndexKeys(text) // must end on anything
		sameKeys(t, text)
	})
}

// FuzzParse holds that no text makes Parse panic, that a refusal says something
// on each line, that a text is always judged the same, and that the rooms take
// what was found valid.
func FuzzParse(f *testing.F) {
	f.Add(pair)
	for _, text := range tomlFiles(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		as := config.Identity{As: "lvs1"}
		cfg, err := config.ParseReading("f", []byte(text), as, exemplary)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cfg, err)
		}
		again, err2 := config.ParseReading("f", []byte(text), as, exemplary)
		if err != nil {
			if err2 == nil || err.Error() != err2.Error() {
				t.Fatalf("first %v\nthen %v", err, err2)
			}
			for _, p := range err.(config.Problems) {
				if p.Message == "" || p.Line < 0 || p.Line > strings.Count(text, "\n")+1 {
					t.Fatalf("problem %+v", p)
				}
			}
			return
		}
		if diff := cmp.Diff(cfg, again, cmpNetip); diff != "" {
			t.Fatalf("(-first +then):\n%s", diff)
		}
		acceptable(t, cfg)
	})
}
