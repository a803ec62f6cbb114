package director

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/machine"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
	"lvsha/vrrp/vrrptest"
)

const file = `
[director.lvs1]
address = "192.0.2.1"
[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.10/24"]
[service.web]
listen = ["192.0.2.10:80/tcp", "192.0.2.10:81/tcp"]
forward = "nat"
sorry = "192.0.2.99:8000"
require = "any"
check = [{ type = "tcp" }, { type = "http", path = "/health" }]
[[service.web.server]]
address = "192.0.2.21:8080"
weight = 2
[[service.web.server]]
address = "192.0.2.22"
check = { type = "tcp", port = 9 }
[service.dns]
listen = "192.0.2.10:53/udp"
forward = "dr"
[[service.dns.server]]
address = "192.0.2.31"
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("lvsha.toml", []byte(text), config.Identity{As: "lvs1"})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// render is a table, a line for each row.
func render(table []ipvs.Service) string {
	var out strings.Builder
	for _, s := range table {
		fmt.Fprintf(&out, "%s %s\n", s.Key, s.Scheduler)
		for _, d := range s.Destinations {
			fmt.Fprintf(&out, "  %s %s %d\n", d.Addr, d.Forward, d.Weight)
		}
	}
	return out.String()
}

// TestDesired: a server is in the table once it is known to be up, the sorry
// server when none is, and health alone decides.
func TestDesired(t *testing.T) {
	cfg := parse(t, file)
	for _, c := range []struct {
		name string
		up   []string // "server check" that are up; others are down
		want string
	}{
		{"nothing is known up", nil, `192.0.2.10:53/udp wlc
  192.0.2.31:53 dr 1
192.0.2.10:80/tcp wlc
  192.0.2.99:8000 nat 1
192.0.2.10:81/tcp wlc
  192.0.2.99:8000 nat 1
`},
		{"one of two checks is enough", []string{"192.0.2.21:8080 http"}, `192.0.2.10:53/udp wlc
  192.0.2.31:53 dr 1
192.0.2.10:80/tcp wlc
  192.0.2.21:8080 nat 2
192.0.2.10:81/tcp wlc
  192.0.2.21:8080 nat 2
`},
		{"a server's port follows the listen", []string{"192.0.2.22:81 tcp"}, `192.0.2.10:53/udp wlc
  192.0.2.31:53 dr 1
192.0.2.10:80/tcp wlc
  192.0.2.99:8000 nat 1
192.0.2.10:81/tcp wlc
  192.0.2.22:81 nat 1
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j judging
			j.set(cfg, steering{})
			j.look(time.Unix(1000, 0), func(targets []healthcheck.Target) (out []healthcheck.Judgment) {
				for _, target := range targets {
					v := healthcheck.Judgment{Verdict: healthcheck.Verdict{State: healthcheck.Down}}
					if slices.Contains(c.up, target.Server.String()+" "+target.Check.Kind()) {
						v.State = healthcheck.Up
					}
					out = append(out, v)
				}
				return out
			}, nil)
			got := j.table()
			if diff := cmp.Diff(c.want, render(got)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTargets: what the kernel uses starts up, and what it is to have without traffic;
// everything else unknown.
func TestTargets(t *testing.T) {
	listen := ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")}
	table := []ipvs.Service{{Key: listen, Destinations: []ipvs.Destination{
		{Addr: netip.MustParseAddrPort("192.0.2.21:8080"), Weight: 1},
		{Addr: netip.MustParseAddrPort("192.0.2.22:80"), Weight: 0},
	}}}
	second := serverKey{listen, netip.MustParseAddrPort("192.0.2.22:80")}
	for _, c := range []struct {
		name   string
		kept   keptServer
		second string
	}{
		{"nothing asked for", keptServer{}, "unknown"},
		{"a drain", keptServer{Drain: &keptDrain{}}, "up"},
		{"a drain that is done", keptServer{Drain: &keptDrain{Done: time.Unix(1000, 0)}}, "unknown"},
		{"no weight", keptServer{Weight: &keptWeight{}}, "up"},
		{"another weight", keptServer{Weight: &keptWeight{Weight: 3}}, "unknown"},
	} {
		var got []string
		for _, w := range targets(parse(t, file), steering{}, usedBy(table, map[serverKey]keptServer{second: c.kept})) {
			got = append(got, fmt.Sprint(w.Target.Server, " ", w.Target.Check.Kind(), " ", w.Initial))
		}
		want := []string{
			"192.0.2.21:8080 tcp up", "192.0.2.21:8080 http up", "192.0.2.22:80 tcp " + c.second, // for port 80
			"192.0.2.21:8080 tcp unknown", "192.0.2.21:8080 http unknown", "192.0.2.22:81 tcp unknown", // for port 81
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: targets (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestEventLog(t *testing.T) {
	l := newEventLog()
	_, newer := l.after(0)
	for i := range keptEvents + 10 {
		l.add(time.Unix(int64(i), 0), "kind", "object", fmt.Sprint(i))
	}
	select {
	case <-newer:
	default:
		t.Error("a follower is not told")
	}
	all, _ := l.after(0)
	if n := len(all); n > keptEvents || n < keptEvents/2 || all[n-1].Seq != keptEvents+10 {
		t.Errorf("%d events, the last %+v", n, all[n-1])
	}
	if diff := cmp.Diff(uint64(11), all[0].Seq); diff != "" {
		t.Errorf("the oldest (-want +got):\n%s", diff)
	}
	some, _ := l.after(keptEvents + 8)
	if diff := cmp.Diff([]string{"2008", "2009"}, texts(some)); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	if none, _ := l.after(keptEvents + 10); len(none) != 0 {
		t.Errorf("after the last: %v", none)
	}
}

// TestEventStorm: a storm of one kind, and of two, leaves the events of all others, and all
// come in their order.
func TestEventStorm(t *testing.T) {
	l := newEventLog()
	for i := range 10 {
		l.add(time.Unix(int64(i), 0), "vrrp", "web", fmt.Sprint("before ", i))
	}
	for i := range 10_000 {
		l.add(time.Unix(100, 0), "server", fmt.Sprint(i), "up -> down")
		l.add(time.Unix(100, 0), "service", fmt.Sprint(i), "quorum lost")
		if i%1000 == 0 {
			l.add(time.Unix(100, 0), "vrrp", "web", fmt.Sprint("amidst ", i))
		}
	}
	all, _ := l.after(0)
	count := make(map[string]int)
	for i, e := range all {
		count[e.Kind]++
		if i > 0 && all[i-1].Seq >= e.Seq {
			t.Fatalf("event %d comes after %d", e.Seq, all[i-1].Seq)
		}
	}
	if diff := cmp.Diff(map[string]int{"vrrp": 20, "server": (keptEvents - 20) / 2, "service": (keptEvents - 20) / 2}, count); diff != "" {
		t.Errorf("events by kind (-want +got):\n%s", diff)
	}
	if last := all[len(all)-1]; last.Seq != 20_020 || last.Object != "9999" {
		t.Errorf("the last one is %+v", last)
	}
	if newer, _ := l.after(20_018); len(newer) != 2 {
		t.Errorf("after the last but two: %+v", newer)
	}
}

func texts(events []control.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Text)
	}
	return out
}

func TestSlots(t *testing.T) {
	routers := []RecordedRouter{{Slot: -1}, {Slot: 1}, {Slot: -1}, {Slot: 0}, {Slot: -1}}
	giveSlots(routers)
	var got []int
	for _, r := range routers {
		got = append(got, r.Slot)
	}
	if diff := cmp.Diff([]int{2, 1, 3, 0, 4}, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

// TestResume: what the next process learns from the record of the last.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	beats, err := openHeartbeats(dir)
	if err != nil {
		t.Fatal(err)
	}
	active := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 51}
	never := vrrp.Key{Interface: "eth0", Family: vrrp.IPv4, VRID: 52}
	beats.assign(map[vrrp.Key]int{active: 0, never: 1})
	beats.beat(active, 10*time.Second)
	beats.beat(vrrp.Key{VRID: 9}, time.Second) // unknown: nothing happens
	if err := beats.close(); err != nil {
		t.Fatal(err)
	}
	for _, phase := range []Phase{Running, Held, Releasing, Released} {
		boot, err := bootID()
		if err != nil {
			t.Fatal(err)
		}
		s := &store{path: recordPath(dir), record: Record{Boot: boot}}
		err = s.update(func(r *Record) {
			r.Phase = phase
			r.Routers = []RecordedRouter{{Key: active, Active: true, Interval: time.Second}, {Key: never, Active: true, Slot: 1}}
		})
		if err != nil {
			t.Fatal(err)
		}
		last, err := readRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		resume := resumer(dir, last, 12*time.Second)
		got, ok := resume(active)
		if want := (vrrp.Resume{Active: true, Age: 2 * time.Second, Interval: time.Second}); ok != (phase == Running || phase == Held) || ok && got != want {
			t.Errorf("%s: %+v, %t", phase, got, ok)
		}
		if _, ok := resume(never); ok {
			t.Errorf("%s: a router that never advertised resumes", phase)
		}
	}
}

// TestRecordOfAnotherBoot means nothing, and one that is broken is an error
// that names the file.
func TestRecordOfAnotherBoot(t *testing.T) {
	dir := t.TempDir()
	if r, err := readRecord(dir); err != nil || r.Phase != Released {
		t.Errorf("no record: %+v, %v", r, err)
	}
	if err := os.WriteFile(recordPath(dir), []byte(`{"boot":"another","phase":"running","services":["192.0.2.10:80/tcp"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := readRecord(dir); err != nil || len(r.Services) != 0 || r.Phase != Released {
		t.Errorf("another boot: %+v, %v", r, err)
	}
	if err := os.WriteFile(recordPath(dir), []byte(`{"boot":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(dir); err == nil || !strings.Contains(err.Error(), "state.json") {
		t.Errorf("broken record: %v", err)
	}
}

func TestCleanup(t *testing.T) {
	mine := ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")}
	foreign := ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:443")}
	address := vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.10/24"), Interface: "vrrp.51"}
	virtual := vrrp.Virtual{Name: "vrrp.51", Base: "eth0", MAC: vrrp.VirtualMAC(vrrp.IPv4, 51)}
	route := vrrp.Route{Destination: netip.MustParsePrefix("10.2.0.0/16"), Via: netip.MustParseAddr("192.0.2.1")}
	rule := vrrp.Rule{Family: vrrp.IPv4, From: netip.MustParsePrefix("192.0.2.10/32"), Table: 100, Priority: 1000}
	held := Holdings{
		Addresses: []vrrp.Address{address}, Refused: []vrrp.Address{address}, Virtuals: []vrrp.Virtual{virtual},
		Routes: []vrrp.Route{route}, Rules: []vrrp.Rule{rule},
	}
	for _, c := range []struct {
		phase Phase
		all   bool
		gone  bool
	}{
		{Running, false, false}, {Held, false, false}, {Released, false, false}, {Releasing, false, true},
		{Running, true, true}, {Held, true, true},
	} {
		t.Run(fmt.Sprintf("%s, all %t", c.phase, c.all), func(t *testing.T) {
			table, daemons := ipvs.NewMemory(nil), connsync.NewMemory("eth0")
			for _, key := range []ipvs.ServiceKey{mine, foreign} {
				if err := table.AddService(ipvs.Service{Key: key, Scheduler: "rr"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := daemons.Start(connsync.Daemon{Role: connsync.Master, Interface: "eth0", ID: 1}); err != nil {
				t.Fatal(err)
			}
			boot, err := bootID()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			s := &store{path: recordPath(dir)}
			err = s.update(func(r *Record) {
				*r = Record{
					Boot: boot, Phase: c.phase, Services: []ipvs.ServiceKey{mine}, Daemons: []connsync.Role{connsync.Master},
					Holdings: held, Sysctls: []machine.Changed{{Name: "net/ipv4/conf/eth0/accept_local", Found: "0", Set: "1"}},
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			links := vrrptest.NewLinks((&vrrptest.Segment{}).NewPort([6]byte{2}))
			links.Plug("eth0")
			if err := errors.Join(
				links.MakeVirtual(virtual), links.Refuse("vrrp.51", address.Prefix.Addr()), links.Add("vrrp.51", address),
				links.AddRoute(route), links.AddRule(rule),
			); err != nil {
				t.Fatal(err)
			}
			before := links.State()
			routing := &network{settings: map[string]int{"eth0 accept_local": 1}}
			clean := Cleanup{
				Dir: dir, IPVS: func() (ipvs.Kernel, error) { return table, nil }, Sync: func() (connsync.Kernel, error) { return daemons, nil },
				Links: links, Routing: routing,
			}
			act := clean.Unfinished
			if c.all {
				act = clean.All
			}
			done, err := act()
			if err != nil {
				t.Fatal(err)
			}
			left, err := table.List()
			if err != nil {
				t.Fatal(err)
			}
			running, err := daemons.List()
			if err != nil {
				t.Fatal(err)
			}
			want, state := []int{2, 1}, before
			if c.gone {
				want, state = []int{1, 0}, ""
			}
			if diff := cmp.Diff(want, []int{len(left), len(running)}); diff != "" {
				t.Errorf("services, daemons (-want +got):\n%s\n%q", diff, done)
			}
			if restored := routing.settings["eth0 accept_local"] == 0; restored != c.gone {
				t.Errorf("accept_local was put back: %t, %q", restored, done)
			}
			if diff := cmp.Diff(state, links.State()); diff != "" {
				t.Errorf("what virtual routers hold (-want +got):\n%s\n%q", diff, done)
			}
			if _, err := os.Stat(filepath.Join(dir, "state.json")); c.gone != os.IsNotExist(err) {
				t.Errorf("record: %v", err)
			}
		})
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || !strings.Contains(err.Error(), "another lvsha daemon is running") {
		t.Errorf("second lock: %v", err)
	}
	lock.Close()
	again, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
