package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/packetfilter"
)

// filterRules are what the services of a file need of the packet filter, in the roles
// that this director has.
func filterRules(cfg *config.Config, r roles) (out packetfilter.Rules) {
	out.Marks = guards(cfg, r)
	for _, s := range cfg.Services {
		for _, m := range marks(s) {
			if !isServer(s) || !r.idle(m.From) {
				out.Marks = append(out.Marks, m)
			}
		}
		out.Sources = append(out.Sources, sourceAddresses(s)...)
	}
	if p := cfg.Protection; p != nil {
		out.Sync = &packetfilter.Sync{Interface: p.Interface, Group: p.Group, Peers: p.Peers}
	}
	if len(out.Sources) > 0 {
		// A probe through a service comes from this director's own address, and its
		// answer has to get back here, also to a backup.
		out.Exempt = packetfilter.Masked{Mark: config.FirstCheckMark, Mask: ^uint32(config.LastCheckMark - config.FirstCheckMark)}
	}
	return out
}

// sourceAddresses are where the connections with servers of full NAT come from.
func sourceAddresses(s config.Service) (out []packetfilter.Source) {
	servers := slices.Clone(s.Servers)
	if s.Sorry != nil {
		servers = append(servers, *s.Sorry)
	}
	for _, server := range servers {
		if !server.FullNAT {
			continue
		}
		for _, listen := range s.Listen {
			source := packetfilter.Source{Pool: packetfilter.Pool(server.Source), Server: server.Address.Addr(), Mark: listen.Mark}
			if listen.Mark == 0 {
				source.Addr, source.Protocol = listen.Addr.Addr(), uint8(listen.Protocol)
			}
			out = append(out, source)
		}
	}
	return out
}

// marks lead what a service covers to it.
func marks(s config.Service) (out []packetfilter.Mark) {
	for _, c := range s.Covers {
		for _, listen := range s.Listen {
			if listen.Addr.Addr().Is6() == c.From.Is6() {
				out = append(out, packetfilter.Mark{
					From: c.From, To: c.To, Protocol: uint8(c.Protocol), First: c.First, Last: c.Last, Mark: listen.Mark,
				})
			}
		}
	}
	return out
}

// filterTimeout bounds how long services wait for the packet filter.
const filterTimeout = 500 * time.Millisecond

// awaitFilter waits until the packet filter is as wanted, or cannot be. A mark without a
// service by it does no harm, and neither does a source address: packets go to the service
// of their address and port. The other way round, one that is given up for a service by
// mark would be missed until its packets have that.
func (d *Director) awaitFilter(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, filterTimeout)
	defer cancel()
	if err := d.filter.Applied(ctx); err != nil {
		d.log.Debug("services do not wait for the packet filter", "error", err)
	}
}

// protectionProblems are the other directors that are not where their sync messages are to
// come from: all that they tell is dropped.
func protectionProblems(cfg *config.Config, n Routing) (out []string) {
	p := cfg.Protection
	if p == nil || n == nil {
		return nil
	}
	for _, peer := range p.Peers {
		to, err := routeTo(n, peer)
		if err != nil || to.local || to.ifname == p.Interface {
			continue
		}
		out = append(out, fmt.Sprintf("sync: protect lets in %s on %s, and this machine has it on %s: list the addresses that the other directors have on %[2]s", peer, p.Interface, to.ifname))
	}
	return out
}

// wantFilter hands the rules to the packet filter's reconciler, unless everything is
// being given up.
func (d *Director) wantFilter() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.flushing {
		d.filter.Set(filterRules(d.cfg, rolesOf(d.cfg, d.active)))
	}
}
