package director

import (
	"bufio"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsha/internal/bfd"
	"lvsha/internal/config"
	"lvsha/internal/notify"
	"lvsha/vrrp"
)

// mark is an event that no router has.
var mark = notify.Event{Object: notify.Object{Kind: notify.Router, Name: "-mark-"}, To: notify.Fault}

const pairFile = `
[director.lvs1]
address = "192.0.2.1"
[director.lvs2]
address = "192.0.2.2"
priority = 90
[vrrp.one]
interface = "eth0"
vrid = 1
addresses = ["192.0.2.10/24"]
[vrrp.two]
interface = "eth0"
vrid = 2
addresses = ["192.0.2.11/24"]
[vrrp.three]
interface = "eth1"
vrid = 1
addresses = ["fe80::10/64"]
[group.both]
routers = ["one", "two"]
`

// TestSessions: one session for each address that is followed, whoever follows it,
// and none without the section.
func TestSessions(t *testing.T) {
	with := parse(t, pairFile+"[bfd]\nmultiplier = 3\n")
	addr := netip.MustParseAddr
	own, peer := addr("192.0.2.1"), addr("192.0.2.2")
	own6, peer6 := addr("fe80::1"), addr("fe80::2")
	one := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 1}
	two := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 2}
	three := vrrp.Key{Interface: "eth1", Family: vrrp.IPv6, VRID: 1}
	gone := vrrp.Key{Interface: "eth7", Family: vrrp.IPv4, VRID: 1}
	followed := map[vrrp.Key]vrrp.Followed{
		one:   {Key: one, Source: own, Active: peer},
		two:   {Key: two, Source: own, Active: peer},
		three: {Key: three, Source: own6, Active: peer6},
		gone:  {Key: gone, Source: own, Active: peer},
	}
	network4 := bfd.LocalNetwork{Network: bfd.Network{Interface: "eth0"}, Local: own}
	network6 := bfd.LocalNetwork{Network: bfd.Network{Interface: "eth1", IPv6: true}, Local: own6}
	params := bfd.Params{Interval: 10 * time.Millisecond, Multiplier: 3}
	order := cmpopts.SortSlices(func(a, b bfd.LocalNetwork) bool { return a.Interface < b.Interface })
	orderKeys := cmpopts.SortSlices(func(a, b bfd.Key) bool { return a.Interface < b.Interface })
	want := bfd.Config{
		Params: params, Networks: []bfd.LocalNetwork{network4, network6},
		Watch: []bfd.Key{{Interface: "eth0", Local: own, Peer: peer}, {Interface: "eth1", Local: own6, Peer: peer6}},
	}
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, sessions(with, followed), order, orderKeys, compare); diff != "" {
		t.Errorf("backup (-want +got):\n%s", diff)
	}
	// The active director watches nobody, and is watched.
	for key, f := range followed {
		f.Active = netip.Addr{}
		followed[key] = f
	}
	want.Watch = nil
	if diff := cmp.Diff(want, sessions(with, followed), order, orderKeys, compare); diff != "" {
		t.Errorf("active (-want +got):\n%s", diff)
	}
	if got := sessions(parse(t, pairFile), followed); len(got.Networks)+len(got.Watch) > 0 || got.Validate() != nil {
		t.Errorf("without the section: %+v", got)
	}
	if got := sessions(with, nil); len(got.Networks)+len(got.Watch) > 0 || got.Validate() != nil {
		t.Errorf("before anything is known: %+v", got)
	}
}

// TestHooks: what is told of routers and groups through their life, and by new
// files.
func TestHooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	file := pairFile + "[notify]\nfifo = \"" + path + "\"\n"
	d := &Director{log: slog.New(slog.DiscardHandler), inbox: newInbox()}
	d.hooks = d.newHooks()
	set := func(cfg *config.Config) {
		d.cfg = cfg
		d.setHooks(cfg)
	}
	set(parse(t, file))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.hooks.notifier.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	one := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 1}
	two := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 2}
	names := map[vrrp.Key]string{one: "one", two: "two"}
	become := func(key vrrp.Key, to vrrp.State) {
		d.notifyTransition(vrrp.Transition{Name: names[key], Key: key, To: to, Priority: 100, At: time.Now()})
	}
	var lines *bufio.Scanner
	told := func(what string, want ...string) {
		t.Helper()
		if lines == nil {
			for deadline := time.Now().Add(10 * time.Second); ; {
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err == nil {
					t.Cleanup(func() { f.Close() })
					lines = bufio.NewScanner(f)
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		}
		// A mark behind them shows that there is nothing more.
		d.hooks.notifier.Tell(mark)
		var got []string
		for lines.Scan() && !strings.Contains(lines.Text(), mark.Object.Name) {
			got = append(got, lines.Text())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	become(one, vrrp.Backup)
	become(two, vrrp.Backup)
	told("start", `INSTANCE "one" BACKUP 100`, `INSTANCE "two" BACKUP 100`, `GROUP "both" BACKUP 0`)
	become(one, vrrp.Active)
	told("half", `INSTANCE "one" MASTER 100`)
	become(two, vrrp.Active)
	told("whole", `INSTANCE "two" MASTER 100`, `GROUP "both" MASTER 0`)
	become(one, vrrp.Leaving)
	told("leaving")
	become(one, vrrp.Fault)
	become(two, vrrp.Fault)
	told("fault", `INSTANCE "one" FAULT 100`, `GROUP "both" FAULT 0`, `INSTANCE "two" FAULT 100`)
	become(one, vrrp.Backup)
	become(two, vrrp.Backup)
	told("again", `INSTANCE "one" BACKUP 100`, `INSTANCE "two" BACKUP 100`, `GROUP "both" BACKUP 0`)

	names[one] = "uno"
	set(parse(t, strings.NewReplacer("vrrp.one", "vrrp.uno", `"one"`, `"uno"`, "group.both", "group.all").Replace(file)))
	told("renamed", `INSTANCE "uno" BACKUP 100`, `GROUP "both" STOP 0`, `GROUP "all" BACKUP 0`)
	set(parse(t, strings.NewReplacer("vrrp.one", "vrrp.uno", `"one"`, `"uno"`, "group.both", "group.all").Replace(file)))
	told("the same file")
	become(one, vrrp.Initialize)
	become(two, vrrp.Initialize)
	told("stopped", `INSTANCE "uno" STOP 100`, `INSTANCE "two" STOP 100`, `GROUP "all" STOP 0`)
}
