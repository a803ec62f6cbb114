package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/bfd"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/vrrp"
)

// newBFD makes the engine of the sessions. The death of a peer goes to the virtual
// routers at once, and not through the director.
func (d *Director) newBFD(port bfd.Port) *bfd.Engine {
	return bfd.New(bfd.Options{
		Port: port, Logger: d.log, OnThread: d.opts.VRRPThread,
		OnTransition: func(t bfd.Transition) {
			if t.Failed() {
				d.engine.PeerDown(t.Key.Interface, t.Key.Peer, t.At)
			}
			d.inbox.add(t)
		},
		OnVoided: func(v bfd.Voided) { d.inbox.add(v) },
	})
}

// runBFD runs the sessions. Without them VRRP goes on as it would without a peer
// that has any.
func (d *Director) runBFD(ctx context.Context) error {
	if err := d.bfd.Run(ctx); err != nil {
		d.log.Error("BFD has ended; detection is VRRP's own", "error", err)
		d.event("bfd", "", "ended: "+err.Error())
	}
	return nil
}

// follow has the sessions follow what the virtual routers follow.
func (d *Director) follow(ctx context.Context) {
	if d.bfd == nil {
		return
	}
	cfg := sessions(d.cfg, d.followed)
	d.watchServers(&cfg)
	err := d.bfd.Configure(ctx, cfg)
	if err != nil && !errors.Is(err, bfd.ErrStopped) && ctx.Err() == nil {
		d.log.Error("configuring BFD", "error", err)
	}
}

// sessions are what the file and the virtual routers ask for: a backup watches
// whom it follows, and everybody lets others watch him.
func sessions(cfg *config.Config, followed map[vrrp.Key]vrrp.Followed) bfd.Config {
	if cfg.BFD == nil {
		return bfd.Config{Params: bfd.Params{Interval: time.Second, Multiplier: 3}} // of no session
	}
	out := bfd.Config{Params: *cfg.BFD}
	for _, r := range cfg.Routers {
		f, ok := followed[r.Key()]
		if !ok || !f.Source.IsValid() {
			continue
		}
		network := bfd.LocalNetwork{
			Network: bfd.Network{Interface: f.Key.Interface, IPv6: f.Source.Is6()}, Local: f.Source,
		}
		if !slices.Contains(out.Networks, network) {
			out.Networks = append(out.Networks, network)
		}
		key := bfd.Key{Interface: f.Key.Interface, Local: f.Source, Peer: f.Active}
		if f.Active.IsValid() && !slices.Contains(out.Watch, key) {
			out.Watch = append(out.Watch, key)
		}
	}
	return out
}

// sessionChanged keeps a change of a session as an event.
func (d *Director) sessionChanged(t bfd.Transition) {
	// A check of a server must not wait for its turn to see it.
	d.monitor.Soon(func(target healthcheck.Target) bool {
		return target.Check.Ask == healthcheck.BFD{} && target.Server.Addr() == t.Key.Peer
	})
	level := slog.LevelInfo
	if t.Failed() {
		level = slog.LevelWarn
	}
	peer := d.peerName(t.Key.Peer)
	d.log.Log(context.Background(), level, fmt.Sprintf("BFD session with %s is %s", peer, t.To),
		"interface", t.Key.Interface, "from", t.From.String(), "reason", t.Reason)
	d.events.add(t.At, "bfd", peer, fmt.Sprintf("%s -> %s: %s", t.From, t.To, t.Reason))
}

// sessionVoided keeps a stall of our own as an event.
func (d *Director) sessionVoided(v bfd.Voided) {
	text := fmt.Sprintf("did not run for %s and listens once more", v.Late.Round(time.Millisecond))
	d.log.Warn("BFD "+text, "interface", v.Key.Interface, "peer", v.Key.Peer)
	d.events.add(v.At, "bfd", d.peerName(v.Key.Peer), text)
}

// peerName is how operators know an address: by the director's name, where the
// file has it.
func (d *Director) peerName(a netip.Addr) string {
	for _, other := range d.cfg.Directors {
		if slices.Contains(other.Addresses, a) {
			return fmt.Sprintf("%s (%s)", other.Name, a)
		}
	}
	return a.String()
}

// sessionStatus is what status shows of the sessions, and of packets of none;
// nothing without [bfd].
func (d *Director) sessionStatus(cfg *config.Config) (out []control.BFDSession, dropped map[string]uint64) {
	if d.bfd == nil || cfg.BFD == nil {
		return nil, nil
	}
	all, drops := d.bfd.Snapshot()
	for _, s := range all {
		row := control.BFDSession{
			Interface: s.Key.Interface, Local: s.Key.Local.String(), Peer: s.Key.Peer.String(), State: s.State.String(),
			Since: s.Since, Reason: s.Reason, Diagnostic: s.Diag.String(), RemoteState: s.RemoteState.String(),
			Discriminator: s.Local, RemoteDiscriminator: s.Remote, Watched: s.Watched, Problem: s.Problem,
			Interval: s.Transmission.String(), Detection: s.Detection.String(),
			Counters: map[string]uint64{
				"sent": s.Counters.Sent, "received": s.Counters.Received, "ups": s.Counters.Ups, "downs": s.Counters.Downs,
				"voided": s.Counters.Voided, "false_alarms": s.Counters.FalseAlarms,
			},
		}
		for reason, n := range s.Counters.Dropped {
			row.Counters["dropped_"+string(reason)] = n
		}
		for name, n := range row.Counters {
			if n == 0 {
				delete(row.Counters, name)
			}
		}
		out = append(out, row)
	}
	dropped = make(map[string]uint64, len(drops))
	for reason, n := range drops {
		dropped[string(reason)] = n
	}
	return out, dropped
}
