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
		addresses, whole := s.Addresses()
		var told []string
		tell := func(format string, args ...any) {
			if n := fmt.Sprintf(format, args...); !slices.Contains(told, n) {
				told = append(told, n)
			}
		}
		for _, server := range servers {
			at := server.Address.Addr()
			switch {
			case !slices.Contains(own, at):
			case server.FullNAT:
				tell("service %s: fullnat needs nothing here", s.Name)
			case server.Forward != ipvs.DR && server.Forward != ipvs.TUN:
				tell("service %s: %s needs nothing here but answers that go back through the directors", s.Name, server.Forward)
			default:
				if !whole {
					tell("service %s goes by a firewall mark, so its addresses are not (all) in the file: add them with --vip", s.Name)
				}
				for _, vip := range addresses {
					if server.Forward == ipvs.TUN || vip.Is4() == at.Is4() {
						seen[Part{VIP: vip, Server: at, Forward: server.Forward, Tunnel: server.Tunnel}] = true
					}
				}
			}
		}
		notes = append(notes, told...)
	}
	return slices.SortedFunc(maps.Keys(seen), Part.compare), notes
}
