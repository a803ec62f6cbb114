package config_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
	"lvsha/vrrp"
)

// pairWith is a pair whose router has more keys.
func pairWith(more string) string {
	return `[director.lvs1]
address = "10.0.0.1"
[director.lvs2]
address = "10.0.0.2"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24"]
` + more
}

// TestKeyFiles has each form of a key file.
func TestKeyFiles(t *testing.T) {
	key := bytes.Repeat([]byte{0xa5}, 32)
	digits := strings.Repeat("a5", 32)
	binary := append(bytes.Repeat([]byte{0}, 63), '\n')
	for _, tt := range []struct {
		name    string
		content string
		mode    os.FileMode
		want    string // the key, or the problem
	}{
		{"raw", string(key), 0o600, string(key)},
		{"raw that ends like a line", string(binary), 0o600, string(binary)},
		{"hexadecimal", digits, 0o600, string(key)},
		{"hexadecimal line", digits + "\n", 0o400, string(key)},
		{"capitals", strings.ToUpper(digits) + "\r\n", 0o600, string(key)},
		{"marked as keepalived does", "hex:" + digits + "\n", 0o600, string(key)},
		{"64 octets in hexadecimal", digits + digits, 0o600, string(key) + string(key)},
		{"text as in keepalived", "correct horse battery staple, said he\n", 0o600, "correct horse battery staple, said he"},
		{"short", strings.Repeat("x", 31), 0o600, "FILE: the key has 31 octets, want 32 to 64"},
		{"long", strings.Repeat("x", 65), 0o600, "FILE: the key has 65 octets, want 32 to 64"},
		{"half as long as it looks", strings.Repeat("ab", 16) + "\n", 0o600, "FILE: the key has 16 octets, want 32 to 64"},
		{"odd", digits + "a", 0o600, "FILE: the number of hexadecimal digits is odd"},
		{"not what it is marked as", "hex:" + digits[2:] + "xy", 0o600, "FILE: there is something else than hexadecimal digits"},
		{"empty", "", 0o600, "FILE: the key has 0 octets, want 32 to 64"},
		{"huge", strings.Repeat("x", 5000), 0o600, "FILE: is too long for a secret"},
		{"readable by everybody", digits, 0o644, "FILE: others than its owner have rights to it (mode 0644); do: chmod 600 FILE"},
		{"readable by the group", digits, 0o640, "FILE: others than its owner have rights to it (mode 0640); do: chmod 600 FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "vrrp.key")
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tt.mode); err != nil {
				t.Fatal(err)
			}
			text := pairWith(fmt.Sprintf("[vrrp.web.auth]\nkeys = [\n{ id = 7, file = %q }]\n", file))
			cfg, err := config.Parse("x.toml", []byte(text), config.Identity{As: "lvs1"})
			if problem, ok := strings.CutPrefix(tt.want, "FILE:"); ok {
				want := strings.ReplaceAll("x.toml:11: vrrp.web.auth.keys[1].file: "+file+":"+problem+" (on director lvs1)", "FILE", file)
				if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			acceptable(t, cfg)
			if got := cfg.Routers[0].Auth; got.Keys[0].Secret != tt.want || got.Keys[0].ID != 7 || got.Send != 7 {
				t.Errorf("read %q, sends with %d", got.Keys[0].Secret, got.Send)
			}
		})
	}
}

// TestSecretFiles: only files are opened, and only on their own machine.
func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"no such file or directory": pairWith(fmt.Sprintf("[vrrp.web.auth]\nkeys = [{ id = 1, file = %q }]\n", dir+"/missing")),
		"is not a regular file":     pairWith(fmt.Sprintf("[vrrp.web.auth]\nkeys = [{ id = 1, file = %q }]\n", dir)),
	} {
		_, err := config.Parse("x.toml", []byte(text), config.Identity{As: "lvs1"})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := pairWith(fmt.Sprintf("[vrrp.web.auth]\nkeys = [{ id = 1, file = %q }]\n[director.lvs2.vrrp.web.auth]\nkeys = [{ id = 1, file = \"/nowhere/on/lvs1.key\" }]\n", key))
	if _, err := config.Parse("x.toml", []byte(text), config.Identity{As: "lvs1"}); err != nil {
		t.Errorf("lvs1 wants the file of lvs2: %v", err)
	}
	if _, err := config.Parse("x.toml", []byte(text), config.Identity{As: "lvs2"}); err == nil {
		t.Error("lvs2 does not want its file")
	}
}

// TestAuth has what the keys come to.
func TestAuth(t *testing.T) {
	digits := strings.Repeat("a5", 32)
	secret := strings.Repeat("\xa5", 32)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       *vrrp.Auth
	}{
		{"none", "", nil},
		{"defaults", `[vrrp.web.auth]` + "\n" + `keys = [{ id = 9, hex = "` + digits + `" }, { id = 4, hex = "` + digits + `" }]`,
			&vrrp.Auth{Keys: []vrrp.AuthKey{{ID: 9, Secret: secret}, {ID: 4, Secret: secret}}, Send: 4}},
		{"everything", `[vrrp.web.auth]` + "\n" + `keys = [{ id = 9, hex = "` + digits + `" }]` + "\nsend = 9\nmode = \"receive-only\"\nwindow = \"7s\"\nreplay = \"monotonic\"\n",
			&vrrp.Auth{Keys: []vrrp.AuthKey{{ID: 9, Secret: secret}}, Send: 9, Mode: vrrp.AuthReceiveOnly, Window: 7 * time.Second, Monotonic: true}},
		{"permissive, one key that is no list", `auth = { mode = "permissive", keys = { id = 1, hex = "` + digits + `" } }`,
			&vrrp.Auth{Keys: []vrrp.AuthKey{{ID: 1, Secret: secret}}, Send: 1, Mode: vrrp.AuthPermissive}},
		{"password", "version = 2\nauth = { password = \"12345678\" }", &vrrp.Auth{Password: "12345678"}},
		{"password from a file", fmt.Sprintf("version = 2\nauth = { password_file = %q }", password), &vrrp.Auth{Password: "s3cret"}},
		{"keys in version 2", "version = 2\n" + `auth = { keys = [{ id = 1, hex = "` + digits + `" }] }`, &vrrp.Auth{Keys: []vrrp.AuthKey{{ID: 1, Secret: secret}}, Send: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := config.Parse("x.toml", []byte(pairWith(tt.text)), config.Identity{As: "lvs1"})
			if err != nil {
				t.Fatal(err)
			}
			acceptable(t, cfg)
			if diff := cmp.Diff(tt.want, cfg.Routers[0].Auth); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnicastPeers has the peers that a file comes to.
func TestUnicastPeers(t *testing.T) {
	type result struct {
		Peers, Source string
		MinTTL        uint8
		Checksums     map[netip.Addr]vrrp.Checksum
	}
	for _, tt := range []struct {
		name, text string
		want       result
	}{
		{"multicast", "", result{Peers: "[]", Source: "invalid IP"}},
		{"not", "unicast = false", result{Peers: "[]", Source: "invalid IP"}},
		{"derived", "unicast = true\nmin_ttl = 254", result{Peers: "[10.0.0.2]", Source: "10.0.0.1", MinTTL: 254}},
		{"listed", `unicast = ["10.0.0.8", { address = "10.0.0.9", checksum = "rfc9568" }, { address = "10.0.0.7" }]`,
			result{Peers: "[10.0.0.8 10.0.0.9 10.0.0.7]", Source: "10.0.0.1", Checksums: map[netip.Addr]vrrp.Checksum{netip.MustParseAddr("10.0.0.9"): vrrp.ChecksumRFC9568}}},
		{"overridden", "unicast = [\"10.0.0.8\"]\n[director.lvs1.vrrp.web]\nunicast = [\"10.0.0.2\"]\n[director.lvs2.vrrp.web]\nunicast = true\n",
			result{Peers: "[10.0.0.2]", Source: "10.0.0.1"}},
		{"the same as by default", "unicast = [\"10.0.0.8\"]\nmin_ttl = 255", result{Peers: "[10.0.0.8]", Source: "10.0.0.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := config.Parse("x.toml", []byte(pairWith(tt.text)), config.Identity{As: "lvs1"})
			if err != nil {
				t.Fatal(err)
			}
			acceptable(t, cfg)
			r := cfg.Routers[0]
			got := result{fmt.Sprint(r.Unicast), r.Source.String(), r.MinTTL, r.PeerChecksum}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// Link-local peers are not told from the director's global address.
	text := strings.ReplaceAll(pairWith(`unicast = ["fe80::2"]`), `"192.0.2.10/24"`, `"fe80::10/64"`)
	cfg, err := config.Parse("x.toml", []byte(strings.ReplaceAll(text, `"10.0.0.1"`, `["10.0.0.1", "2001:db8::1"]`)), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	acceptable(t, cfg)
	if s := cfg.Routers[0].Source; s.IsValid() {
		t.Errorf("sends from %s", s)
	}
}
