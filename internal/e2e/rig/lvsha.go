package rig

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/lab"
)

// VRRPFile is a file with one virtual router for both directors.
func VRRPFile(version int, advertise time.Duration) string {
	return fmt.Sprintf(`
[director.lvs1]
address  = "10.0.0.1"
priority = 150
[director.lvs2]
address  = "10.0.0.2"
priority = 100
[vrrp.web]
interface = "eth0"
vrid      = 51
version   = %d
advertise = "%s"
addresses = ["10.0.0.100/24"]
`, version, advertise)
}

// ConfigPath is the directors' file.
const ConfigPath = "/run/lvsha.toml"

// Lvsha starts the daemon on a director with a file.
func (r *Rig) Lvsha(h *lab.Host, file string, args ...string) *lab.Daemon {
	r.Helper()
	r.Check(h.WriteFile(ConfigPath, []byte(file), 0o644))
	return r.Again(h, args...)
}

// runFlags names the variable of the environment that has more flags of lvsha run.
const runFlags = "LVSHA_RUN_FLAGS"

// Again starts the daemon with the file that is there.
func (r *Rig) Again(h *lab.Host, args ...string) *lab.Daemon {
	r.Helper()
	args = append(append([]string{"-c", ConfigPath}, strings.Fields(os.Getenv(runFlags))...), args...)
	d, err := lab.StartDaemon(h, nil, r.Binary, args...)
	r.Check(err)
	r.Life.Cleanup(func() {
		if r.Life.Failed() {
			r.Life.Logf("lvsha on %s printed:\n%s", h.Name, d.Output())
		}
	})
	return d
}

// Becomes waits until the daemon's virtual router is in a state.
func (r *Rig) Becomes(d *lab.Daemon, state string) {
	r.Helper()
	r.Eventually(fmt.Sprintf("virtual router %s, which is %q", state, d.Router("web").State), 15*time.Second,
		func() bool { return d.Router("web").State == state })
}

// InFamily turns a file, lvsha's or keepalived's, into one of the rig's family.
func (r *Rig) InFamily(file string) string {
	if r.VIP.Is4() {
		return file
	}
	return strings.NewReplacer(
		`addresses = ["10.0.0.100/24"]`, `addresses = ["2001:db8::100/64"]`,
		"    10.0.0.100/24 dev eth0\n", "    fe80::5e:33 dev eth0\n    2001:db8::100/64 dev eth0\n",
		`"10.0.0.1"`, `["10.0.0.1", "2001:db8::1"]`, `"10.0.0.2"`, `["10.0.0.2", "2001:db8::2"]`,
	).Replace(file)
}

// Events are the daemon's, one line each.
func (r *Rig) Events(d *lab.Daemon) string {
	r.Helper()
	var text strings.Builder
	r.Check(d.Client().Events(r.Context(), false, func(e control.Event) error {
		_, err := fmt.Fprintln(&text, e.Kind, e.Object, e.Text)
		return err
	}))
	return text.String()
}

const Fast = 100 * time.Millisecond

// KeyPath is where the private key of a director is.
const KeyPath = "/run/director.key"

// NewKey makes the key of a director there, and returns the public one.
func (r *Rig) NewKey(h *lab.Host) string {
	r.Helper()
	out, err := h.Run(r.Binary, "key", "--out", KeyPath)
	r.Check(err)
	m := regexp.MustCompile(`^\[director\.(lvs[12])\]\nkey = "(ed25519:[^"]+)"\n$`).FindStringSubmatch(out)
	if m == nil || m[1] != h.Name {
		r.Fatalf("lvsha key on %s printed %q", h.Name, out)
	}
	return m[2]
}

// Printed waits until status for people has a text.
func (r *Rig) Printed(h *lab.Host, limit time.Duration, texts ...string) {
	r.Helper()
	var last string
	if _, err := lab.Eventually("", limit, func() bool {
		last, _ = h.Run(r.Binary, "status")
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(last, text) })
	}); err != nil {
		r.Fatalf("status on %s has not all of %q:\n%s", h.Name, texts, last)
	}
}
