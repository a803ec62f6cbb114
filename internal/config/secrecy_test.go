package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/config"
)

// TestMessagesQuoteNoSecret: whatever is wrong with the value of a key that holds a
// secret, no message has any of it.
func TestMessagesQuoteNoSecret(t *testing.T) {
	for _, value := range []string{
		"hunter2hunter2", "hunter2\n", `"hunter2`, `"hunter2\q"`, `"hunter2\xzz"`, `"hunter2\u12"`, "'hunter2", "2hunter2", "0xhunter2", "1.hunter2", "+0xhunter2",
		`"hunter2"hunter2`, `"hunter2", "hunter2"`, "[hunter2]", "{hunter2}", "{hunter2 = 1}", `["hunter2"]`, "hunter2 = 1", `"hunter2" = 1`, "-hunter2", "1979-hunter2", "\"hunter2\x01\"",
		`"""hunter2`, "=hunter2", ".hunter2", "#hunter2", `"hunter2\U0000000z"`, "1__hunter2", "truehunter2", "infhunter2",
	} {
		for _, text := range []string{
			"[vrrp.web]\ninterface = \"eth0\"\n[vrrp.web.auth]\npassword = " + value + "\n",
			"[service.web]\nlisten = \"192.0.2.1:80/tcp\"\n[[service.web.check]]\ntype = \"imap\"\nuser = \"a\"\npassword = " + value + "\n",
			"[service.web]\nlisten = \"192.0.2.1:80/tcp\"\ncheck = { type = \"radius\", secret = " + value + " }\n",
		} {
			_, err := config.Parse("lvsha.toml", []byte(text), config.Identity{})
			if err == nil {
				t.Errorf("%q is accepted", value)
			} else if strings.Contains(err.Error(), "unter") {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
}

// TestMessagesQuoteNoNumber: a secret of digits without its quotes is as secret.
func TestMessagesQuoteNoNumber(t *testing.T) {
	for _, value := range []string{
		"31415926535897932384", "-31415926535897932384", "0x31415926535897932384", "0o31415265335777323447777", "3141592653e99999", "31415926535.", "31415926_", "031415926535",
		"3141592653-12-12", "3141-59-26", "31415926535", "314159.26535", "[31415926535897932384]", "{ a = 31415926535897932384 }", "+31415926535897932384", "31415926535897932384 # x",
	} {
		for _, text := range []string{
			"[vrrp.web]\ninterface = \"eth0\"\n[vrrp.web.auth]\npassword = " + value + "\n",
			"[service.web]\nlisten = \"192.0.2.1:80/tcp\"\ncheck = { type = \"radius\", secret = " + value + " }\n",
			"[service.web]\nlisten = \"192.0.2.1:80/tcp\"\ncheck = [{ type = \"radius\", secret_file = " + value + " }]\n",
		} {
			_, err := config.Parse("lvsha.toml", []byte(text), config.Identity{})
			if err == nil {
				t.Errorf("%q is accepted", value)
			} else if strings.Contains(err.Error(), "14159") || strings.Contains(err.Error(), "3141") {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
}

// TestReadableSecret: a file with a secret that others can read is advice, and one
// without a secret is not.
func TestReadableSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lvsha.toml")
	const plain = "[service.web]\nlisten = \"192.0.2.1:80/tcp\"\nowner = \"none\"\nforward = \"nat\"\n[[service.web.server]]\naddress = \"192.0.2.21\"\n"
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{plain, 0o644, ""},
		{plain + "[[service.web.check]]\ntype = \"radius\"\nsecret = \"hunter2\"\n", 0o600, ""},
		{plain + "[[service.web.check]]\ntype = \"radius\"\nsecret = \"hunter2\"\n", 0o640,
			path + ":9: service.web.check[1].secret: this is a secret, and others on this machine can read the file (mode 0640); do: chmod 600 " + path},
	} {
		if err := errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		_, advice, err := config.Check(path, "")
		got := ""
		if len(advice) > 0 {
			got = advice.Error()
		}
		if err != nil || got != c.want {
			t.Errorf("advice (-want +got): %s\n%v", cmp.Diff(c.want, got), err)
		}
	}
}
