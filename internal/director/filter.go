package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/packetfilter"
	"lvsha/ipvs"
	connsync "lvsha/sync"
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
		out.Sync = &packetfilter.Sync{Interface: p.Interface, Group: p.Group, Peers: p.Peers, Own: connsync.IntakeMark}
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
	for i := range len(s.Servers) + 1 {
		server := s.Sorry
		if i < len(s.Servers) {
			server = &s.Servers[i]
		}
		if server == nil || !server.FullNAT {
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

// changeTimeout bounds how long a step of a change waits for the one before.
const changeTimeout = 5 * time.Second

// changeOver has IPVS and the packet filter follow a file. was is what the packet filter
// had. Where packets get other marks they must find a service before and after: so the
// new services come first, beside the old ones, then the marks, and then the old ones
// go. Source addresses are there before the servers that need them.
//
// At the start was says nothing. What the last process has left goes the same way, but
// that services with full NAT wait for their source addresses, which cannot be added to
// marks that are not known.
func (d *Director) changeOver(ctx context.Context, was packetfilter.Rules) {
	d.mu.Lock()
	next, running := d.rules(), d.generation > 1 && !d.flushing
	d.mu.Unlock()
	left := d.left
	d.left = Record{}
	await := func(applied func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, changeTimeout)
		defer cancel()
		if err := applied(ctx); err != nil {
			d.log.Debug("a change does not wait for the step before it", "error", err)
		}
	}
	if running && !slices.Equal(was.Marks, next.Marks) {
		if !slices.Equal(was.Sources, next.Sources) {
			both := was
			both.Sources, both.Exempt = slices.Concat(was.Sources, next.Sources), next.Exempt
			d.filter.Set(both)
			await(d.filter.Settled)
		}
		d.keepWhile(d.table.Snapshot().Services, nil, await)
	}
	if !running && len(left.Services) > 0 && (left.Filter || len(next.Marks) > 0) {
		ours := make(map[ipvs.ServiceKey]bool, len(left.Services))
		for _, k := range left.Services {
			ours[k] = true
		}
		found := slices.DeleteFunc(d.kernelTable(), func(s ipvs.Service) bool { return !ours[s.Key] })
		waits := make(map[ipvs.ServiceKey]bool)
		for _, s := range d.cfg.Services {
			for _, listen := range s.Listen {
				waits[listen] = len(sourceAddresses(s)) > 0
			}
		}
		d.keepWhile(found, waits, await)
	}
	if !running || !was.Equal(next) {
		d.wantFilter()
		await(d.filter.Settled)
	}
	if running && (len(d.lingering.services) > 0 || !slices.Equal(was.Marks, next.Marks)) {
		d.mu.Lock()
		wanted := make(map[ipvs.ServiceKey]bool)
		for _, s := range d.judged() {
			wanted[s.Key] = true
		}
		d.lingering.follow(time.Now(), d.table.Snapshot().Services, wanted, was.Marks, next.Marks)
		d.mu.Unlock()
	}
	d.want()
}

// keepWhile has the new services beside others, those excepted that wait, and waits until
// they are there.
func (d *Director) keepWhile(kept []ipvs.Service, waits map[ipvs.ServiceKey]bool, await func(func(context.Context) error)) {
	d.kept, d.waits = kept, waits
	d.want()
	await(func(ctx context.Context) error { return d.table.Applied(ctx, d.tables) })
	d.kept, d.waits = nil, nil
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
		d.filter.Set(d.rules())
	}
}

// rules are what the packet filter is to have. The caller holds mu.
func (d *Director) rules() packetfilter.Rules {
	out := filterRules(d.cfg, rolesOf(d.cfg, d.active))
	out.Sources = append(out.Sources, d.judging.leavingSources()...)
	return out
}
