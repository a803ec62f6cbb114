package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/peer"
	"lvsha/ipvs"
	connsync "lvsha/sync"
	"lvsha/vrrp"
)

const (
	// kindSync is the kind of message that hands connections over.
	kindSync = "sync"
	// syncWindow bounds the octets of connections that are on their way.
	syncWindow = 4 << 20
	// handOverTimeout bounds how long a planned change waits for other directors to
	// take the connections over, and lastTimeout how long it does for the last ones,
	// once the addresses are gone.
	handOverTimeout = 10 * time.Second
	lastTimeout     = 2 * time.Second
)

// syncLink is a session of the channel as the exchange of connections uses it.
type syncLink struct{ *peer.Session }

// Send is part of connsync.Link.
func (l syncLink) Send(ctx context.Context, payload []byte) error {
	return l.Session.Send(ctx, kindSync, payload)
}

// syncKind has the exchange of connections speak over the channel.
func syncKind(exchange *connsync.Exchange) peer.Kind {
	return peer.Kind{
		Name: kindSync, Window: syncWindow,
		Open:  func(s *peer.Session) { exchange.Open(syncLink{s}) },
		Close: func(s *peer.Session) { exchange.Close(syncLink{s}) },
		Compose: func(s *peer.Session) ([]byte, bool) {
			return exchange.Compose(syncLink{s}), false
		},
		Receive: func(ctx context.Context, s *peer.Session, payload []byte) error {
			return exchange.Receive(ctx, syncLink{s}, payload)
		},
	}
}

// newExchange makes the exchange of connections.
func (d *Director) newExchange() *connsync.Exchange {
	return connsync.NewExchange(connsync.ExchangeOptions{
		System: d.opts.Conns,
		Pool:   d.pool,
		Wake:   func() { d.channel.Wake(kindSync) },
		OnWait: d.retrack,
		Tell: func(level slog.Level, from, text string) {
			d.inbox.add(channelEvent{time.Now(), level, "sync", from, text})
		},
	})
}

// pool is what the kernel has of services, or had a moment ago.
func (d *Director) pool(ctx context.Context, now bool) (*connsync.Pool, error) {
	table := d.table.Snapshot()
	if now {
		var err error
		if table, err = d.table.Refresh(ctx); err != nil {
			return nil, err
		}
	}
	if !table.Listed || table.Generation == 0 {
		return nil, errors.New("the services are not in the kernel yet")
	}
	d.mu.Lock()
	covers := coversByMark(d.cfg)
	d.mu.Unlock()
	services := make([]connsync.Service, 0, len(table.Services)+len(table.Foreign))
	for _, list := range [][]ipvs.Service{table.Services, table.Foreign} {
		for _, s := range list {
			if s.Key.Mark >= config.FirstCheckMark && s.Key.Mark <= config.LastCheckMark {
				continue // its connections end with the checks
			}
			services = append(services, poolService(s, covers))
		}
	}
	return connsync.NewPool(services), nil
}

// coversByMark are the addresses and ports that lvsha itself gives the marks of services,
// whatever the role: a backup has their connections from others. What the guard of a
// director that is a server marks is another service's, by which it is found.
func coversByMark(cfg *config.Config) map[ipvs.ServiceKey][]connsync.Cover {
	out := make(map[ipvs.ServiceKey][]connsync.Cover)
	if cfg == nil {
		return out
	}
	for _, s := range cfg.Services {
		for _, m := range marks(s) {
			key := ipvs.MarkKey(m.Mark, m.From.Is6())
			out[key] = append(out[key], connsync.Cover{From: m.From, To: m.To, Protocol: m.Protocol, First: m.First, Last: m.Last})
		}
	}
	return out
}

// poolService is a service with what is known of what leads to it.
func poolService(s ipvs.Service, covers map[ipvs.ServiceKey][]connsync.Cover) connsync.Service {
	out := syncService(s)
	out.Covers = covers[s.Key]
	out.Covered = s.Key.Mark == config.DirectorMark || len(out.Covers) > 0
	return out
}

func syncService(s ipvs.Service) connsync.Service {
	out := connsync.Service{
		Protocol: uint8(s.Key.Protocol), Virtual: s.Key.Addr, Mark: s.Key.Mark, Persistence: s.Persistence,
		Servers: make([]connsync.Server, len(s.Destinations)),
	}
	for i, to := range s.Destinations {
		out.Servers[i] = connsync.Server{Addr: to.Addr, Forward: syncForward(to.Forward), Active: to.Active, Inactive: to.Inactive, Templates: to.Templates}
	}
	return out
}

func syncForward(f ipvs.Forward) connsync.Flags {
	switch f {
	case ipvs.DR:
		return connsync.ForwardDR
	case ipvs.TUN:
		return connsync.ForwardTUN
	case ipvs.NAT:
		return connsync.ForwardNAT
	default:
		return connsync.ForwardLocal
	}
}

// exchangeConfig is what the file says about the exchange of connections beside these
// sync daemons.
func (d *Director) exchangeConfig(cfg *config.Config, daemons []connsync.Daemon) connsync.ExchangeConfig {
	if cfg.Sync == nil {
		return connsync.ExchangeConfig{Off: "the file has no [sync]"}
	}
	out := connsync.ExchangeConfig{
		On: true, Daemons: daemons, Transport: cfg.Sync.Transport, Gate: cfg.Sync.Gate, Refresh: d.syncRefresh(),
		TemplatesOnly: cfg.Sync.TemplatesOnly,
	}
	if cfg.Channel.Key != nil {
		for _, o := range cfg.Directors {
			if o.Name != cfg.Director && !o.Pin.IsZero() {
				out.Others = append(out.Others, o.Name)
			}
		}
	}
	if len(out.Others) == 0 {
		out.On, out.Off = false, "there is no channel to another director to take connections over (lvsha key)"
	}
	return out
}

// syncRefresh is after what time the kernel tells again of a connection that goes
// on, by its present settings; zero where it counts packets.
func (d *Director) syncRefresh() time.Duration {
	if d.opts.Routing == nil {
		return 0
	}
	threshold, err := d.opts.Routing.Sysctl("net/ipv4/vs/sync_threshold")
	if err != nil {
		return 0
	}
	period, err := d.opts.Routing.Sysctl("net/ipv4/vs/sync_refresh_period")
	if err != nil {
		return 0
	}
	f := strings.Fields(threshold)
	if len(f) != 2 || f[1] != "0" {
		return 0
	}
	refresh, err := time.ParseDuration(period + "s")
	if err != nil {
		return 0
	}
	return refresh
}

// serveNow tells the exchange of connections which virtual addresses are here.
func (d *Director) serveNow() {
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	var here []netip.Addr
	for _, s := range d.engine.Snapshot() {
		if s.State != vrrp.Active && s.State != vrrp.Leaving {
			continue
		}
		for _, r := range cfg.Routers {
			if r.Key() != s.Key {
				continue
			}
			for _, a := range r.Placed() {
				here = append(here, a.Prefix.Addr())
			}
		}
	}
	d.exchange.Serves(here)
}

// handOver has the others know all connections of this director, ahead of a change
// that is planned. A channel that is closed ends the waiting.
func (d *Director) handOver(ctx context.Context, hurry <-chan struct{}) {
	if !d.syncsForOthers() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel()
		<-watched
	}()
	err := d.exchange.HandOver(ctx)
	if err == nil {
		return
	}
	if !errors.Is(err, connsync.ErrNobody) && !errors.Is(err, context.Canceled) {
		d.log.Warn("handing connections over", "error", err)
		d.event("sync", "", err.Error())
	}
	// The kernel's own daemon is slower; an end of ctx is an answer too.
	_ = pause(ctx, syncBatch)
}

// hasSync reports whether this director sends its connections to others at all.
func (d *Director) hasSync() bool {
	return slices.Contains(d.daemons.Snapshot().Daemons, connsync.Master.String())
}

// handOverLast has the others know the connections that came while the addresses
// moved.
func (d *Director) handOverLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	if err := d.exchange.HandOver(ctx); err != nil && !errors.Is(err, connsync.ErrNobody) {
		d.log.Warn("handing the last connections over", "error", err)
	}
}

// handOverMoved has the others know the connections that came while addresses moved to
// them, whenever they do.
func (d *Director) handOverMoved(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.moved:
			if d.hasSync() {
				d.handOverLast(ctx)
			}
		}
	}
}

// exchangeStatus shows the exchange of connections.
func exchangeStatus(out *control.Sync, s connsync.ExchangeStatus) (problems []string) {
	switch off, isOff := strings.CutPrefix(s.State, "off: "); {
	case out.State != "running":
	case isOff:
		out.State += "; whole tables are not taken over: " + off
	default:
		out.State = s.State
	}
	out.Waiting, out.Transport, out.Queue, out.Dropped = s.Waiting, string(s.Transport), s.Queue, s.Dropped
	out.Known = s.Shadow
	out.Partners = []control.SyncPartner{}
	for _, p := range s.Partners {
		row := control.SyncPartner{
			Name: p.Name, Connected: p.Connected, Conns: p.Conns, SameServices: p.SamePool, Heard: p.Heard, Received: p.Received, Sent: p.Sent,
		}
		row.Serves = p.Serves
		if verified := p.Verified(); !verified.IsZero() {
			row.Verified = &verified
		}
		if p.Last != nil {
			row.Last = syncResult(*p.Last)
			out.Missing, out.Extra, out.Unbound = out.Missing+p.Last.Missing+p.Last.Wrong, out.Extra+p.Last.Extra, out.Unbound+p.Last.Unbound
		}
		out.Partners = append(out.Partners, row)
	}
	out.Verified = allVerified(out.Partners)
	for _, p := range s.Problems {
		problems = append(problems, "sync: "+p)
	}
	if strings.HasPrefix(s.State, "differs: ") {
		problems = append(problems, "sync "+s.State)
	}
	return problems
}

// allVerified is when the table of the last of the partners that are connected was found to
// be here; nil if that of one never was.
func allVerified(partners []control.SyncPartner) (at *time.Time) {
	for _, p := range partners {
		switch {
		case !p.Connected:
		case p.Verified == nil:
			return nil
		case at == nil || p.Verified.Before(*at):
			at = p.Verified
		}
	}
	return at
}

func syncResult(r connsync.Result) *control.SyncResult {
	return &control.SyncResult{
		From: r.Peer, Why: r.Why, Records: r.Records, Installed: r.Installed, Missing: r.Missing, Extra: r.Extra, Wrong: r.Wrong,
		Unbound: r.Unbound, Removed: r.Removed, Unknown: r.Unknown, Compared: r.Compared, Repeated: r.Repeated, Problem: r.Problem, Began: r.Began,
		Waiting: r.Waiting.String(), Taking: r.Taking.String(), Looking: r.Looking.String(), Text: r.String(),
	}
}

// Resync is part of control.Daemon.
func (d *Director) Resync(ctx context.Context, ask control.ResyncRequest) (control.SyncResult, error) {
	r, err := d.exchange.Resync(ctx, ask.From, ask.Compare)
	if err != nil {
		return control.SyncResult{}, fmt.Errorf("comparing connections: %w", err)
	}
	return *syncResult(r), nil
}
