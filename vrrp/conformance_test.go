package vrrp_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// The table is made from what the tests say of themselves. A test proves the rows
// whose ids stand in its name (TestV3_RX_07), in its comment, at the beginning of a
// string in it (the name of a case), or in a comment inside that begins with
// "Proves:". Results are those of a real run:
//
//	go test -json ./... > run.json
//	go test ./vrrp -run TestConformance -results run.json -update
//
// Without -results, tests keep the result that the table has, and those that are
// not in it are "not run".
var resultsFile = flag.String("results", "", "with -update, take the results for testdata/conformance.txt from the output of go test -json")

const conformanceFile = "testdata/conformance.txt"

// TestConformance holds that every row that the RFCs demand or recommend has a test
// or a reason, that tests speak of rows that exist, and that the table is true.
func TestConformance(t *testing.T) {
	rows := requirements()
	known := make(map[string]requirement)
	for _, r := range rows {
		if _, twice := known[r.id]; twice {
			t.Errorf("%s is there twice", r.id)
		}
		known[r.id] = r
	}
	proofs := make(map[string][]string)
	for test, ids := range proven(t, "..") {
		for _, id := range ids {
			if _, ok := known[id]; !ok {
				t.Errorf("%s speaks of %s, which is no row", test, id)
			}
			proofs[id] = append(proofs[id], test)
		}
	}
	for _, r := range rows {
		open := strings.HasPrefix(r.except, "open: ")
		switch {
		case r.except == "" && len(proofs[r.id]) == 0 && (r.strength == "M" || r.strength == "S"):
			t.Errorf("%s (%s) has neither a test nor a reason: %s", r.id, r.strength, r.rule)
		case open && len(proofs[r.id]) > 0:
			t.Errorf("%s has tests now: take %q away", r.id, r.except)
		}
	}

	was, err := os.ReadFile(conformanceFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	results := tableResults(string(was))
	if *resultsFile != "" {
		results = runResults(t, *resultsFile)
	}
	table := conformanceTable(rows, proofs, results)
	if *update {
		if err := os.WriteFile(conformanceFile, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(string(was), table); diff != "" {
		t.Errorf("%s is out of date, run this test with -update (-is +should be):\n%s", conformanceFile, diff)
	}
	for test, result := range results {
		if result == "fail" {
			t.Errorf("%s failed when the table was made", test)
		}
	}
}

// conformanceTable is the table as text.
func conformanceTable(rows []requirement, proofs map[string][]string, results map[string]string) string {
	var b strings.Builder
	b.WriteString("Made by TestConformance; see there. M, S and O are must, should and may, D is a\nrule of our own, F a fact about keepalived that we rely on.\n")
	counts := make(map[string]int)
	var body strings.Builder
	for _, r := range rows {
		verdict := "pass"
		for _, test := range proofs[r.id] {
			if got := cmp.Or(results[test], "not run"); got != "pass" && verdict != "fail" {
				verdict = got
			}
		}
		kind, reason, _ := strings.Cut(r.except, ": ")
		switch {
		case kind != "":
			verdict = kind
		case len(proofs[r.id]) == 0:
			verdict = "no test"
		}
		counts[verdict]++
		fmt.Fprintf(&body, "\n%s %s %s\n\t%s\n", r.id, r.strength, verdict, r.rule)
		if reason != "" {
			fmt.Fprintf(&body, "\t%s: %s\n", kind, reason)
		}
		tests := slices.Clone(proofs[r.id])
		slices.Sort(tests)
		for _, test := range tests {
			fmt.Fprintf(&body, "\t%s %s\n", test, cmp.Or(results[test], "not run"))
		}
	}
	fmt.Fprintf(&b, "\n%d rows:", len(rows))
	for _, verdict := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, " %d %s,", counts[verdict], verdict)
	}
	return strings.TrimSuffix(b.String(), ",") + ".\n" + body.String()
}

// tableLine is a test and its result in the table.
var tableLine = regexp.MustCompile(`^\t(\S+\.(?:Test|Fuzz)\S*) (pass|fail|not run)$`)

// tableResults are the results that a table has.
func tableResults(table string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(table) {
		if m := tableLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// runResults are the results of a run, from the output of go test -json.
func runResults(t *testing.T, file string) map[string]string {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := make(map[string]string)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var event struct{ Action, Package, Test string }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			continue // what the go command itself had to say
		}
		if event.Action == "pass" || event.Action == "fail" {
			out[strings.TrimPrefix(event.Package, "lvsha/")+"."+event.Test] = event.Action
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// proven are the ids that each test below a directory proves.
func proven(t *testing.T, root string) map[string][]string {
	out := make(map[string][]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			if ids := provenBy(file, f); len(ids) > 0 {
				out[filepath.ToSlash(rel)+"."+f.Name.Name] = ids
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// provenBy are the ids that one test speaks of.
func provenBy(file *ast.File, f *ast.FuncDecl) []string {
	found := idsIn(strings.ReplaceAll(f.Name.Name, "_", "-"))
	found = append(found, idsIn(f.Doc.Text())...)
	for _, group := range file.Comments {
		if text := group.Text(); group.Pos() > f.Body.Pos() && group.End() < f.Body.End() && strings.HasPrefix(text, "Proves:") {
			found = append(found, idsIn(text)...)
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				if at := rowID.FindStringIndex(text); at != nil && at[0] == 0 {
					found = append(found, idsIn(text)...)
				}
			}
		}
		return true
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// rowID is an id, and what follows it where several of a kind are named: "V3-RX-17,
// 18", "KA-HMAC-01 to 05", or in a name V3-RX-11-12.
var rowID = regexp.MustCompile(`((?:V[23]-[A-Z0-9]+|ARP|NA|BFD-[A-Z]+|KA-HMAC|SIM-[A-Z]+)-)(\d\d)\b((?:(?:, | and | to |-)\d\d\b)*)`)

var furtherID = regexp.MustCompile(`(, | and | to |-)(\d\d)`)

// idsIn are the ids in a text.
func idsIn(text string) []string {
	var out []string
	text = strings.Join(strings.Fields(text), " ")
	for _, m := range rowID.FindAllStringSubmatch(text, -1) {
		last, _ := strconv.Atoi(m[2])
		out = append(out, m[1]+m[2])
		for _, more := range furtherID.FindAllStringSubmatch(m[3], -1) {
			next, _ := strconv.Atoi(more[2])
			from := next
			if more[1] == " to " {
				from = last + 1
			}
			for n := from; n <= next; n++ {
				out = append(out, fmt.Sprintf("%s%02d", m[1], n))
			}
			last = next
		}
	}
	return out
}

// TestIDsIn has the ways to name several rows.
func TestIDsIn(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"TestV3-RX-11-12":                  "V3-RX-11 V3-RX-12",
		"of V3-RX-17, 18, and V3-V6-03.":   "V3-RX-17 V3-RX-18 V3-V6-03",
		"of KA-HMAC-01 to 03 and 07":       "KA-HMAC-01 KA-HMAC-02 KA-HMAC-03 KA-HMAC-07",
		"of V3-RX-17,\n18":                 "V3-RX-17 V3-RX-18",
		"TestEngineV3-PKT-14":              "V3-PKT-14",
		"of SIM-PAUSE-123, GV-08, V3-RX-1": "",
	} {
		if got := strings.Join(idsIn(text), " "); got != want {
			t.Errorf("%q has %q, want %q", text, got, want)
		}
	}
}
