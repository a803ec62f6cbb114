package config_test

import (
	"strings"
	"testing"

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
