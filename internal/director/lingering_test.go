package director

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
)

// TestLingering: services that the packet filter leads no packets to any more stay until
// their connections have ended, and no others do.
func TestLingering(t *testing.T) {
	mark := func(from, to string, protocol uint8, first, last uint16, mark uint32) packetfilter.Mark {
		return packetfilter.Mark{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Protocol: protocol, First: first, Last: last, Mark: mark}
	}
	at := func(addr string, protocol ipvs.Protocol) ipvs.Service {
		return ipvs.Service{Key: ipvs.ServiceKey{Addr: netip.MustParseAddrPort(addr), Protocol: protocol}}
	}
	by := func(mark uint32) ipvs.Service { return ipvs.Service{Key: ipvs.MarkKey(mark, false)} }
	const tcp, udp = uint8(ipvs.TCP), uint8(ipvs.UDP)
	next := []packetfilter.Mark{
		mark("10.0.0.1", "10.0.0.9", tcp, 80, 89, 7), mark("10.0.0.5", "10.0.0.5", tcp, 443, 443, 8),
		mark("10.0.0.7", "10.0.0.7", udp, 0, 65535, 9), mark("10.0.0.20", "10.0.0.20", tcp, 0, 65535, 9),
	}
	was := []packetfilter.Mark{mark("10.0.0.1", "10.0.0.1", tcp, 22, 22, 5), mark("10.0.0.1", "10.0.0.1", tcp, 23, 23, 7)}
	found := []ipvs.Service{
		at("10.0.0.1:80", ipvs.TCP), at("10.0.0.6:89", ipvs.TCP), at("10.0.0.6:90", ipvs.TCP), at("10.0.0.5:443", ipvs.TCP), at("10.0.0.5:85", ipvs.TCP),
		at("10.0.0.6:443", ipvs.TCP), at("10.0.0.7:53", ipvs.UDP), at("10.0.0.7:53", ipvs.TCP), at("10.0.0.20:0", ipvs.TCP), at("10.0.0.10:80", ipvs.TCP),
		at("10.0.0.9:81", ipvs.TCP), by(5), by(7), by(6),
	}
	wanted := map[ipvs.ServiceKey]bool{at("10.0.0.9:81", ipvs.TCP).Key: true}
	var l lingering
	start := time.Unix(1000, 0)
	names := func() string {
		var out []string
		for _, s := range l.services {
			out = append(out, s.Key.String())
		}
		return strings.Join(out, " ")
	}
	l.follow(start, found, wanted, was, next)
	const all = "10.0.0.1:80/tcp 10.0.0.6:89/tcp 10.0.0.5:443/tcp 10.0.0.5:85/tcp 10.0.0.7:53/udp 10.0.0.20:0/tcp mark 5"
	if got := names(); got != all {
		t.Errorf("lingering: %s\nwant %s", got, all)
	}
	// A further file that leads nothing to them either.
	l.follow(start, found, wanted, next, next)
	if got := names(); got != all {
		t.Errorf("after a further file: %s", got)
	}

	busy := func(keys ...string) (s ipvs.Status) {
		s.Looked = start.Add(time.Second)
		for _, f := range found {
			f.Destinations = []ipvs.Destination{{}, {}}
			for i, k := range keys {
				if f.Key.String() == k && i == 0 {
					f.Destinations[1].Active = 1
				} else if f.Key.String() == k {
					f.Destinations[0].Inactive = 1
				}
			}
			s.Services = append(s.Services, f)
		}
		return s
	}
	stale := busy()
	stale.Looked = start
	if l.end(start.Add(time.Second), stale) || names() != all {
		t.Errorf("a look from before ends %s", names())
	}
	if !l.end(start.Add(time.Second), busy("10.0.0.1:80/tcp", "mark 5")) || names() != "10.0.0.1:80/tcp mark 5" {
		t.Errorf("with connections there are %s", names())
	}
	if l.end(start.Add(2*time.Second), busy("10.0.0.1:80/tcp", "mark 5")) {
		t.Errorf("one with connections went: %s", names())
	}
	if !l.end(start.Add(lingerMost+time.Second), busy("10.0.0.1:80/tcp", "mark 5")) || names() != "" {
		t.Errorf("after %v there are %s", lingerMost, names())
	}
	// What gets packets again is no longer kept.
	l.follow(start, found, wanted, was, next)
	l.follow(start, found, wanted, next, nil)
	if got := names(); got != "mark 5 mark 7" {
		t.Errorf("without marks: %s", got)
	}
}

// TestGrowthOfCovering: what it costs to look services up does not grow with the square.
func TestGrowthOfCovering(t *testing.T) {
	look := func(n int) func() {
		var marks []packetfilter.Mark
		var keys []ipvs.ServiceKey
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i << 4)})
			marks = append(marks, packetfilter.Mark{From: a, To: netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i<<4 + 7)}), Protocol: 6, First: 80, Last: 90, Mark: 7})
			keys = append(keys, ipvs.ServiceKey{Addr: netip.AddrPortFrom(a.Next(), 85), Protocol: ipvs.TCP})
		}
		return func() {
			c := newCovering(marks)
			for _, k := range keys {
				if !c.has(k) {
					t.Error(k, "is not covered")
				}
			}
		}
	}
	grows(t, "looking services up", look(fewServers), look(thousands))
}
