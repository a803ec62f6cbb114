package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/config"
)

// TestLoader edits files and holds that a loader that has seen the file before makes of
// each what one makes that has not.
func TestLoader(t *testing.T) {
	const pair = `
[director.lvs1]
address = "10.0.0.1"
[director.lvs2]
address = "10.0.0.2"
[vrrp.web] # for each service
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24"]
`
	files := map[string]string{
		"pair":   pair + "[service.a]\nlisten = \"192.0.2.10:80/tcp\"\nforward = \"dr\"\n[[service.a.server]]\naddress = \"192.0.2.21\"\n" + strings.ReplaceAll("[service.b]\nlisten = \"192.0.2.10:81/tcp\"\nforward = \"dr\"\n[[service.b.server]]\naddress = \"192.0.2.21\"\n", "b]", "b]"),
		"follow": pair + "[service.a]\nlisten = \"192.0.2.10:80/tcp\"\nforward = \"dr\"\ncheck = { type = \"tcp\" }\n[[service.a.server]]\naddress = \"192.0.2.21\"\n[service.b]\nlisten = \"192.0.2.10:81/tcp\"\nforward = \"dr\"\nfollow = \"a\"\n[[service.b.server]]\naddress = \"192.0.2.21\"\n",
		"many":   manyServices(30),
		"ranges": pair + "[service.a]\nlisten = \"192.0.2.10:80-90/tcp\"\nforward = \"dr\"\n[[service.a.server]]\naddress = \"192.0.2.21\"\n[service.b]\nlisten = \"192.0.2.10:91/tcp\"\nforward = \"dr\"\n[[service.b.server]]\naddress = \"192.0.2.21\"\n",
	}
	for _, path := range append([]string{"reference.toml"}, examples(t)...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(text)
	}
	edits := [][2]string{
		{"\nweight = 1\n", "\nweight = 7\n"}, {"192.0.2.21", "192.0.2.77"}, {"dr", "nat"}, {":81/tcp", ":80/tcp"}, {":91/tcp", ":90/tcp"}, {"80-90/tcp", "80-91/tcp"}, {":81/tcp", ":79-81/tcp"}, {"forward = \"dr\"", "mark = 7\nforward = \"dr\""}, {"[service.a]", "[service.z]"},
		{"interval = \"60s\"", "interval = \"61s\""}, {"interval = \"60s\"", "interval = \"nonsense\""}, {"vrid = 51", "vrid = 52"}, {"10.0.0.1", "10.0.0.3"},
		{"listen", "listens"}, {"[service.s3]", "[service.s4]"}, {"scheduler", "# scheduler"}, {"[[service.b.server]]", "[[service.a.server]]"},
		{"192.0.2.1:1000/tcp", "192.0.2.2:1000/tcp"}, {"http", "tcp"}, {"\n[service", "\n[[service"}, {"]\n", "]]\n"}, {"\"\n", "\n"}, {"\"", "\"\"\""},
	}
	partly := 0
	for name, text := range files {
		// Each file is the last one for all its edits, and each edit for those after it.
		loader := config.NewLoader("lvsha.toml", "")
		versions := []string{text, text}
		for _, e := range edits {
			for _, n := range []int{1, -1} {
				versions = append(versions, strings.Replace(text, e[0], e[1], n), text)
			}
		}
		lines := strings.SplitAfter(text, "\n")
		for i := 0; i < len(lines); i += 1 + len(lines)/3 {
			// Without a line, and without one and all behind it.
			versions = append(versions, strings.Join(lines[:i], "")+strings.Join(lines[i+1:], ""), strings.Join(lines[:i], ""), text)
		}
		as := config.Identity{As: firstDirector(text)}
		for i, v := range versions {
			got, partial, gotErr := loader.ParseFor(v, as)
			want, wantErr := config.Parse("lvsha.toml", []byte(v), as)
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("%s, version %d: error %v, want %v\n%s", name, i, gotErr, wantErr, v)
			}
			if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
				t.Fatalf("%s, version %d (-want +got):\n%s\n%s", name, i, diff, v)
			}
			if partial {
				partly++
			}
		}
	}
	if partly < 200 {
		t.Errorf("%d files were read in part, want more", partly)
	}
}

func firstDirector(text string) string {
	_, after, found := strings.Cut(text, "[director.")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(after, "]")
	return name
}

func examples(t *testing.T) []string {
	t.Helper()
	out, err := filepath.Glob("../../examples/*/lvsha.toml")
	if err != nil || len(out) == 0 {
		t.Fatalf("examples: %v, %v", out, err)
	}
	return out
}

// TestLoaderSecrets changes a file that the text names.
func TestLoaderSecrets(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "lvsha.toml"), filepath.Join(dir, "password")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, manyServices(3)+"[service.x]\nlisten = \"192.0.2.99:6379/tcp\"\nowner = \"none\"\nforward = \"nat\"\ncheck = { type = \"redis\", plaintext = true, password_file = \""+secret+"\" }\n[[service.x.server]]\naddress = \"10.0.0.1\"\n")
	loader := config.NewLoader(path, "")
	for _, want := range []string{"first", "second"} {
		write(secret, want)
		cfg, err := loader.Load()
		if err != nil {
			t.Fatal(err)
		}
		check := cfg.Services[len(cfg.Services)-1].Servers[0].Checks[0]
		if got := string(check.Ask.(healthcheck.Redis).Password); got != want {
			t.Errorf("password %q, want %q", got, want)
		}
	}
}

// TestLoaderUnchanged: of a file in which nothing has changed, nor in what it names,
// nothing is made anew, whatever is in it; and everything that it was made of counts.
func TestLoaderUnchanged(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "lvsha.toml"), filepath.Join(dir, "password")
	const follows = "[service.y]\nlisten = \"192.0.2.98:443/tcp\"\nowner = \"none\"\nforward = \"nat\"\nfollow = \"x\"\n[[service.y.server]]\naddress = \"10.0.0.1\"\n"
	text := manyServices(3) + "[service.x]\nlisten = \"192.0.2.99:6379/tcp\"\nowner = \"none\"\nforward = \"nat\"\ncheck = { type = \"redis\", plaintext = true, password_file = \"" + secret + "\" }\n[[service.x.server]]\naddress = \"10.0.0.1\"\n" + follows
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, text)
	write(secret, "first")
	loader := config.NewLoader(path, "")
	load := func() *config.Config {
		t.Helper()
		cfg, err := loader.Load()
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	first := load()
	if load() != first {
		t.Error("a file that has not changed was made anew")
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loader.Load(); err == nil {
		t.Error("a secret that others can read by now was taken")
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if _, err := loader.Load(); err == nil {
		t.Error("a secret that is gone was taken")
	}
	write(secret, "first")
	if load() != first {
		t.Error("a file that is as it was is another one")
	}
	write(secret, "other")
	second := load()
	if second == first {
		t.Error("another secret was not seen")
	}
	write(path, text+"# said\n")
	if third := load(); third == second || third.Hash == second.Hash {
		t.Error("another text was not seen")
	}
	now, _, err := loader.ParseFor(text, config.Identity{Hostname: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if now == second {
		t.Error("another host name was not seen")
	}
}
