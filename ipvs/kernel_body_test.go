package ipvs_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

// testKernel is what every Kernel has to do. k and other are two connections to
// one table, which is empty at first and has every scheduler but those missing.
func testKernel(t *testing.T, k, other ipvs.Kernel, missing ...string) {
	if got := list(t, k); len(got) != 0 {
		t.Fatalf("the table is not empty to begin with: %v", got)
	}
	clear := func(t *testing.T) {
		t.Helper()
		for _, s := range list(t, k) {
			if err := k.RemoveService(s.Key); err != nil {
				t.Fatal(err)
			}
		}
	}

	t.Run("refusals", func(t *testing.T) {
		defer clear(t)
		web := service("192.0.2.10:80/tcp", "wlc")
		server := service("192.0.2.10:80/tcp", "", "192.0.2.21:80 dr 1").Destinations[0]
		server6 := server
		server6.Addr = netip.MustParseAddrPort("[2001:db8::21]:80")
		many := server
		many.Addr = netip.MustParseAddrPort("255.255.255.255:80")
		heavy := server
		heavy.Weight = 1 << 31
		narrow, unled := server, server
		narrow.UpperThreshold, narrow.LowerThreshold = 5, 6
		unled.Forward, unled.Tunnel.Type = ipvs.TUN, ipvs.GUE
		absent := web
		absent.Scheduler = "nosuch"
		steps := []struct {
			name string
			do   func() error
			want error
		}{
			{"edit what is not there", func() error { return k.SetService(web) }, syscall.ESRCH},
			{"remove what is not there", func() error { return k.RemoveService(web.Key) }, syscall.ESRCH},
			{"add a server to what is not there", func() error { return k.AddServer(web.Key, server) }, syscall.ESRCH},
			{"unknown scheduler", func() error { return k.AddService(absent) }, syscall.ENOENT},
			{"add", func() error { return k.AddService(web) }, nil},
			{"add again", func() error { return k.AddService(web) }, syscall.EEXIST},
			{"add again with an unknown scheduler", func() error { return k.AddService(absent) }, syscall.EEXIST},
			{"edit to an unknown scheduler", func() error { return k.SetService(absent) }, syscall.ENOENT},
			{"edit a server that is not there", func() error { return k.SetServer(web.Key, server) }, syscall.ENOENT},
			{"remove a server that is not there", func() error { return k.RemoveServer(web.Key, server) }, syscall.ENOENT},
			{"many machines' address", func() error { return ipvs.Change{Op: ipvs.AddServer, Service: web, Destination: many}.Do(k) }, syscall.EINVAL},
			{"too heavy", func() error { return k.AddServer(web.Key, heavy) }, syscall.ERANGE},
			{"lower above upper", func() error { return k.AddServer(web.Key, narrow) }, syscall.ERANGE},
			{"gue without port", func() error { return k.AddServer(web.Key, unled) }, syscall.EINVAL},
			{"add a server", func() error { return k.AddServer(web.Key, server) }, nil},
			{"edit to lower above upper", func() error { return k.SetServer(web.Key, narrow) }, syscall.ERANGE},
			{"edit to gue without port", func() error { return k.SetServer(web.Key, unled) }, syscall.EINVAL},
			{"add the server again", func() error { return k.AddServer(web.Key, server) }, syscall.EEXIST},
			{"remove with servers", func() error { return k.RemoveService(web.Key) }, nil},
		}
		for _, s := range steps {
			err := s.do()
			if !errors.Is(err, s.want) {
				t.Errorf("%s: %v, want %v", s.name, err, s.want)
			}
			if s.name == "many machines' address" && !strings.Contains(fmt.Sprint(err), "no machine's address") {
				t.Errorf("%s: %v, want it in words", s.name, err)
			}
		}
		v6 := ipvs.Service{Key: key("[2001:db8::10]:80/tcp"), Scheduler: "wlc"}
		if err := k.AddService(v6); err != nil {
			t.Errorf("IPv6 service: %v", err)
		}
		if err := k.AddServer(v6.Key, server6); err != nil {
			t.Errorf("IPv6 server: %v", err)
		}
		if err := k.AddServer(v6.Key, server); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("IPv4 server under direct routing in an IPv6 service: %v, want EINVAL", err)
		}
		local6 := server6
		local6.Addr = netip.MustParseAddrPort("[fe80::21]:80")
		if err := k.AddServer(v6.Key, local6); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("link-local server: %v, want EINVAL", err)
		}
		want := []ipvs.Service{{Key: v6.Key, Scheduler: "wlc", Destinations: []ipvs.Destination{server6}}}
		if diff := cmp.Diff(want, list(t, k), tables); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})

	t.Run("firewall marks", func(t *testing.T) {
		defer clear(t)
		// A mark of each family, and a key that says more than the kernel looks at.
		mark, mark6 := ipvs.MarkKey(5, false), ipvs.MarkKey(5, true)
		wordy := ipvs.ServiceKey{Mark: 5, Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")}
		direct := service("mark 5", "", "192.0.2.21:0 dr 1").Destinations[0]
		direct6 := direct
		direct6.Addr = netip.MustParseAddrPort("[2001:db8::21]:0")
		for _, s := range []struct {
			name string
			do   func() error
			want error
		}{
			{"edit what is not there", func() error { return k.SetService(ipvs.Service{Key: mark, Scheduler: "rr"}) }, syscall.ESRCH},
			{"add", func() error { return k.AddService(ipvs.Service{Key: mark, Scheduler: "rr"}) }, nil},
			{"add again", func() error { return k.AddService(ipvs.Service{Key: wordy, Scheduler: "rr"}) }, syscall.EEXIST},
			{"add the other family's", func() error { return k.AddService(ipvs.Service{Key: mark6, Scheduler: "rr"}) }, nil},
			{"add a server", func() error { return k.AddServer(mark, direct) }, nil},
			{"add the server again", func() error { return k.AddServer(wordy, direct) }, syscall.EEXIST},
			{"add a server of the other family", func() error { return k.AddServer(mark, direct6) }, syscall.EINVAL},
			{"add a server to the other family's", func() error { return k.AddServer(mark6, direct6) }, nil},
			{"remove", func() error { return k.RemoveService(wordy) }, nil},
			{"remove again", func() error { return k.RemoveService(mark) }, syscall.ESRCH},
		} {
			if err := s.do(); !errors.Is(err, s.want) {
				t.Errorf("%s: %v, want %v", s.name, err, s.want)
			}
		}
		want := []ipvs.Service{{Key: mark6, Scheduler: "rr", Destinations: []ipvs.Destination{direct6}}}
		if diff := cmp.Diff(want, list(t, k), tables); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})

	t.Run("every scheduler", func(t *testing.T) {
		defer clear(t)
		var want []ipvs.Service
		for i, name := range ipvs.SchedulerNames() {
			s := service(fmt.Sprintf("192.0.2.10:%d/tcp", 80+i), name)
			err := ipvs.Change{Op: ipvs.AddService, Service: s}.Do(k)
			if strings.Contains(" "+strings.Join(missing, " ")+" ", " "+name+" ") {
				if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "modprobe ip_vs_"+name) {
					t.Errorf("scheduler %s: %v, want ENOENT and its module", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("scheduler %s: %v", name, err)
				continue
			}
			want = append(want, s)
		}
		if diff := cmp.Diff(want, list(t, k), tables); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})

	t.Run("edits in place", func(t *testing.T) {
		defer clear(t)
		states := [][]ipvs.Service{
			{
				service("192.0.2.10:53/udp", "rr", "192.0.2.21:5353 nat 1"),
				service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 2", "192.0.2.22:80 tun 65535"),
				service("mark 5", "rr", "192.0.2.21:0 dr 1"),
				service("mark 1280704512", "rr", "192.0.2.21:8080 nat 1"),
			},
			{
				service("192.0.2.10:53/udp", "rr", "192.0.2.22:53 nat 1"),
				with(service("192.0.2.10:80/tcp", "sh", "192.0.2.21:80 tun 0", "192.0.2.22:80 nat 7"), func(s *ipvs.Service) {
					s.Persistence, s.PersistenceMask = ipvs.MaxPersistence, 24
				}),
				with(service("192.0.2.11:0/tcp", "wrr", "192.0.2.21:0 dr 1"), func(s *ipvs.Service) { s.Persistence = time.Second }),
				with(service("mark 5", "wlc", "192.0.2.21:0 tun 1", "192.0.2.22:0 nat 2"), func(s *ipvs.Service) {
					s.Persistence, s.PersistenceMask = time.Minute, 24
				}),
			},
			{
				service("192.0.2.10:80/tcp", "mh", "192.0.2.21:80 dr 1", "192.0.2.23:80 dr 1"),
				service("[2001:db8::10]:53/udp", "rr", "[2001:db8::21]:5353 nat 1"),
				with(service("[2001:db8::10]:80/tcp", "wlc", "192.0.2.21:80 tun 1", "[2001:db8::21]:80 dr 2", "[2001:db8::22]:80 tun 65535"), func(s *ipvs.Service) {
					s.Persistence, s.PersistenceMask = time.Minute, 1
				}),
			},
			{
				service("192.0.2.10:80/tcp", "mh", "192.0.2.23:80 dr 1", "[2001:db8::21]:80 tun 1"),
				service("192.0.2.10:80/sctp", "wrr", "192.0.2.23:80 dr 1", "192.0.2.24:81 nat 1"),
				service("[2001:db8::10]:53/udp", "sh", "[2001:db8::21]:5353 nat 1"),
				service("[2001:db8::10]:53/sctp", "sh", "[2001:db8::21]:5353 nat 1"),
				with(service("[2001:db8::10]:80/tcp", "wlc", "[2001:db8::21]:80 tun 2", "[2001:db8::22]:80 nat 1"), func(s *ipvs.Service) {
					s.Persistence, s.PersistenceMask = time.Minute, 127
				}),
				with(service("[2001:db8::11]:0/tcp", "wlc", "[2001:db8::21]:0 dr 2"), func(s *ipvs.Service) {
					s.Persistence = time.Minute
				}),
			},
			{
				with(service("192.0.2.10:53/udp", "sh", "192.0.2.21:53 tun 1", "192.0.2.22:53 tun 1", "192.0.2.23:53 dr 1"), func(s *ipvs.Service) {
					s.Flags, s.OnePacket = ipvs.HashPort, true
					s.Destinations[0].Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 6080, Checksum: ipvs.RemoteChecksum}
					s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE, Checksum: ipvs.PlainChecksum}
					s.Destinations[2].UpperThreshold, s.Destinations[2].LowerThreshold = ipvs.MaxThreshold, ipvs.MaxThreshold
				}),
				with(service("[2001:db8::10]:80/tcp", "mh", "192.0.2.21:80 tun 1", "[2001:db8::21]:80 tun 2"), func(s *ipvs.Service) {
					s.Flags = ipvs.HashPort | ipvs.Fallback
					s.Destinations[0].Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 6081, Checksum: ipvs.PlainChecksum}
					s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE}
				}),
			},
			{
				with(service("192.0.2.10:53/udp", "mh", "192.0.2.21:53 tun 1", "192.0.2.22:53 tun 1", "192.0.2.23:53 dr 1"), func(s *ipvs.Service) {
					s.Flags, s.Persistence = ipvs.Fallback, time.Minute
					s.Destinations[0].Tunnel = ipvs.Tunnel{Type: ipvs.GRE}
					s.Destinations[1].UpperThreshold = 7
					s.Destinations[2].UpperThreshold, s.Destinations[2].LowerThreshold = 9, 8
				}),
				service("[2001:db8::10]:80/tcp", "rr", "192.0.2.21:80 tun 1", "[2001:db8::21]:80 dr 2"),
			},
			nil,
		}
		for _, want := range states {
			for _, s := range want {
				if err := ipvs.Validate(s); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range ipvs.Diff(list(t, k), want, all) {
				if err := c.Do(k); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, list(t, k), tables); diff != "" {
				t.Fatalf("table (-want +got):\n%s", diff)
			}
		}
	})

	t.Run("persistence engine", func(t *testing.T) {
		defer clear(t)
		var want []ipvs.Service
		for _, text := range []string{"192.0.2.10:5060/udp", "[2001:db8::10]:5060/udp", "mark 5", "mark 5 ipv6"} {
			s := service(text, "rr")
			s.Persistence, s.Engine = time.Minute, "sip"
			want = append(want, s)
		}
		want[0].PersistenceMask, want[1].PersistenceMask = 24, 64
		plain := service("192.0.2.10:80/tcp", "rr")
		plain.Persistence = time.Minute
		want = append(want, plain)
		load(t, k, want)
		for range 2 { // made, and edited
			got := list(t, k)
			for _, w := range want {
				i := slices.IndexFunc(got, func(s ipvs.Service) bool { return s.Key == w.Key })
				if diff := cmp.Diff(w, got[i], tables); diff != "" {
					t.Errorf("%s (-want +got):\n%s", w.Key, diff)
				}
			}
			for i := range want {
				want[i].Scheduler, want[i].OnePacket = "wrr", want[i].Key.Protocol == ipvs.UDP
				if err := k.SetService(want[i]); err != nil {
					t.Errorf("%s: %v", want[i].Key, err)
				}
			}
		}
		without := want[0]
		without.Engine = ""
		if err := k.SetService(without); err != nil {
			t.Error(err)
		}
		for _, s := range list(t, k) {
			if s.Key == without.Key && s.Engine != "" {
				t.Errorf("the engine is still %s", s.Engine)
			}
		}
		unknown := service("192.0.2.10:5061/udp", "rr")
		unknown.Persistence, unknown.Engine = time.Minute, "nosuch"
		if err := (ipvs.Change{Op: ipvs.AddService, Service: unknown}).Do(k); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "modprobe ip_vs_rr ip_vs_pe_nosuch") {
			t.Errorf("unknown engine: %v", err)
		}
	})

	t.Run("timeouts", func(t *testing.T) {
		found, err := k.Timeouts()
		if err != nil || found != ipvs.DefaultTimeouts() {
			t.Errorf("timeouts %s, %v", found, err)
		}
		if err := k.SetTimeouts(ipvs.Timeouts{TCPFin: ipvs.MaxTimeout}); err != nil {
			t.Error(err)
		}
		want := found
		want.TCPFin = ipvs.MaxTimeout
		if got, err := other.Timeouts(); err != nil || got != want {
			t.Errorf("timeouts %s, %v, want %s", got, err, want)
		}
		if err := k.SetTimeouts(found); err != nil {
			t.Error(err)
		}
	})

	t.Run("another connection, one table", func(t *testing.T) {
		defer clear(t)
		if err := other.AddService(service("192.0.2.10:80/tcp", "rr")); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if got := list(t, k); len(got) != 1 {
			t.Fatalf("table is %v, want the service that the other connection made", got)
		}
	})

	t.Run("a large table", func(t *testing.T) {
		defer clear(t)
		var want []ipvs.Service
		for i := range 50 {
			s := service(fmt.Sprintf("192.0.2.10:%d/tcp", 1000+i), "wlc")
			for j := range 20 {
				s.Destinations = append(s.Destinations, ipvs.Destination{
					Addr:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(j)}), 80),
					Forward: ipvs.NAT, Weight: j,
				})
			}
			want = append(want, s)
		}
		load(t, k, want)
		start := time.Now()
		got := list(t, k)
		t.Logf("listed %d services in %v", len(got), time.Since(start))
		if diff := cmp.Diff(want, got, tables); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})

	if err := k.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestMemory(t *testing.T) {
	m := ipvs.NewMemory(nil)
	m.RemoveScheduler("twos")
	testKernel(t, m, m, "twos")
}

func TestMemoryLog(t *testing.T) {
	var log strings.Builder
	m := ipvs.NewMemory(&log)
	load(t, m, []ipvs.Service{service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 2")})
	_ = m.AddService(service("192.0.2.10:80/tcp", "wlc")) // refused: not in the log
	quiet := service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 0").Destinations[0]
	if err := m.SetServer(key("192.0.2.10:80/tcp"), quiet); err != nil {
		t.Fatal(err)
	}
	if !m.SetConnections(key("192.0.2.10:80/tcp"), quiet.Addr, 3, 4, 0) {
		t.Error("SetConnections does not know the server")
	}
	if m.SetConnections(key("192.0.2.10:81/tcp"), quiet.Addr, 3, 4, 0) {
		t.Error("SetConnections knows a service that is not there")
	}
	if diff := cmp.Diff("192.0.2.10:80/tcp wlc\n  192.0.2.21:80 dr weight 0 active 3 inactive 4\n", m.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}

	var last float64
	var changes []string
	for line := range strings.Lines(log.String()) {
		at, change, _ := strings.Cut(line, " ")
		var now float64
		if _, err := fmt.Sscan(at, &now); err != nil || now <= 0 || now < last {
			t.Errorf("time %q is not a growing number (%v)", at, err)
		}
		last = now
		changes = append(changes, change)
	}
	want := []string{
		"add service 192.0.2.10:80/tcp scheduler wlc\n",
		"add server 192.0.2.21:80 to 192.0.2.10:80/tcp weight 2 forward dr\n",
		"set weight of server 192.0.2.21:80 of 192.0.2.10:80/tcp from 2 to 0\n",
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}
