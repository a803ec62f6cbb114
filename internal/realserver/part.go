package realserver

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"lvsha/internal/config"
	"lvsha/ipvs"
)

// Part is what one virtual address asks of this server.
type Part struct {
	VIP netip.Addr
	// Server is the address by which the directors know this server. It may be of
	// another family under TUN.
	Server netip.Addr
	// Forward is DR or TUN.
	Forward ipvs.Forward
	// Tunnel is how packets are wrapped under TUN.
	Tunnel ipvs.Tunnel
}

func (p Part) compare(o Part) int {
	return cmp.Or(p.VIP.Compare(o.VIP), p.Server.Compare(o.Server), cmp.Compare(p.Forward, o.Forward), cmp.Compare(p.Tunnel.String(), o.Tunnel.String()))
}

// Parts are what the services of a file ask of the server with some addresses, sorted,
// each once. The notes are what it has to be told besides, a sentence each.
func Parts(cfg *config.Config, own []netip.Addr) (parts []Part, notes []string) {
	seen := make(map[Part]bool)
	for _, s := range cfg.Services {
		servers := s.Servers
		if s.Sorry != nil {
			servers = append(slices.Clone(servers), *s.Sorry)
		}
		noted := false
		for _, server := range servers {
			at := server.Address.Addr()
			if !slices.Contains(own, at) {
				continue
			}
			for _, l := range s.Listen {
				switch {
				case server.Forward != ipvs.DR && server.Forward != ipvs.TUN:
					if !noted {
						notes = append(notes, fmt.Sprintf("service %s: %s needs nothing here but answers that go back through the directors", s.Name, server.Forward))
					}
					noted = true
				case l.Mark != 0:
					if !noted {
						notes = append(notes, fmt.Sprintf("service %s goes by firewall mark, so its addresses are not in the file: add them with --vip", s.Name))
					}
					noted = true
				default:
					seen[Part{VIP: l.Addr.Addr(), Server: at, Forward: server.Forward, Tunnel: server.Tunnel}] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), Part.compare), notes
}
