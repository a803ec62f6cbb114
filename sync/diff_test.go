package connsync_test

import (
	"embed"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	connsync "lvsha/sync"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testdata is in the test binary, so that it runs anywhere, as in a machine that
// has nothing else.
//
//go:embed testdata
var testdata embed.FS

// golden compares with a file in testdata, or writes it under -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("testdata/%s (-want +got):\n%s", name, diff)
	}
}

func ExampleDiff() {
	have := []connsync.Daemon{{Role: connsync.Master, Interface: "eth0", ID: 7}}
	want := connsync.Config{Interface: "eth0", ID: 1}.Daemons()
	fmt.Print(connsync.Diff(have, want))
	// Output:
	// start sync daemon backup on eth0 id 1
	// stop sync daemon master on eth0 id 7: id 1 wanted
	// start sync daemon master on eth0 id 1
}

func TestDiff(t *testing.T) {
	both := connsync.Config{Interface: "eth0", ID: 1}.Daemons()
	indexed := func(index int) []connsync.Daemon {
		d := connsync.Config{Interface: "eth0", ID: 1}.Daemons()
		for i := range d {
			d[i].Index = index
		}
		return d
	}
	tests := []struct {
		name       string
		have, want []connsync.Daemon
	}{
		{"start both", nil, both},
		{"nothing to do", both, []connsync.Daemon{both[1], both[0]}},
		{"the default group is no difference", both, []connsync.Daemon{
			{Role: connsync.Master, Interface: "eth0", ID: 1, Group: connsync.DefaultGroup()}, both[0],
		}},
		{"one is missing", both[:1], both},
		{"stop both", both, nil},
		{"another interface and id", both, connsync.Config{Interface: "eth1", ID: 2}.Daemons()},
		{"another group", []connsync.Daemon{
			{Role: connsync.Backup, Interface: "eth0", ID: 1, Group: netip.MustParseAddrPort("239.0.0.1:9999")},
		}, both[:1]},
		{"an interface made anew", indexed(3), indexed(9)},
		{"an interface not known to be another", indexed(0), indexed(9)},
	}
	var b strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&b, "# %s\n%s\n", tt.name, connsync.Diff(tt.have, tt.want))
	}
	golden(t, "diff.txt", b.String())
}

func TestValidate(t *testing.T) {
	for _, d := range (connsync.Config{Interface: "eth0", ID: 255}).Daemons() {
		if err := connsync.Validate(d); err != nil {
			t.Errorf("Validate(%s) = %v", d, err)
		}
	}
	tests := []struct {
		name   string
		daemon connsync.Daemon
	}{
		{"nothing", connsync.Daemon{}},
		{"long name", connsync.Daemon{Role: connsync.Master, Interface: "a-name-of-16-byt", ID: 1}},
		{"not multicast", connsync.Daemon{Role: connsync.Backup, Interface: "eth0", ID: 1, Group: netip.MustParseAddrPort("192.0.2.1:8848")}},
		{"no port", connsync.Daemon{Role: connsync.Backup, Interface: "eth0", ID: 1, Group: netip.MustParseAddrPort("224.0.0.81:0")}},
	}
	var b strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&b, "# %s\n%v\n\n", tt.name, connsync.Validate(tt.daemon))
	}
	golden(t, "validate.txt", b.String())
}

func TestRoleText(t *testing.T) {
	for _, r := range []connsync.Role{connsync.Master, connsync.Backup} {
		b, err := r.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back connsync.Role
		if err := back.UnmarshalText(b); err != nil || back != r {
			t.Errorf("%s reads back as %s (%v)", r, back, err)
		}
	}
	var r connsync.Role
	if err := r.UnmarshalText([]byte("slave")); err == nil {
		t.Error("a role that is none was parsed")
	}
}

// TestDiffMaxLen: the kernel shortens what IP has no room for, and that is no difference.
func TestDiffMaxLen(t *testing.T) {
	for _, c := range []struct {
		group      string
		want, have uint16
	}{
		{"224.0.0.81:8848", 65507, 65507}, {"224.0.0.81:8848", 65508, 65507}, {"[ff02::51]:8848", 65500, 65487}, {"[ff02::51]:8848", 65487, 65487},
	} {
		config := connsync.Config{Interface: "eth0", ID: 1, Group: netip.MustParseAddrPort(c.group), MaxLen: c.want}
		have := config.Daemons()
		for i := range have {
			have[i].MaxLen = c.have
		}
		if p := connsync.Diff(have, config.Daemons()); len(p) > 0 {
			t.Errorf("%s, %d wanted, %d there:\n%s", c.group, c.want, c.have, p)
		}
	}
}
