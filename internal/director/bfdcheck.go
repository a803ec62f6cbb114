package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"lvsha/healthcheck"
	"lvsha/internal/bfd"
)

// noSession asks for the sessions with servers to be looked after: one is missing.
type noSession struct{}

// prepare readies the questions that the director answers itself.
func (d *Director) prepare(q healthcheck.Question) (healthcheck.ProbeFunc, error) {
	if _, ok := q.(healthcheck.BFD); ok {
		return d.askBFD, nil
	}
	if d.opts.Prepare != nil {
		return d.opts.Prepare(q)
	}
	return q.Prepare()
}

// askBFD says how the session with a server is.
func (d *Director) askBFD(_ context.Context, t healthcheck.Target) (healthcheck.Answer, error) {
	if d.bfd == nil {
		return healthcheck.Answer{}, fmt.Errorf("%w: there is no network for BFD", healthcheck.ErrInconclusive)
	}
	all, _ := d.bfd.Snapshot()
	i := slices.IndexFunc(all, func(s bfd.Status) bool { return s.Watched && s.Key.Peer == t.Server.Addr() })
	switch {
	case i < 0:
		d.inbox.add(noSession{})
		return healthcheck.Answer{}, fmt.Errorf("%w: no way to %s is known", healthcheck.ErrInconclusive, t.Server.Addr())
	case all[i].State == bfd.Up:
		return healthcheck.Answer{Detail: "BFD session is up"}, nil
	case all[i].Problem != "":
		return healthcheck.Answer{}, fmt.Errorf("%w: %s", healthcheck.ErrInconclusive, all[i].Problem)
	}
	return healthcheck.Answer{}, errors.New("BFD session is " + all[i].State.String() + ": " + all[i].Reason)
}

// watchServers adds the sessions with servers that a check is about. A server that
// cannot be reached now is left out; its check asks again.
func (d *Director) watchServers(out *bfd.Config) {
	if d.cfg.BFD == nil || d.opts.LocalTo == nil {
		return
	}
	seen := make(map[netip.Addr]bool)
	for _, s := range d.cfg.Services {
		for _, server := range s.Servers {
			peer := server.Address.Addr()
			if seen[peer] || !slices.ContainsFunc(server.Checks, func(c healthcheck.Check) bool { return c.Ask == healthcheck.BFD{} }) {
				continue
			}
			seen[peer] = true
			iface, local, err := d.opts.LocalTo(peer)
			if err != nil {
				continue
			}
			network := bfd.LocalNetwork{Network: bfd.Network{Interface: iface, IPv6: local.Is6()}, Local: local}
			if !slices.Contains(out.Networks, network) {
				out.Networks = append(out.Networks, network)
			}
			if key := (bfd.Key{Interface: iface, Local: local, Peer: peer}); !slices.Contains(out.Watch, key) {
				out.Watch = append(out.Watch, key)
			}
		}
	}
}
