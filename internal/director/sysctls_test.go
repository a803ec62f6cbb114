package director

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/machine"
)

// TestRestoreSysctls: what is put back, what is left to others, and what is not spoken of
// because it is as it was found.
func TestRestoreSysctls(t *testing.T) {
	const name = "net/ipv4/conf/eth0/accept_local"
	for _, c := range []struct {
		have  int
		want  string
		after int
	}{
		{1, "set net.ipv4.conf.eth0.accept_local to 0 again", 0},
		{0, "", 0}, // set never, or put back before
		{2, "left net.ipv4.conf.eth0.accept_local at 2, which somebody else has set", 2},
	} {
		n := &network{settings: map[string]int{setting(name): c.have}}
		done, over, err := restoreSysctls(n, []machine.Changed{{Name: name, Found: "0", Set: "1"}})
		if err != nil || len(over) != 1 {
			t.Errorf("at %d: %v, %d need no more care", c.have, err, len(over))
		}
		if diff := cmp.Diff(c.want, strings.Join(done, "\n")); diff != "" || n.settings[setting(name)] != c.after {
			t.Errorf("at %d it is %d then (-want +got):\n%s", c.have, n.settings[setting(name)], diff)
		}
	}
}
