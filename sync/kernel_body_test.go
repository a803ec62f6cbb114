package connsync_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	connsync "lvsha/sync"
)

var daemons = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// testKernel is what every Kernel has to do. It has the interface lvsha0 and no
// daemon that runs.
func testKernel(t *testing.T, k connsync.Kernel) {
	list := func() []connsync.Daemon {
		t.Helper()
		d, err := k.List()
		if err != nil {
			t.Fatal(err)
		}
		for i := range d {
			if d[i].ID == 5 {
				d[i].MaxLen = 0 // the kernel's own, by the interface
			}
		}
		return d
	}
	master := connsync.Daemon{Role: connsync.Master, Interface: "lvsha0", ID: 5, Group: connsync.DefaultGroup(), TTL: 1}
	backup := connsync.Daemon{Role: connsync.Backup, Interface: "lvsha0", ID: 5, Group: connsync.DefaultGroup(), TTL: 1}
	absent := connsync.Daemon{Role: connsync.Master, Interface: "lvsha9", ID: 5}
	other := connsync.Daemon{
		Role: connsync.Backup, Interface: "lvsha0", ID: 255, Group: netip.MustParseAddrPort("239.1.2.3:9999"), TTL: 2, MaxLen: 4000,
	}
	steps := []struct {
		name string
		do   func() error
		want error
		runs []connsync.Daemon
	}{
		{"stop what does not run", func() error { return k.Stop(connsync.Master) }, syscall.ESRCH, nil},
		{"no such interface", func() error { return k.Start(absent) }, syscall.ENODEV, nil},
		{"start", func() error { return k.Start(master) }, nil, []connsync.Daemon{master}},
		{"start again", func() error { return k.Start(master) }, syscall.EEXIST, []connsync.Daemon{master}},
		{"the other role, the same id", func() error { return k.Start(backup) }, nil, []connsync.Daemon{backup, master}},
		{"stop one", func() error { return k.Stop(connsync.Master) }, nil, []connsync.Daemon{backup}},
		{"stop the other", func() error { return k.Stop(connsync.Backup) }, nil, nil},
		{"another group", func() error {
			return k.Start(other)
		}, nil, []connsync.Daemon{other}},
		{"stop it", func() error { return k.Stop(connsync.Backup) }, nil, nil},
	}
	for _, s := range steps {
		if err := s.do(); !errors.Is(err, s.want) {
			t.Errorf("%s: %v, want %v", s.name, err, s.want)
		}
		if diff := cmp.Diff(s.runs, list(), daemons, cmp.FilterValues(func(a, b []connsync.Daemon) bool {
			return len(a) == 0 && len(b) == 0
		}, cmp.Ignore())); diff != "" {
			t.Errorf("%s: daemons (-want +got):\n%s", s.name, diff)
		}
	}

	if index, err := k.InterfaceIndex("lvsha0"); err != nil || index <= 0 {
		t.Errorf("interface lvsha0 has the number %d (%v)", index, err)
	}
	if _, err := k.InterfaceIndex("lvsha9"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("interface lvsha9: %v, want ENODEV", err)
	}
	err := connsync.Change{Op: connsync.Start, Daemon: absent}.Do(k)
	if err == nil || !strings.Contains(err.Error(), "interface lvsha9 does not exist") {
		t.Errorf("a missing interface is called %v", err)
	}

	want := connsync.Config{Interface: "lvsha0", ID: 1}.Daemons()
	for _, c := range connsync.Diff(list(), want) {
		if err := c.Do(k); err != nil {
			t.Fatal(err)
		}
	}
	if plan := connsync.Diff(list(), want); len(plan) != 0 {
		t.Errorf("a second plan is not empty:\n%s", plan)
	}
	for _, c := range connsync.Diff(list(), nil) {
		if err := c.Do(k); err != nil {
			t.Fatal(err)
		}
	}
	if left := list(); !slices.Equal(left, nil) {
		t.Errorf("still running: %v", left)
	}
	if err := k.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestMemory(t *testing.T) {
	testKernel(t, connsync.NewMemory("lvsha0"))
}
