package ipvs_test

import (
	"embed"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lvsha/ipvs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tables are compared by cmp with netip's and the package's plain values, without
// the counters, and with nil and empty alike.
var tables = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.IgnoreFields(ipvs.Destination{}, "Active", "Inactive", "Templates", "Place"),
	cmpopts.EquateEmpty(),
}

func key(s string) ipvs.ServiceKey {
	k, err := ipvs.ParseServiceKey(s)
	if err != nil {
		panic(err)
	}
	return k
}

// service returns a service on key with servers written as "ADDR:PORT METHOD WEIGHT".
func service(k, scheduler string, servers ...string) ipvs.Service {
	s := ipvs.Service{Key: key(k), Scheduler: scheduler}
	for _, text := range servers {
		var addr, method string
		var d ipvs.Destination
		if _, err := fmt.Sscan(text, &addr, &method, &d.Weight); err != nil {
			panic(err)
		}
		d.Addr = netip.MustParseAddrPort(addr)
		d.Forward, _ = ipvs.ParseForward(method)
		s.Destinations = append(s.Destinations, d)
	}
	return s
}

// placed is a service whose servers were added in an order.
func placed(scheduler, order string) ipvs.Service {
	s := service("192.0.2.10:80/tcp", scheduler)
	for i, host := range strings.Fields(order) {
		s.Destinations = append(s.Destinations, service("192.0.2.10:80/tcp", "", "192.0.2.2"+host+":80 nat 1").Destinations...)
		s.Destinations[i].Place = i + 1
	}
	return s
}

func with(s ipvs.Service, edit func(*ipvs.Service)) ipvs.Service {
	s.Destinations = slices.Clone(s.Destinations)
	edit(&s)
	return s
}

func all(ipvs.ServiceKey) bool  { return true }
func none(ipvs.ServiceKey) bool { return false }

func TestDiff(t *testing.T) {
	web := service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 2", "192.0.2.22:80 dr 1")
	dns := service("192.0.2.10:53/udp", "rr", "192.0.2.21:53 nat 1")
	mark := service("mark 5", "rr", "192.0.2.21:0 dr 1")
	tests := []struct {
		name       string
		have, want []ipvs.Service
		ours       func(ipvs.ServiceKey) bool
	}{
		{"fill an empty table", nil, []ipvs.Service{web, dns}, all},
		{"nothing to do", []ipvs.Service{dns, web}, []ipvs.Service{web, dns}, all},
		{"drain a server", []ipvs.Service{web}, []ipvs.Service{with(web, func(s *ipvs.Service) { s.Destinations[0].Weight = 0 })}, all},
		{"replace the only server", []ipvs.Service{dns}, []ipvs.Service{service("192.0.2.10:53/udp", "rr", "192.0.2.20:53 nat 1")}, all},
		{"swap the server that takes connections",
			[]ipvs.Service{service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 1", "192.0.2.22:80 dr 0")},
			[]ipvs.Service{service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 0", "192.0.2.22:80 dr 1")}, all},
		{"scheduler and persistence", []ipvs.Service{web}, []ipvs.Service{with(web, func(s *ipvs.Service) {
			s.Scheduler, s.Persistence, s.PersistenceMask = "sh", 5*time.Minute, 24
		})}, all},
		{"full mask is no mask", []ipvs.Service{with(web, func(s *ipvs.Service) { s.Persistence, s.PersistenceMask = time.Minute, 32 })},
			[]ipvs.Service{with(web, func(s *ipvs.Service) { s.Persistence = time.Minute })}, all},
		{"options of a service", []ipvs.Service{web}, []ipvs.Service{
			with(dns, func(s *ipvs.Service) { s.Scheduler, s.Flags, s.OnePacket = "mh", ipvs.HashPort, true }),
			with(web, func(s *ipvs.Service) { s.Scheduler, s.Flags = "mh", ipvs.HashPort|ipvs.Fallback }),
		}, all},
		{"options that go", []ipvs.Service{with(dns, func(s *ipvs.Service) { s.Flags, s.OnePacket = 7, true })}, []ipvs.Service{dns}, all},
		{"thresholds", []ipvs.Service{with(web, func(s *ipvs.Service) { s.Destinations[0].LowerThreshold = 1 })}, []ipvs.Service{with(web, func(s *ipvs.Service) {
			s.Destinations[0].UpperThreshold = 100
			s.Destinations[1].UpperThreshold, s.Destinations[1].LowerThreshold = 100, 80
		})}, all},
		{"tunnels", []ipvs.Service{service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 tun 1", "192.0.2.22:80 dr 1")},
			[]ipvs.Service{with(service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 tun 1", "192.0.2.22:80 tun 1", "192.0.2.23:80 tun 1"), func(s *ipvs.Service) {
				s.Destinations[0].Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 6080, Checksum: ipvs.RemoteChecksum}
				s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE, Checksum: ipvs.PlainChecksum}
				s.Destinations[2].Tunnel = ipvs.Tunnel{Type: ipvs.GRE}
				s.Destinations[2].UpperThreshold, s.Destinations[2].LowerThreshold = 9, 8
			})}, all},
		{"another forwarding method and weight", []ipvs.Service{web}, []ipvs.Service{with(web, func(s *ipvs.Service) {
			s.Destinations[0].Forward, s.Destinations[0].Weight = ipvs.TUN, 5
		})}, all},
		{"a threshold somebody set", []ipvs.Service{with(web, func(s *ipvs.Service) { s.Destinations[1].Extra = "upper threshold 100" })}, []ipvs.Service{web}, all},
		{"a server with a method that is not ours", []ipvs.Service{with(web, func(s *ipvs.Service) { s.Destinations[1].Forward = 0 })},
			[]ipvs.Service{with(web, func(s *ipvs.Service) { s.Destinations = s.Destinations[:1] })}, all},
		{"move a service: the new one first", []ipvs.Service{web}, []ipvs.Service{with(web, func(s *ipvs.Service) { s.Key = key("192.0.2.11:80/tcp") })}, all},
		{"foreign services stay", []ipvs.Service{web, dns}, []ipvs.Service{web}, none},
		{"adopt in place, extra servers go", []ipvs.Service{service("192.0.2.10:80/tcp", "rr", "192.0.2.21:80 dr 2", "192.0.2.99:80 dr 7")}, []ipvs.Service{web}, none},
		{"remove what is ours", []ipvs.Service{web, dns}, nil, func(k ipvs.ServiceKey) bool { return k == dns.Key }},
		{"no word of ownership", []ipvs.Service{web}, nil, nil},
		{"a mark beside the service", []ipvs.Service{web}, []ipvs.Service{web, mark}, all},
		{"a mark to another server", []ipvs.Service{mark}, []ipvs.Service{service("mark 5", "rr", "192.0.2.22:8080 nat 1")}, all},
		{"a server in the middle of those that a hash points at", []ipvs.Service{placed("mh", "1 2 4 5")}, []ipvs.Service{placed("mh", "1 2 3 4 5")}, all},
		{"one that somebody removed and added again", []ipvs.Service{placed("sh", "1 3 4 2")}, []ipvs.Service{placed("sh", "1 2 3 4")}, all},
		{"the wrong way round", []ipvs.Service{placed("mh", "3 2 1")}, []ipvs.Service{placed("mh", "1 2 3")}, all},
		{"one that takes no connections moves round the only one that does", []ipvs.Service{with(placed("mh", "2 1"), func(s *ipvs.Service) { s.Destinations[0].Weight = 0 })},
			[]ipvs.Service{with(placed("mh", "1 2"), func(s *ipvs.Service) { s.Destinations[1].Weight = 0 })}, all},
		{"the only one that takes connections waits", []ipvs.Service{with(placed("mh", "2 1"), func(s *ipvs.Service) { s.Destinations[1].Weight = 0 })},
			[]ipvs.Service{with(placed("mh", "1 2"), func(s *ipvs.Service) { s.Destinations[0].Weight = 0 })}, all},
		{"an order that nothing goes by", []ipvs.Service{placed("wlc", "3 2 1")}, []ipvs.Service{placed("wlc", "1 2 3")}, all},
		{"a scheduler that goes by the order", []ipvs.Service{placed("wlc", "2 1")}, []ipvs.Service{placed("mh", "1 2")}, all},
		{"marks of two families", []ipvs.Service{mark}, []ipvs.Service{service("mark 5 ipv6", "rr")}, all},
	}
	var b strings.Builder
	for _, tt := range tests {
		plan := ipvs.Diff(tt.have, tt.want, tt.ours)
		fmt.Fprintf(&b, "# %s\n%s\n", tt.name, plan)

		// The same tables in another order give the same plan.
		have, want := slices.Clone(tt.have), slices.Clone(tt.want)
		slices.Reverse(have)
		slices.Reverse(want)
		if diff := cmp.Diff(plan.String(), ipvs.Diff(have, want, tt.ours).String()); diff != "" {
			t.Errorf("%s: plan depends on the order of the tables (-forward +reverse):\n%s", tt.name, diff)
		}
	}
	golden(t, "diff.txt", b.String())
}

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

// randomTable returns a valid table out of a small world, so that two of them
// have much in common.
func randomTable(rng *rand.Rand) []ipvs.Service {
	var table []ipvs.Service
	for port := range 4 {
		for _, proto := range []string{"tcp", "udp"} {
			if rng.IntN(2) == 0 {
				continue
			}
			s := ipvs.Service{
				Key:       key(fmt.Sprintf("192.0.2.10:%d/%s", 80+port, proto)),
				Scheduler: ipvs.SchedulerNames()[rng.IntN(3)],
				OnePacket: proto == "udp" && rng.IntN(4) == 0,
			}
			if rng.IntN(4) == 0 {
				s.Scheduler, s.Flags = "mh", ipvs.SchedulerFlags(rng.IntN(4))
			}
			if rng.IntN(3) == 0 {
				s.Persistence = time.Duration(1+rng.IntN(2)) * time.Minute
				s.PersistenceMask = uint8(8 * (1 + rng.IntN(4)))
			}
			for host := range 5 {
				if rng.IntN(2) == 0 {
					continue
				}
				s.Destinations = append(s.Destinations, ipvs.Destination{
					Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + host)}), uint16(80+port)),
					Forward: []ipvs.Forward{ipvs.DR, ipvs.TUN, ipvs.NAT}[rng.IntN(3)],
					Weight:  rng.IntN(3),

					UpperThreshold: rng.IntN(2),
				})
				if d := &s.Destinations[len(s.Destinations)-1]; d.Forward == ipvs.TUN {
					d.Tunnel = []ipvs.Tunnel{{}, {Type: ipvs.GRE}, {Type: ipvs.GUE, Port: 6080}}[rng.IntN(3)]
				}
			}
			rng.Shuffle(len(s.Destinations), func(i, j int) {
				s.Destinations[i], s.Destinations[j] = s.Destinations[j], s.Destinations[i]
			})
			table = append(table, s)
		}
	}
	for mark := range uint32(3) {
		if rng.IntN(2) == 0 {
			continue
		}
		table = append(table, ipvs.Service{
			Key: ipvs.MarkKey(mark+1, false), Scheduler: "rr",
			Destinations: []ipvs.Destination{{
				Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + rng.IntN(3))}), uint16(8080*rng.IntN(2))),
				Forward: ipvs.NAT, Weight: 1,
			}},
		})
	}
	rng.Shuffle(len(table), func(i, j int) { table[i], table[j] = table[j], table[i] })
	return table
}

// load fills a kernel by hand, so that Diff is not tested by Diff.
func load(t *testing.T, k ipvs.Kernel, table []ipvs.Service) {
	t.Helper()
	for _, s := range table {
		if err := k.AddService(s); err != nil {
			t.Fatalf("adding service %s: %v", s.Key, err)
		}
		for _, d := range s.Destinations {
			if err := k.AddServer(s.Key, d); err != nil {
				t.Fatalf("adding server %s to %s: %v", d.Addr, s.Key, err)
			}
		}
	}
}

func list(t *testing.T, k ipvs.Kernel) []ipvs.Service {
	t.Helper()
	table, err := k.List()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// live returns the services that have a server that takes connections.
func live(table []ipvs.Service) map[ipvs.ServiceKey]bool {
	m := make(map[ipvs.ServiceKey]bool)
	for _, s := range table {
		for _, d := range s.Destinations {
			m[s.Key] = m[s.Key] || d.Weight > 0
		}
	}
	return m
}

func moves(c ipvs.Change) bool { return c.Op == ipvs.MoveServer }

func byPlace(a, b ipvs.Destination) int { return a.Place - b.Place }

// taking is how many servers take connections.
func taking(s ipvs.Service) (n int) {
	for _, d := range s.Destinations {
		if d.Weight > 0 {
			n++
		}
	}
	return n
}

func TestDiffProperties(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		have, want := randomTable(rng), randomTable(rng)
		mine := make(map[ipvs.ServiceKey]bool)
		for _, s := range have {
			mine[s.Key] = rng.IntN(2) == 0
		}
		ours := func(k ipvs.ServiceKey) bool { return mine[k] }

		// What is to come out: the wanted table, and what is foreign and not wanted.
		expected := ipvs.NewMemory(nil)
		load(t, expected, want)
		wanted := make(map[ipvs.ServiceKey]bool)
		for _, s := range want {
			wanted[s.Key] = true
		}
		for _, s := range have {
			if !wanted[s.Key] && !mine[s.Key] {
				load(t, expected, []ipvs.Service{s})
			}
		}

		k := ipvs.NewMemory(nil)
		load(t, k, have)
		before, after := live(have), live(want)
		found := list(t, k)
		plan := ipvs.Diff(found, want, ours)
		if plain := slices.DeleteFunc(slices.Clone(plan), moves); !slices.EqualFunc(plain, ipvs.Diff(have, want, ours), func(a, b ipvs.Change) bool { return a.String() == b.String() }) {
			t.Fatalf("seed %d: places change more than places:\n%s", seed, plan)
		}
		for _, c := range plan {
			if err := c.Do(k); err != nil {
				t.Fatalf("seed %d: %v\nplan:\n%s", seed, err, plan)
			}
			now := live(list(t, k))
			for key := range after {
				if before[key] && after[key] && !now[key] {
					t.Fatalf("seed %d: no server of %s takes connections after %q\nplan:\n%s", seed, key, c, plan)
				}
			}
			if c.Op == ipvs.RemoveServer && c.Destination.Weight != 0 {
				t.Fatalf("seed %d: %q while it takes connections\nplan:\n%s", seed, c, plan)
			}
		}
		if diff := cmp.Diff(list(t, expected), list(t, k), tables); diff != "" {
			t.Fatalf("seed %d: table after the plan (-want +got):\n%s\nplan:\n%s", seed, diff, plan)
		}
		// A server that alone took connections may wait for its place.
		again := ipvs.Diff(list(t, k), want, ours)
		if !slices.ContainsFunc(again, moves) && len(again) != 0 || len(slices.DeleteFunc(slices.Clone(again), moves)) != 0 {
			t.Fatalf("seed %d: a second plan is not empty:\n%s", seed, again)
		}
		for _, c := range again {
			if err := c.Do(k); err != nil {
				t.Fatalf("seed %d: %v\nplan:\n%s", seed, err, again)
			}
			for key, now := range live(list(t, k)) {
				if after[key] && !now {
					t.Fatalf("seed %d: no server of %s takes connections after %q", seed, key, c)
				}
			}
		}
		if third := ipvs.Diff(list(t, k), want, ours); len(third) != 0 {
			t.Fatalf("seed %d: a third plan is not empty:\n%s", seed, third)
		}
		for _, s := range list(t, k) {
			if wanted[s.Key] && ipvs.OrderMatters(s.Scheduler) && taking(s) > 1 && !slices.IsSortedFunc(s.Destinations, byPlace) {
				t.Fatalf("seed %d: the servers of %s are not in order: %v", seed, s.Key, s.Destinations)
			}
		}
		if self := ipvs.Diff(have, have, all); len(self) != 0 {
			t.Fatalf("seed %d: Diff(x, x) is not empty:\n%s", seed, self)
		}
	}
}

func FuzzParseServiceKey(f *testing.F) {
	for _, s := range []string{"192.0.2.10:80/tcp", "[2001:db8::1]:53/udp", "0.0.0.0:0/udp", "192.0.2.10:80", "mark 5", "mark 5 ipv6", "mark 05", "mark -1", "[fe80::1%eth0]:1/tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ipvs.ParseServiceKey(s)
		if err != nil {
			return
		}
		again, err := ipvs.ParseServiceKey(k.String())
		if err != nil || again != k {
			t.Errorf("%q parses to %v, whose text parses to %v (%v)", s, k, again, err)
		}
	})
}
