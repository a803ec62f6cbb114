package connsync

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testServices are a service by address with persistence, one on every port, one of
// IPv6, and two by mark that share a server.
func testServices() []Service {
	return []Service{
		{Protocol: protocolTCP, Virtual: ap("192.0.2.10:80"), Persistence: 300 * time.Second, Servers: []Server{
			{Addr: ap("192.0.2.21:80"), Forward: ForwardDR, Active: 3, Inactive: 1, Templates: 2},
		}},
		{Protocol: protocolUDP, Virtual: ap("192.0.2.10:0"), Servers: []Server{{Addr: ap("192.0.2.21:0"), Forward: ForwardTUN}}},
		{Protocol: protocolTCP, Virtual: ap("[2001:db8::10]:80"), Servers: []Server{{Addr: ap("[2001:db8::21]:80"), Forward: ForwardNAT}}},
		{Virtual: ap("0.0.0.0:0"), Mark: 7, Persistence: 60 * time.Second, Servers: []Server{
			{Addr: ap("192.0.2.31:0"), Forward: ForwardDR}, {Addr: ap("192.0.2.32:0"), Forward: ForwardNAT},
		}},
		{Virtual: ap("0.0.0.0:0"), Mark: 8, Servers: []Server{{Addr: ap("192.0.2.32:0"), Forward: ForwardNAT}}},
		// Of these it is known what leads to them, and they share a server with the others.
		{Virtual: ap("0.0.0.0:0"), Mark: 9, Covered: true, Servers: []Server{{Addr: ap("192.0.2.32:0"), Forward: ForwardNAT}, {Addr: ap("192.0.2.33:0"), Forward: ForwardNAT}},
			Covers: []Cover{{From: netip.MustParseAddr("192.0.2.60"), To: netip.MustParseAddr("192.0.2.60"), Protocol: protocolTCP, First: 443, Last: 443}}},
		{Virtual: ap("0.0.0.0:0"), Mark: 10, Covered: true, Servers: []Server{{Addr: ap("192.0.2.32:0"), Forward: ForwardDR}},
			Covers: []Cover{{From: netip.MustParseAddr("192.0.2.61"), To: netip.MustParseAddr("192.0.2.69"), Protocol: protocolTCP, First: 400, Last: 500}}},
		// The guard.
		{Virtual: ap("0.0.0.0:0"), Mark: 11, Covered: true, Servers: []Server{{Addr: ap("192.0.2.1:0"), Forward: ForwardLocal}, {Addr: ap("192.0.2.31:0"), Forward: ForwardDR}}},
		{Protocol: protocolTCP, Virtual: ap("192.0.2.70:80"), Servers: []Server{{Addr: ap("192.0.2.21:80"), Forward: ForwardDR}, {Addr: ap("192.0.2.32:80"), Forward: ForwardNAT}}},
	}
}

// TestRecordOf: what a listing does not show is filled in from the services.
func TestRecordOf(t *testing.T) {
	conn := func(protocol uint8, client, virtual, server string, state uint16) Conn {
		return Conn{Key: ConnKey{Protocol: protocol, Client: ap(client), Virtual: ap(virtual)}, Server: ap(server), State: state, Expires: 10}
	}
	template := func(c Conn) Conn { c.Key.Template = true; return c }
	const client = "192.0.2.9:40000"
	tests := []struct {
		name  string
		conn  Conn
		want  Record // without what is the connection's
		why   unfit
		bound bool
	}{
		{"established, direct routing", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.21:80", tcpEstablished),
			Record{Flags: ForwardDR | NoOutput}, fit, true},
		{"half closed", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.21:80", 7), Record{Flags: ForwardDR | NoOutput | Inactive}, fit, true},
		{"opening", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.21:80", tcpSynRecv), Record{}, passing, false},
		{"over", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.21:80", tcpTimeWait), Record{}, passing, false},
		{"udp on every port, tunnel", conn(protocolUDP, client, "192.0.2.10:53", "192.0.2.21:53", 0), Record{Flags: ForwardTUN | NoOutput | Inactive}, fit, true},
		{"IPv6, NAT", conn(protocolTCP, "[2001:db8::9]:1", "[2001:db8::10]:80", "[2001:db8::21]:80", tcpEstablished), Record{Flags: ForwardNAT}, fit, true},
		{"a server that is there no longer", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.99:80", tcpEstablished), Record{Flags: ForwardDR | NoOutput}, fit, false},
		{"a server that is there no longer, with others of several methods", conn(protocolTCP, client, "192.0.2.70:80", "192.0.2.99:80", tcpEstablished),
			Record{}, unknown, false},
		{"by mark", conn(protocolTCP, client, "192.0.2.50:443", "192.0.2.31:443", tcpEstablished), Record{Flags: ForwardDR | NoOutput, Mark: 7}, fit, true},
		{"by a mark that cannot be told", conn(protocolTCP, client, "192.0.2.50:443", "192.0.2.32:443", tcpEstablished), Record{}, unknown, false},
		{"by a mark that the address tells", conn(protocolTCP, client, "192.0.2.60:443", "192.0.2.32:443", tcpEstablished), Record{Mark: 9}, fit, true},
		{"by a mark that the range tells", conn(protocolTCP, client, "192.0.2.62:444", "192.0.2.32:444", tcpEstablished),
			Record{Flags: ForwardDR | NoOutput, Mark: 10}, fit, true},
		{"outside of the covers", conn(protocolTCP, client, "192.0.2.60:444", "192.0.2.33:444", tcpEstablished), Record{}, unknown, false},
		{"of the guard of a director that is a server", conn(protocolTCP, client, "192.0.2.10:80", "192.0.2.1:80", tcpEstablished),
			Record{Flags: ForwardDR | NoOutput}, fit, false},
		{"template", template(conn(protocolTCP, "192.0.2.9:0", "192.0.2.10:80", "192.0.2.21:80", 1)),
			Record{Flags: ForwardDR | NoOutput | Template, Timeout: 300}, fit, true},
		{"template of a mark", template(conn(0, "192.0.2.9:0", "0.0.0.7:0", "192.0.2.32:0", 1)), Record{Flags: ForwardNAT | Template, Mark: 7, Timeout: 60}, fit, true},
		{"template of nobody", template(conn(protocolTCP, "192.0.2.9:0", "192.0.2.77:80", "192.0.2.21:80", 1)), Record{}, unknown, false},
		{"ftp data that is expected", conn(protocolTCP, "192.0.2.9:0", "192.0.2.10:80", "192.0.2.21:80", tcpListen),
			Record{Flags: ForwardDR | NoOutput | NoClientPort | Inactive}, fit, true},
		{"sctp", conn(protocolSCTP, client, "192.0.2.10:80", "192.0.2.21:80", sctpEstablished), Record{}, unknown, false},
		{"sctp that opens", conn(protocolSCTP, client, "192.0.2.10:80", "192.0.2.21:80", 3), Record{}, passing, false},
	}
	p := NewPool(testServices())
	for _, tt := range tests {
		got, why := p.Record(tt.conn, nil)
		if why != tt.why {
			t.Errorf("%s: unfit %d, want %d", tt.name, why, tt.why)
		}
		if why != fit {
			continue
		}
		tt.want.Key, tt.want.Server, tt.want.State = tt.conn.Key, tt.conn.Server, tt.conn.State
		if diff := cmp.Diff(tt.want, got, addresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if p.Bound(&got) != tt.bound {
			t.Errorf("%s: bound %t, want %t", tt.name, !tt.bound, tt.bound)
		}
	}
	// What the kernel has told is better than what can be inferred.
	told := Record{Server: ap("192.0.2.32:443"), Mark: 8, Flags: ForwardTUN | NoOutput}
	if r, why := p.Record(conn(protocolTCP, client, "192.0.2.50:443", "192.0.2.32:443", tcpEstablished), &told); why != fit || r.Mark != 8 || r.Flags != told.Flags {
		t.Errorf("what the kernel has told: %+v, unfit %d", r, why)
	}
	told.Server = ap("192.0.2.31:443") // of before it moved
	if r, why := p.Record(conn(protocolTCP, client, "192.0.2.50:443", "192.0.2.32:443", tcpEstablished), &told); why != unknown {
		t.Errorf("what the kernel told before: %+v, unfit %d", r, why)
	}
	if r, why := p.Record(Conn{Key: sip.Key, Server: sip.Server, State: 1, Expires: 9, Engine: "sip", EngineData: "a@b.c"}, &sip); why != fit || r.Options != sip.Options {
		t.Errorf("persistence engine: %+v", r)
	}
}

func TestPoolHash(t *testing.T) {
	base := NewPool(testServices()).Hash()
	same := testServices()
	same[0], same[1] = same[1], same[0]
	same[3].Servers[0], same[3].Servers[1] = same[3].Servers[1], same[3].Servers[0]
	same[0].Servers[0].Active = 99
	if NewPool(same).Hash() != base {
		t.Error("another order or counter is another hash")
	}
	for name, change := range map[string]func([]Service){
		"server":  func(s []Service) { s[0].Servers[0].Addr = ap("192.0.2.22:80") },
		"forward": func(s []Service) { s[0].Servers[0].Forward = ForwardNAT },
		"service": func(s []Service) { s[0].Virtual = ap("192.0.2.10:81") },
		"mark":    func(s []Service) { s[3].Mark = 9 },
	} {
		other := testServices()
		change(other)
		if NewPool(other).Hash() == base {
			t.Errorf("another %s is the same hash", name)
		}
	}
}

func TestShadow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	left := func(s *Shadow, after time.Duration) map[ConnKey]uint32 {
		out := make(map[ConnKey]uint32)
		for r := range s.Left(start.Add(after)) {
			out[r.Key] = r.Timeout
		}
		return out
	}
	s := NewShadow(60 * time.Second)
	s.Take(start, tcp4)
	s.Take(start, template4)
	seeded := udp4
	s.Seed(start, seeded, 100*time.Second, fit)
	s.Seed(start, tcp4, time.Second, fit) // which is known better
	if diff := cmp.Diff(map[ConnKey]uint32{tcp4.Key: 951, template4.Key: 360, udp4.Key: 151}, left(s, 10*time.Second), addresses); diff != "" {
		t.Errorf("after 10 s (-want +got):\n%s", diff)
	}
	closing := tcp4
	closing.State, closing.Timeout = tcpClose, 10
	s.Take(start.Add(20*time.Second), closing)
	if diff := cmp.Diff(map[ConnKey]uint32{template4.Key: 360, udp4.Key: 131}, left(s, 30*time.Second), addresses); diff != "" {
		t.Errorf("after the end of one (-want +got):\n%s", diff)
	}
	// What was seeded before the services were there is handed over when they are.
	early, why := NewPool(nil).Record(Conn{Key: tcp4.Key, Server: tcp4.Server, State: tcpEstablished, Expires: 800}, nil)
	seen := NewShadow(60 * time.Second)
	seen.Seed(start, early, 800*time.Second, why)
	if got := left(seen, 0); len(got) != 0 || seen.Unfit(start) != 1 {
		t.Errorf("before the services: %v, %d unfit", got, seen.Unfit(start))
	}
	seen.Refit(start, NewPool(testServices()))
	if got := left(seen, 0); len(got) != 1 || seen.Unfit(start) != 0 {
		t.Errorf("with the services: %v, %d unfit", got, seen.Unfit(start))
	}
	if got := left(s, 10*time.Minute); len(got) != 0 {
		t.Errorf("after ten minutes: %v", got)
	}
	s.Take(start.Add(10*time.Minute), tcp6)
	if s.Len() != 1 {
		t.Errorf("%d entries are kept, want the new one", s.Len())
	}
	s.Take(start.Add(10*time.Minute), tcp6.gone())
	if s.Len() != 0 {
		t.Error("what is removed is kept")
	}
}
