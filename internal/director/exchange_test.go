package director

import (
	"net/netip"
	"testing"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// TestPoolCovers: of a connection that the kernel's listing shows the file says which
// firewall mark it came by, whether lvsha or the file chose it, and though another service
// has the server too, as the guard of a director that is a server has.
func TestPoolCovers(t *testing.T) {
	const file = filterFile + `
[service.chosen]
listen = ["192.0.2.10:9000-9999/tcp"]
mark = "auto"
forward = "nat"
[[service.chosen.server]]
address = "192.0.2.2"
`
	cfg := parse(t, file)
	covers := coversByMark(cfg)
	var services []connsync.Service
	var chosen uint32
	for _, s := range cfg.Services {
		for _, key := range s.Listen {
			service := ipvs.Service{Key: key}
			for _, server := range s.Servers {
				service.Destinations = append(service.Destinations, ipvs.Destination{Addr: server.At(key), Forward: server.Forward})
			}
			services = append(services, poolService(service, covers))
			if s.Name == "chosen" {
				chosen = key.Mark
			}
		}
	}
	for _, s := range guardServices(cfg) {
		services = append(services, poolService(s, covers))
	}
	pool := connsync.NewPool(services)
	if chosen < config.FirstAutoMark || len(guardServices(cfg)) != 1 {
		t.Fatalf("mark %#x, %d guards", chosen, len(guardServices(cfg)))
	}
	for _, c := range []struct {
		virtual, server string
		protocol        uint8
		mark            uint32
		forward         connsync.Flags
	}{
		{"192.0.2.10:443", "192.0.2.2:443", 6, 7, connsync.ForwardDR},
		{"192.0.2.10:8500", "192.0.2.2:8500", 17, 7, connsync.ForwardDR},
		{"192.0.2.10:9500", "192.0.2.2:9500", 6, chosen, connsync.ForwardNAT},
		{"192.0.2.10:80", "192.0.2.1:80", 6, 0, connsync.ForwardLocal},
	} {
		conn := connsync.Conn{
			Key:    connsync.ConnKey{Protocol: c.protocol, Client: netip.MustParseAddrPort("192.0.2.9:40000"), Virtual: netip.MustParseAddrPort(c.virtual)},
			Server: netip.MustParseAddrPort(c.server), State: uint16(c.protocol % 17 / 6), // ESTABLISHED, and none of UDP
		}
		r, why := pool.Record(conn, nil)
		if why != 0 || r.Mark != c.mark || r.Flags&connsync.ForwardMask != c.forward {
			t.Errorf("%s at %s: unfit %d, %+v; want mark %#x, flags %#x", c.virtual, c.server, why, r, c.mark, c.forward)
		}
	}
}

// TestAllVerified: a table is as old as the oldest that it is compared with.
func TestAllVerified(t *testing.T) {
	now := time.Now()
	old, older := now.Add(-time.Minute), now.Add(-time.Hour)
	partner := func(at *time.Time, connected bool) control.SyncPartner {
		return control.SyncPartner{Connected: connected, Verified: at}
	}
	for _, c := range []struct {
		partners []control.SyncPartner
		want     *time.Time
	}{
		{nil, nil},
		{[]control.SyncPartner{partner(&old, true), partner(&older, true), partner(&now, true)}, &older},
		{[]control.SyncPartner{partner(&old, true), partner(&older, false)}, &old},
		{[]control.SyncPartner{partner(&old, true), partner(nil, true)}, nil},
		{[]control.SyncPartner{partner(&old, true), partner(nil, false)}, &old},
	} {
		if got := allVerified(c.partners); got != c.want {
			t.Errorf("of %+v it is %v, want %v", c.partners, got, c.want)
		}
	}
}
