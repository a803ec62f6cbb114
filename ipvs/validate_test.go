package ipvs_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/ipvs"
)

func TestValidate(t *testing.T) {
	good := service("192.0.2.10:80/tcp", "wlc", "192.0.2.21:80 dr 2", "192.0.2.22:80 tun 0", "192.0.2.23:8080 nat 65535")
	every := with(service("192.0.2.10:0/tcp", "wlc", "192.0.2.21:0 dr 1", "192.0.2.22:0 nat 1"), func(s *ipvs.Service) { s.Persistence = time.Second })
	masked := with(good, func(s *ipvs.Service) { s.Persistence, s.PersistenceMask = ipvs.MaxPersistence, 1 })
	six := with(service("[2001:db8::10]:80/tcp", "mh", "[2001:db8::21]:80 dr 1", "[2001:db8::22]:8080 nat 1", "[2001:db8::23]:80 tun 1", "192.0.2.24:80 tun 1"), func(s *ipvs.Service) {
		s.Persistence, s.PersistenceMask = time.Minute, 128
	})
	four := service("192.0.2.10:53/udp", "rr", "[2001:db8::21]:53 tun 1")
	mark6 := service("mark 5 ipv6", "rr", "[2001:db8::21]:0 dr 1")
	options := with(service("192.0.2.10:53/udp", "sh", "192.0.2.21:53 tun 1", "192.0.2.22:53 tun 1", "192.0.2.23:53 dr 1"), func(s *ipvs.Service) {
		s.Flags, s.OnePacket = ipvs.HashPort|ipvs.Fallback, true
		s.Destinations[0].Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 6080, Checksum: ipvs.RemoteChecksum}
		s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE, Checksum: ipvs.PlainChecksum}
		s.Destinations[2].UpperThreshold, s.Destinations[2].LowerThreshold = ipvs.MaxThreshold, ipvs.MaxThreshold
	})
	mark := service("mark 5", "rr", "192.0.2.21:0 dr 2", "192.0.2.22:0 tun 0", "192.0.2.23:8080 nat 1", "192.0.2.24:0 nat 1")
	for _, s := range []ipvs.Service{good, every, masked, mark, six, four, mark6, options, service("192.0.2.10:53/udp", "sh"), service("192.0.2.10:3868/sctp", "rr", "192.0.2.21:3869 nat 1")} {
		if err := ipvs.Validate(s); err != nil {
			t.Errorf("Validate(%s) = %v", s.Key, err)
		}
	}

	tests := []struct {
		name string
		edit func(*ipvs.Service)
	}{
		{"protocol", func(s *ipvs.Service) { s.Key.Protocol = 33 }},
		{"mark without family", func(s *ipvs.Service) { s.Key = ipvs.ServiceKey{Mark: 5} }},
		{"mark with protocol", func(s *ipvs.Service) { s.Key.Mark = 5 }},
		{"mark of IPv6, server of IPv4", func(s *ipvs.Service) { *s = service("mark 5 ipv6", "rr", "192.0.2.21:0 nat 1") }},
		{"dr to a port under a mark", func(s *ipvs.Service) { *s = service("mark 5", "rr", "192.0.2.21:80 dr 1") }},
		{"port, mark and persistence", func(s *ipvs.Service) {
			*s = with(service("mark 5", "rr", "192.0.2.21:80 nat 1", "192.0.2.22:0 nat 1"), func(s *ipvs.Service) { s.Persistence = time.Second })
		}},
		{"no address", func(s *ipvs.Service) { s.Key.Addr = netip.AddrPort{} }},
		{"mapped address", func(s *ipvs.Service) { s.Key.Addr = netip.MustParseAddrPort("[::ffff:192.0.2.10]:80") }},
		{"IPv6 service", func(s *ipvs.Service) { s.Key.Addr = netip.MustParseAddrPort("[2001:db8::1]:80") }},
		{"zone", func(s *ipvs.Service) { s.Key.Addr = netip.MustParseAddrPort("[fe80::1%eth0]:80") }},
		{"server is link-local", func(s *ipvs.Service) {
			*s = service("[2001:db8::10]:80/tcp", "rr", "[fe80::21]:80 dr 1")
		}},
		{"IPv6 mask too long", func(s *ipvs.Service) {
			*s = with(six, func(s *ipvs.Service) { s.PersistenceMask = 129 })
		}},
		{"unspecified", func(s *ipvs.Service) { s.Key.Addr = netip.MustParseAddrPort("0.0.0.0:80") }},
		{"multicast", func(s *ipvs.Service) { s.Key.Addr = netip.MustParseAddrPort("224.0.0.18:80") }},
		{"every port without persistence", func(s *ipvs.Service) {
			*s = service("192.0.2.10:0/tcp", "wlc", "192.0.2.21:0 dr 1")
		}},
		{"unknown scheduler", func(s *ipvs.Service) { s.Scheduler = "wlcr" }},
		{"no scheduler", func(s *ipvs.Service) { s.Scheduler = "" }},
		{"broken second", func(s *ipvs.Service) { s.Persistence = 1500 * time.Millisecond }},
		{"unknown engine", func(s *ipvs.Service) { s.Persistence, s.Engine = time.Minute, "sips" }},
		{"engine without persistence", func(s *ipvs.Service) { s.Key.Protocol, s.Engine = ipvs.UDP, "sip" }},
		{"engine over tcp", func(s *ipvs.Service) { s.Persistence, s.Engine = time.Minute, "sip" }},
		{"long persistence", func(s *ipvs.Service) { s.Persistence = ipvs.MaxPersistence + time.Second }},
		{"negative persistence", func(s *ipvs.Service) { s.Persistence = -time.Second }},
		{"mask too long", func(s *ipvs.Service) { s.Persistence, s.PersistenceMask = time.Second, 33 }},
		{"mask alone", func(s *ipvs.Service) { s.PersistenceMask = 24 }},
		{"server twice", func(s *ipvs.Service) { s.Destinations = append(s.Destinations, s.Destinations[0]) }},
		{"server is the service", func(s *ipvs.Service) { s.Destinations[0].Addr = s.Key.Addr }},
		{"server is IPv6", func(s *ipvs.Service) { s.Destinations[0].Addr = netip.MustParseAddrPort("[2001:db8::1]:80") }},
		{"weight below", func(s *ipvs.Service) { s.Destinations[0].Weight = -1 }},
		{"weight above", func(s *ipvs.Service) { s.Destinations[0].Weight = 65536 }},
		{"no method", func(s *ipvs.Service) { s.Destinations[0].Forward = 0 }},
		{"dr to another port", func(s *ipvs.Service) { s.Destinations[0].Addr = netip.MustParseAddrPort("192.0.2.21:8080") }},
		{"tun to another port", func(s *ipvs.Service) { s.Destinations[1].Addr = netip.MustParseAddrPort("192.0.2.22:8080") }},
		{"port 0", func(s *ipvs.Service) { s.Destinations[2].Addr = netip.MustParseAddrPort("192.0.2.23:0") }},
		{"one port under every port", func(s *ipvs.Service) {
			*s = with(every, func(s *ipvs.Service) { s.Destinations[1].Addr = netip.MustParseAddrPort("192.0.2.22:80") })
		}},
		{"flags of another scheduler", func(s *ipvs.Service) { s.Flags = ipvs.Fallback | ipvs.HashPort }},
		{"a flag that sh has not", func(s *ipvs.Service) { s.Scheduler, s.Flags = "sh", 7 }},
		{"one packet of tcp", func(s *ipvs.Service) { s.OnePacket = true }},
		{"thresholds", func(s *ipvs.Service) {
			s.Destinations[0].UpperThreshold, s.Destinations[0].LowerThreshold = 5, 6
			s.Destinations[1].LowerThreshold = 1
			s.Destinations[2].UpperThreshold = -1
		}},
		{"a threshold too high", func(s *ipvs.Service) { s.Destinations[0].UpperThreshold = ipvs.MaxThreshold + 1 }},
		{"tunnel of dr", func(s *ipvs.Service) { s.Destinations[0].Tunnel.Type = ipvs.GRE }},
		{"gue without port", func(s *ipvs.Service) { s.Destinations[1].Tunnel.Type = ipvs.GUE }},
		{"gre with port", func(s *ipvs.Service) { s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE, Port: 1} }},
		{"ipip with checksum", func(s *ipvs.Service) { s.Destinations[1].Tunnel.Checksum = ipvs.PlainChecksum }},
		{"gre with remote checksum", func(s *ipvs.Service) {
			s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GRE, Checksum: ipvs.RemoteChecksum}
		}},
		{"no such tunnel", func(s *ipvs.Service) { s.Destinations[1].Tunnel.Type = 3 }},
		{"no such checksum", func(s *ipvs.Service) { s.Destinations[1].Tunnel = ipvs.Tunnel{Type: ipvs.GUE, Port: 1, Checksum: 3} }},
		{"extra", func(s *ipvs.Service) { s.Destinations[0].Extra = "tunnel ipip port 1 flags 2" }},
		{"several at once", func(s *ipvs.Service) {
			s.Scheduler = "best"
			s.PersistenceMask = 99
			s.Destinations[0] = ipvs.Destination{Weight: -1}
		}},
	}
	var b strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&b, "# %s\n%v\n\n", tt.name, ipvs.Validate(with(good, tt.edit)))
	}
	golden(t, "validate.txt", b.String())
}

func TestSchedulers(t *testing.T) {
	for _, name := range strings.Fields("rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos") {
		if !ipvs.ValidScheduler(name) {
			t.Errorf("scheduler %s is not valid", name)
		}
	}
	if n := len(ipvs.SchedulerNames()); n != 14 {
		t.Errorf("%d schedulers, want 14", n)
	}
	if ipvs.ValidScheduler("none") || ipvs.ValidScheduler("") {
		t.Error("no scheduler at all is valid")
	}
}

func TestServiceKeyJSON(t *testing.T) {
	in := map[ipvs.ServiceKey]int{
		key("192.0.2.10:80/tcp"): 1, key("[2001:db8::1]:53/udp"): 2, key("192.0.2.10:80/sctp"): 5,
		ipvs.MarkKey(5, false): 3, ipvs.MarkKey(4294967295, true): 4,
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"192.0.2.10:80/sctp":5,"192.0.2.10:80/tcp":1,"[2001:db8::1]:53/udp":2,"mark 4294967295 ipv6":4,"mark 5":3}`, string(b)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var out map[ipvs.ServiceKey]int
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for before, now := range map[string]string{"fwmark 5": "mark 5", "fwmark 5 inet6": "mark 5 ipv6"} {
		if k := key(before); k.String() != now {
			t.Errorf("%q of an earlier record was parsed as %s", before, k)
		}
	}
	for _, bad := range []string{"192.0.2.10:80/dccp", "mark 0", "mark", "mark 4294967296", "mark 5 inet6", "mark 5 ipv6 ipv6", "fwmark 5 ipv4"} {
		if k, err := ipvs.ParseServiceKey(bad); err == nil {
			t.Errorf("%q, which lvsha never makes, was parsed as %v", bad, k)
		}
	}
}
