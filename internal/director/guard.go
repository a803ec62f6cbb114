package director

import (
	"net/netip"
	"slices"

	"lvsha/internal/config"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// A director that is a server itself gets packets of clients in two ways: as the active
// director, which chooses a server for them, and from the active director, which has
// chosen it. The latter it must not balance again, or a packet goes round between two
// directors. So while it is not active the packet filter marks what is for such a
// service, and IPVS has a service by that mark with this machine alone. Its connections
// are told to other directors as any others: those directors are in it too, with weight
// 0, so that a connection of one leads there when another becomes active.

// guardScheduler has one server to choose from.
const guardScheduler = "rr"

// roles are the addresses of virtual routers, and whether this director is active for
// them.
type roles map[netip.Addr]bool

func rolesOf(cfg *config.Config, active map[vrrp.Key]bool) roles {
	out := make(roles)
	for _, r := range cfg.Routers {
		for _, a := range slices.Concat(r.Addresses, r.Excluded) {
			out[a.Prefix.Addr()] = active[r.Key()]
		}
	}
	return out
}

// idle reports whether another director may be active for an address, and this one is
// not. Of an address without a virtual router nothing is known.
func (r roles) idle(a netip.Addr) bool {
	active, known := r[a]
	return known && !active
}

// isServer reports whether this director is a server of a service.
func isServer(s config.Service) bool {
	return slices.ContainsFunc(s.Servers, func(s config.Server) bool { return s.Self }) || s.Sorry != nil && s.Sorry.Self
}

// guards are the marks of packets that this director is to serve itself.
func guards(cfg *config.Config, r roles) (out []packetfilter.Mark) {
	if !slices.ContainsFunc(cfg.Services, isServer) {
		return nil
	}
	// on are the reaches of one address, by it, and wide those of several.
	on := make(map[netip.Addr][]config.Cover)
	var wide []config.Cover
	for _, s := range cfg.Services {
		for _, c := range s.Reaches() {
			if c.From == c.To {
				on[c.From] = append(on[c.From], c)
			} else {
				wide = append(wide, c)
			}
		}
	}
	for _, s := range cfg.Services {
		if !isServer(s) {
			continue
		}
		for _, c := range s.Reaches() {
			if !r.idle(c.From) {
				continue
			}
			whole := []config.Cover{c}
			if c.First == 0 && len(s.Covers) == 0 {
				// Ports that other services have are theirs.
				others := slices.Concat(on[c.From], wide)
				whole = c.Without(slices.DeleteFunc(others, func(o config.Cover) bool { return o == c }))
			}
			for _, c := range whole {
				out = append(out, packetfilter.Mark{
					From: c.From, To: c.To, Protocol: uint8(c.Protocol), First: c.First, Last: c.Last, Mark: config.DirectorMark,
				})
			}
		}
	}
	return out
}

// guardServices are the services by the mark, one for each family that has any.
func guardServices(cfg *config.Config) (out []ipvs.Service) {
	for _, ipv6 := range []bool{false, true} {
		s := ipvs.Service{Key: ipvs.MarkKey(config.DirectorMark, ipv6), Scheduler: guardScheduler}
		here := false
		for _, svc := range cfg.Services {
			if !isServer(svc) {
				continue
			}
			servers := slices.Clone(svc.Servers)
			if svc.Sorry != nil {
				servers = append(servers, *svc.Sorry)
			}
			for _, server := range servers {
				d := ipvs.Destination{Addr: netip.AddrPortFrom(server.Address.Addr(), 0), Forward: ipvs.DR}
				switch {
				case server.Address.Addr().Is6() != ipv6 || !server.Self && !server.Peer:
					continue
				case server.Self:
					d.Forward, d.Weight, here = ipvs.Local, 1, true
				}
				if !slices.ContainsFunc(s.Destinations, func(o ipvs.Destination) bool { return o.Addr == d.Addr }) {
					s.Destinations = append(s.Destinations, d)
				}
			}
		}
		if here {
			out = append(out, s)
		}
	}
	return out
}
