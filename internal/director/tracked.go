package director

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/track"
	"lvsha/vrrp"
)

// retrack tells the virtual routers what the conditions they depend on add up to.
// It waits for nothing, and may be called from any goroutine.
func (d *Director) retrack() {
	// One at a time, so that the last one to tell has seen the newest file.
	d.tracking.Lock()
	defer d.tracking.Unlock()
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	for _, r := range cfg.Routers {
		adjust, why, fault := track.Sum(cfg.Tracks[r.Key()], d.tracker.Report)
		d.engine.Track(r.Key(), vrrp.Tracked{Adjust: adjust, Why: why, Fault: fault})
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
func serviceHealth(cfg *config.Config, st steering, known verdicts) map[string]track.Health {
	out := make(map[string]track.Health, len(cfg.Services))
	for _, s := range cfg.Services {
		var h track.Health
		for _, server := range s.Servers {
			best := healthcheck.Down
			for _, listen := range s.Listen {
				switch judge(s, server, listen, st, known).State {
				case healthcheck.Up:
					best = healthcheck.Up
				case healthcheck.Unknown:
					if best == healthcheck.Down {
						best = healthcheck.Unknown
					}
				}
			}
			switch best {
			case healthcheck.Up:
				h.Up++
			case healthcheck.Unknown:
				h.Unknown++
			}
		}
		out[s.Name] = h
	}
	return out
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
