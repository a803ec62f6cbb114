package director

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/track"
	"lvsha/vrrp"
)

// retrack tells the virtual routers what the conditions they depend on add up to.
// It waits for nothing, and may be called from any goroutine.
func (d *Director) retrack() { d.retrackAhead(nil) }

// retrackAhead is retrack before another file is applied, if that is not nil: what that
// says of the other directors is not so yet.
func (d *Director) retrackAhead(next *config.Config) {
	// One at a time, so that the last one to tell has seen the newest file.
	d.tracking.Lock()
	defer d.tracking.Unlock()
	d.mu.Lock()
	cfg, doubt := d.cfg, d.judging.doubted.Why
	d.mu.Unlock()
	if next == nil {
		next = cfg
	}
	wait, alone := d.exchange.Waiting(), d.channel.alone()
	d.elsewhere = d.channel.elsewhere(next.Hash)
	for _, r := range cfg.Routers {
		wait := wait
		if wait == "" && d.elsewhere != "" && priorityCounts(next, r.Key()) {
			wait = fmt.Sprintf("%s runs another file, which may give it another priority", d.elsewhere)
		}
		adjust, why, fault := track.Sum(cfg.Tracks[r.Key()], d.tracker.Report)
		if doubt != "" {
			adjust += cfg.Health.DoubtWeight
			if why != "" {
				why += ", "
			}
			why += fmt.Sprintf("%+d because %s", cfg.Health.DoubtWeight, doubt)
		}
		d.engine.Track(r.Key(), vrrp.Tracked{Adjust: adjust, Why: why, Fault: fault, Wait: wait, Alone: alone})
	}
}

// priorityCounts reports whether a virtual router goes by the priority that the file
// gives to others.
func priorityCounts(cfg *config.Config, key vrrp.Key) bool {
	return slices.ContainsFunc(cfg.Routers, func(r vrrp.Config) bool { return r.Key() == key && r.PreemptLowered })
}

// watchFiles notices that another director has changed its file, or has the same again.
func (d *Director) watchFiles() {
	d.mu.Lock()
	hash := d.cfg.Hash
	d.mu.Unlock()
	d.tracking.Lock()
	same := d.elsewhere == d.channel.elsewhere(hash)
	d.tracking.Unlock()
	if !same {
		d.retrack()
	}
}

// conditionChanged keeps a change as an event.
func (d *Director) conditionChanged(r track.Report) {
	level, text := slog.LevelInfo, "holds: "+r.Reason
	if !r.Holds {
		level, text = slog.LevelWarn, "does not hold: "+r.Reason
	}
	d.log.Log(context.Background(), level, fmt.Sprintf("condition %s %s", r.Name, text))
	d.events.add(time.Now(), "track", r.Name, text)
}

// serviceHealth counts, by service, the servers that are up and those that nobody
// knows about yet. A server counts once, however many addresses the service has.
func serviceHealth(rows []*judgedRow) map[string]track.Health {
	out := make(map[string]track.Health, len(rows))
	for of := range services(rows) {
		var h track.Health // a service without servers has one too
		count := func(state healthcheck.State) {
			switch state {
			case healthcheck.Up:
				h.Up++
			case healthcheck.Unknown:
				h.Unknown++
			}
		}
		if len(of) == 1 {
			for i := range of[0].servers {
				count(of[0].state(i))
			}
		} else {
			for _, state := range bestStates(of) {
				count(state)
			}
		}
		out[of[0].service.Name] = h
	}
	return out
}

// bestStates are the states of the servers of several rows by their addresses in the file,
// each where it is best off: up is better than unknown, and that than down.
func bestStates(rows []*judgedRow) map[netip.AddrPort]healthcheck.State {
	rank := [...]int{healthcheck.Down: 0, healthcheck.Unknown: 1, healthcheck.Up: 2}
	best := make(map[netip.AddrPort]healthcheck.State)
	for _, row := range rows {
		for i := range row.servers {
			at, state := row.servers[i].Address, row.state(i)
			if was, seen := best[at]; !seen || rank[state] > rank[was] {
				best[at] = state
			}
		}
	}
	return best
}

// state is that of a server at the last look; while this director is doubted, as it was
// when it was to be trusted.
func (row *judgedRow) state(server int) healthcheck.State {
	if row.members[server].Doubted {
		return healthcheck.Up
	}
	return row.members[server].State
}

// conditionStatus shows the conditions.
func conditionStatus(reports []track.Report) []control.Condition {
	out := make([]control.Condition, 0, len(reports))
	for _, r := range reports {
		c := control.Condition{Name: r.Name, State: "unknown", Reason: r.Reason, Value: r.Value}
		if r.Known {
			c.State, c.Since = "failed", &r.Since
			if r.Holds {
				c.State = "ok"
			}
		}
		out = append(out, c)
	}
	return out
}
