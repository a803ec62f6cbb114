package config_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"lvsha/internal/config"
	"lvsha/internal/peer"
)

// TestChannel: the private key is read where it is, and what is the matter with
// it is no fault of the file.
func TestChannel(t *testing.T) {
	key, err := peer.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := peer.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := peer.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf(`
[director.lvs1]
key = %q
[director.lvs2]
key = %q
[director.lvs2.peer]
port = 9000
[director.lvs3]
[peer]
key_file = "/k"
[sync]
interface = "eth0"
`, peer.PinOf(key), peer.PinOf(other))
	for _, tt := range []struct {
		as      string
		text    []byte
		err     error
		problem string
		has     bool
	}{
		{"lvs1", text, nil, "", true},
		{"lvs2", text, nil, fmt.Sprintf("the key in /k is not the one of [director.lvs2]: its pin is %q", peer.PinOf(key)), false},
		{"lvs3", nil, fs.ErrInvalid, "", false},
		{"lvs1", nil, fs.ErrNotExist, "/k: file does not exist", false},
		{"lvs1", []byte("secret"), nil, "/k has no private key in PEM, as lvsha key makes it", false},
	} {
		cfg, err := config.ParseReading("x.toml", []byte(file), config.Identity{As: tt.as}, func(name string) ([]byte, error) {
			if name != "/k" {
				t.Errorf("reads %s", name)
			}
			return tt.text, tt.err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Channel; got.Problem != tt.problem || (got.Key != nil) != tt.has || strings.Contains(got.Problem, "secret") {
			t.Errorf("as %s: %+v, want %q", tt.as, got, tt.problem)
		}
		if d := cfg.Directors; d[0].Port != peer.DefaultPort || d[1].Port != 9000 || d[1].Pin != peer.PinOf(other) || !d[2].Pin.IsZero() {
			t.Errorf("directors %+v", d)
		}
	}
}
