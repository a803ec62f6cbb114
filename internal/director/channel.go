package director

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/peer"
	connsync "lvsha/sync"
)

const (
	// kindHealth is the kind of message that tells what is seen of the servers.
	kindHealth = "health"
	// compareGap is the least time between two looks, and compareAgain the most,
	// for reasons change without a change of state.
	compareGap   = 200 * time.Millisecond
	compareAgain = 10 * time.Second
	// absent is how long a director may be without a connection before it is a
	// problem: a restart is over sooner.
	absent = 5 * time.Second
)

// channel is this director's end of the channel to the others, with what they
// compare over it.
type channel struct {
	*peer.Channel
	monitor *healthcheck.Monitor
	// tell keeps what happened as an event, from any goroutine.
	tell func(channelEvent)
	// heard is called when another director has told something, or is gone, from any
	// goroutine.
	heard func()
	wake  chan struct{} // capacity 1: something may differ

	mu      sync.Mutex // guards compare
	compare *comparison
}

// channelEvent is something to keep, of the inbox.
type channelEvent struct {
	at           time.Time
	level        slog.Level
	kind, object string
	text         string
}

// newChannel makes the channel. Nothing of it waits for VRRP, nor VRRP for it.
func newChannel(opts Options, monitor *healthcheck.Monitor, exchange *connsync.Exchange, tell func(channelEvent), heard func()) *channel {
	c := &channel{monitor: monitor, tell: tell, heard: heard, wake: make(chan struct{}, 1), compare: newComparison()}
	c.Channel = peer.New(peer.Options{
		Network: opts.Network, Version: opts.Version, Logger: opts.Logger,
		Kinds: []peer.Kind{{
			Name: kindHealth,
			Open: func(s *peer.Session) {
				c.mu.Lock()
				c.compare.open(s.Peer(), s)
				c.mu.Unlock()
				c.touch()
			},
			Close: c.closed,
			Compose: func(s *peer.Session) ([]byte, bool) {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.compare.compose(s.Peer())
			},
			Receive: func(_ context.Context, s *peer.Session, payload []byte) error {
				defer c.touch()
				c.mu.Lock()
				err := c.compare.receive(s.Peer(), s, payload)
				c.mu.Unlock()
				c.heard()
				return err
			},
		}, syncKind(exchange)},
		OnChange: func(change peer.Change) {
			level := slog.LevelWarn
			if change.Connected {
				level = slog.LevelInfo
			}
			tell(channelEvent{change.At, level, "channel", change.Peer, change.Text})
		},
	})
	return c
}

// closed forgets what a director saw.
func (c *channel) closed(s *peer.Session) {
	c.mu.Lock()
	c.compare.keep(s.Peer(), s, time.Now())
	n := c.compare.shut(s.Peer(), s)
	c.mu.Unlock()
	c.heard()
	if n > 0 {
		c.tell(channelEvent{time.Now(), slog.LevelInfo, "compare", s.Peer(), fmt.Sprintf("%s no longer compared, seen differently until now", plural(n, "server"))})
	}
}

// alone reports whether every other director of the file has said that it gave
// everything up, and none is back.
func (c *channel) alone() bool {
	peers := c.Snapshot().Peers
	return len(peers) > 0 && !slices.ContainsFunc(peers, func(p peer.PeerStatus) bool { return !p.Left })
}

// elsewhere names a connected director that runs another file than this one; empty when
// none does.
func (c *channel) elsewhere(hash string) string {
	for _, p := range c.Snapshot().Peers {
		if p.Connected && p.Hello.File != hash {
			return p.Name
		}
	}
	return ""
}

// opinions are what the other directors know of hosts.
func (c *channel) opinions(hosts [][]string) []healthcheck.Opinion {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compare.opinions(hosts)
}

// touch has what is seen compared again, soon.
func (c *channel) touch() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// runComparison compares whenever something has changed, but not too often.
func (c *channel) runComparison(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		wait := c.look(time.Now())
		gap := time.NewTimer(compareGap)
		select {
		case <-ctx.Done():
			gap.Stop()
			return nil
		case <-gap.C:
		}
		timer.Reset(max(wait-compareGap, 0))
	}
}

// look compares, tells the others what is new, and says when to look again.
func (c *channel) look(now time.Time) time.Duration {
	c.mu.Lock()
	alone := len(c.compare.others) == 0
	if alone {
		c.compare.own = nil // it would be old when somebody comes
	}
	c.mu.Unlock()
	if alone {
		return time.Hour
	}
	own := observe(c.monitor.Snapshot())
	c.mu.Lock()
	c.compare.own = own
	events, next := c.compare.look(now)
	c.mu.Unlock()
	c.Wake(kindHealth)
	c.report(now, events)
	if next.IsZero() {
		return compareAgain
	}
	return min(next.Sub(now), compareAgain)
}

// report keeps differences as events, many of one director as one.
func (c *channel) report(now time.Time, events []verdictEvent) {
	const many = 5
	for len(events) > 0 {
		name, begins := events[0].director, events[0].begins
		same := func(e verdictEvent) bool { return e.director == name && e.begins == begins }
		var group, rest []verdictEvent
		for _, e := range events {
			if same(e) {
				group = append(group, e)
			} else {
				rest = append(rest, e)
			}
		}
		events = rest
		switch {
		case len(group) > many && begins:
			c.tell(channelEvent{now, slog.LevelWarn, "compare", name, summary(name, group)})
		case len(group) > many:
			c.tell(channelEvent{now, slog.LevelInfo, "compare", name, fmt.Sprintf("%d servers are no longer seen differently", len(group))})
		default:
			for _, e := range group {
				if begins {
					c.tell(channelEvent{now, slog.LevelWarn, "compare", e.ours.server, e.sentence()})
				} else {
					c.tell(channelEvent{now, slog.LevelInfo, "compare", e.server(), e.over()})
				}
			}
		}
	}
}

// server is what operators know a target by, as long as it is known.
func (e verdictEvent) server() string {
	if e.ours.server == "" {
		return e.id
	}
	return e.ours.server
}

// over is the end of a difference in words.
func (e verdictEvent) over() string {
	if e.ours.State == "" || e.theirs.State == "" {
		return fmt.Sprintf("is no longer compared with %s", e.director)
	}
	return fmt.Sprintf("is %s here (%s) and %s on %s (%s): no difference any more", e.ours.State, e.ours.Reason, e.theirs.State, e.director, e.theirs.Reason)
}

// channelConfig is what the file says about the channel.
func channelConfig(cfg *config.Config) peer.Config {
	out := peer.Config{Name: cfg.Director, Key: cfg.Channel.Key, File: cfg.Hash}
	for _, d := range cfg.Directors {
		if d.Name == cfg.Director {
			out.Addresses, out.Port = d.Addresses, d.Port
			continue
		}
		out.Peers = append(out.Peers, peer.Peer{Name: d.Name, Pin: d.Pin, Addresses: d.Addresses, Port: d.Port})
	}
	return out
}

// PeerView is what the other directors see of a target, those that are connected
// and have it. It decides nothing.
func (d *Director) PeerView(t healthcheck.Target) []View {
	d.channel.mu.Lock()
	defer d.channel.mu.Unlock()
	return d.channel.compare.views(targetID(t))
}

// addViews adds what the other directors make of the servers of a service, by the same
// checks, by name; nothing where one of them does not know a check.
func (d *Director) addViews(s *config.Service, shows *shownService) {
	d.channel.mu.Lock()
	defer d.channel.mu.Unlock()
	if len(d.channel.compare.others) == 0 {
		return
	}
	for i, from := range shows.from {
		if len(from.server.shows.checks) > 0 {
			shows.Servers[i].Peers = d.channel.compare.serverViews(s.Require, from.server)
		}
	}
}

// serverViews are those of one server, which has checks. They are shared, and must not be
// written to.
func (c *comparison) serverViews(require healthcheck.Require, server *judgedServer) map[string]control.ServerView {
	if of := server.shows.views; of.told != c.told {
		of.told, of.views = c.told, c.viewsAnew(require, server)
	}
	return server.shows.views.views
}

func (c *comparison) viewsAnew(require healthcheck.Require, server *judgedServer) (out map[string]control.ServerView) {
	verdicts, weights := make([]healthcheck.Verdict, 0, 4), make([]int, 0, 4)
	for name, o := range c.others {
		complete := true
		verdicts, weights = verdicts[:0], weights[:0]
		for i := range server.shows.checks {
			v, has := o.sees[server.shows.checks[i].id]
			complete = complete && has
			verdicts, weights = append(verdicts, v.verdict()), append(weights, server.Checks[i].Weight)
		}
		if !complete {
			continue
		}
		verdict := require.Combine(verdicts, weights...)
		if out == nil {
			out = make(map[string]control.ServerView)
		}
		out[name] = control.ServerView{State: verdict.State.String(), Since: verdict.Since, Reason: verdict.Reason}
	}
	return out
}

// channelStatus is what status shows of the channel, and what a person should look
// at; nothing where the file names no other director.
func (d *Director) channelStatus(cfg *config.Config) (out *control.Channel, problems []string) {
	if len(cfg.Directors) < 2 {
		return nil, nil
	}
	now, s := time.Now(), d.channel.Snapshot()
	out = &control.Channel{State: "on", Key: s.Pin.String(), Listening: []string{}, Peers: []control.ChannelPeer{}}
	own := cfg.Directors[slices.IndexFunc(cfg.Directors, func(o config.Director) bool { return o.Name == cfg.Director })]
	keyed := slices.ContainsFunc(cfg.Directors, func(o config.Director) bool { return !o.Pin.IsZero() })
	off := func(reason string, problem bool) (*control.Channel, []string) {
		out.State, out.Reason = "off", reason
		if problem {
			problems = append(problems, "the channel to other directors is off: "+reason)
		}
		return out, problems
	}
	switch {
	case !keyed:
		return off("no key in the file (lvsha key)", false)
	case own.Pin.IsZero():
		return off(fmt.Sprintf("no key of [director.%s] in the file (lvsha key)", cfg.Director), false)
	case cfg.Channel.Key == nil:
		return off(cfg.Channel.Problem, true)
	case s.Problem != "":
		return off(s.Problem, true)
	case len(own.Addresses) == 0:
		return off(fmt.Sprintf("[director.%s] has no address", cfg.Director), true)
	}
	for _, l := range s.Listeners {
		out.Listening = append(out.Listening, l.Address.String())
		if l.Problem != "" {
			problems = append(problems, fmt.Sprintf("the channel does not listen on %s: %s", l.Address, l.Problem))
		}
	}
	for why, n := range s.Refused {
		if out.Refused == nil {
			out.Refused = make(map[string]uint64)
		}
		out.Refused[string(why)] = n
	}
	d.channel.mu.Lock()
	defer d.channel.mu.Unlock()
	for _, p := range s.Peers {
		row, problem := d.channelPeer(cfg, p, now)
		out.Peers = append(out.Peers, row)
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	return out, append(problems, d.channel.compare.differences()...)
}

// channelPeer is one other director. The caller holds the channel's lock.
func (d *Director) channelPeer(cfg *config.Config, p peer.PeerStatus, now time.Time) (row control.ChannelPeer, problem string) {
	row = control.ChannelPeer{
		Name: p.Name, State: "connecting", Since: p.Since, Reason: p.Problem,
		Restarts: p.Restarts, Connections: p.Sessions, WrongKeys: p.WrongKeys, FailedHandshakes: p.Failed,
		Sent: p.Sent, Received: p.Received, Ignored: p.UnknownKinds + p.UnknownFrames,
	}
	numbers, has := d.channel.compare.numbers(p.Name)
	row.DifferencesTotal = numbers.total
	switch {
	case !p.Keyed:
		row.State = "no key"
	case !p.Connected && (p.Urgent || now.Sub(p.Since) >= absent):
		problem = fmt.Sprintf("no channel to %s: %s", p.Name, p.Problem)
	case p.Connected:
		row.State, row.Reason, row.Remote = "connected", "", p.Remote.String()
		row.Version, row.Epoch = p.Hello.Version, p.Hello.Epoch
		same := p.Hello.File == cfg.Hash
		row.SameFile, row.LastHeard = &same, &p.Heard
		if has {
			row.Compared, row.Differences = numbers.both, numbers.differ
			if numbers.whole {
				row.NotCompared = numbers.alone
			}
		}
		if !same {
			problem = fmt.Sprintf("%s runs another file", p.Name)
			if row.NotCompared > 0 {
				problem += fmt.Sprintf(": %s of only one of the two, not compared", plural(row.NotCompared, "check"))
			}
		}
	}
	return row, problem
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// channelHappened keeps an event of the channel.
func (d *Director) channelHappened(e channelEvent) {
	d.log.Log(context.Background(), e.level, fmt.Sprintf("%s %s: %s", e.kind, e.object, e.text))
	d.events.add(e.at, e.kind, e.object, e.text)
}
