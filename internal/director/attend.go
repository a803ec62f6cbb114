package director

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/bfd"
	"lvsha/internal/notify"
	"lvsha/internal/track"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// opined says that what other directors see may be another thing than before.
type opined struct{}

// attend deals with what happened in the rooms.
func (d *Director) attend(ctx context.Context, items []any) {
	changed, follow, retrack, active := false, false, false, false
	for _, item := range items {
		switch item := item.(type) {
		case vrrp.Transition:
			d.transition(item)
			active = active || item.To == vrrp.Active
		case vrrp.Notice:
			d.log.Warn(item.Text, "router", item.Router, "notice", string(item.Kind))
			d.events.add(item.At, string(item.Kind), item.Router, item.Text)
			if item.Kind == vrrp.NoticeYield {
				d.keepYields()
			}
		case vrrp.Followed:
			follow = true
			d.followed[item.Key] = item
			if !item.Source.IsValid() {
				delete(d.followed, item.Key)
			}
		case noSession:
			follow = true
		case bfd.Transition:
			d.sessionChanged(item)
		case bfd.Voided:
			d.sessionVoided(item)
		case notify.Result:
			d.notified(item)
		case notifyProblem:
			d.notifyFailed(item)
		case track.Report:
			d.conditionChanged(item)
		case healthcheck.Change:
			changed = true
			d.health(item)
			d.channel.touch()
		case excused:
			changed = true
			d.excused(item)
		case opined:
			// Only who doubts asks others.
			changed = changed || d.judging.doubted.Now
		case channelEvent:
			d.channelHappened(item)
			// Who is there says how long a release waits for somebody to take over.
			retrack = retrack || item.kind == "channel"
		case ipvs.Result:
			d.applied(item)
		}
	}
	if active {
		d.addressesCame()
	}
	if changed {
		d.wantSoon()
	}
	if retrack {
		d.retrack()
	}
	if follow {
		d.follow(ctx)
	}
}

func (d *Director) transition(t vrrp.Transition) {
	d.serveNow()
	if t.From == vrrp.Leaving && t.To == vrrp.Backup {
		select { // who has the addresses now lacks the youngest connections
		case d.moved <- struct{}{}:
		default:
		}
	}
	d.mu.Lock()
	changed := d.active[t.Key] != (t.To == vrrp.Active)
	d.active[t.Key] = t.To == vrrp.Active
	d.mu.Unlock()
	if changed {
		d.wantFilter()
		if d.cfg.Sync != nil && d.cfg.Sync.ByRole {
			d.wantDaemons()
		}
	}
	d.notifyTransition(t)
	d.log.Info(fmt.Sprintf("%s is %s", t.Name, t.To), "router", t.Name, "from", t.From.String(), "reason", t.Reason)
	d.events.add(t.At, "vrrp", t.Name, fmt.Sprintf("%s -> %s: %s", t.From, t.To, t.Reason))
	err := d.store.update(func(r *Record) {
		for i := range r.Routers {
			if r.Routers[i].Key == t.Key {
				r.Routers[i].Active = t.To == vrrp.Active
			}
		}
	})
	if err != nil {
		d.log.Error("recording a role", "error", err)
	}
}

func (d *Director) health(c healthcheck.Change) {
	level := slog.LevelInfo
	if c.To == healthcheck.Down {
		level = slog.LevelWarn
	}
	text := fmt.Sprintf("%s -> %s: %s", c.From, c.To, c.Reason)
	if c.From == c.To {
		advice := c.Advice.String()
		if advice == "" {
			advice = "nothing any more"
		}
		d.log.Info(fmt.Sprintf("server %s is advised %s", c.Target.Server, advice), "check", c.Target.Check.String(), "reason", c.Reason)
		d.events.add(c.Time, "server", c.Target.Server.String(), fmt.Sprintf("advised %s: %s", advice, c.Reason))
		return
	}
	d.log.Log(context.Background(), level, fmt.Sprintf("server %s is %s", c.Target.Server, c.To),
		"check", c.Target.Check.String(), "reason", c.Reason)
	d.events.add(c.Time, "server", c.Target.Server.String(), text)
}

// excused keeps it as an event that checks learn nothing.
func (d *Director) excused(what excused) {
	if what.why == "" {
		d.event("check", what.way.String(), "learns of the server again")
		return
	}
	d.log.Warn("checks through services learn nothing", "server", what.way.String(), "reason", what.why)
	d.event("check", what.way.String(), "learns nothing: "+what.why)
	d.sysctlsSoon()
}

// toldChanges is how many changes of IPVS are events one by one: more would leave no
// room for others.
const toldChanges = 200

func (d *Director) applied(r ipvs.Result) {
	d.filled.Do(func() {
		d.opts.Filled()
		d.sysctlsSoon()
	})
	kind := "ipvs"
	if r.Drift {
		kind = "ipvs repaired"
	}
	if n := len(r.Changes); n > toldChanges {
		d.event(kind, "", fmt.Sprintf("%d changes", n))
	} else {
		for _, change := range r.Changes {
			d.event(kind, change.Service.Key.String(), change.String())
		}
	}
	problem := ""
	if r.Err != nil {
		problem = r.Err.Error()
	}
	if problem != d.ipvsProblem && problem != "" {
		d.event("ipvs", "", problem)
	}
	d.ipvsProblem = problem
}

func (d *Director) event(kind, object, text string) { d.events.add(time.Now(), kind, object, text) }

// tell logs what the daemon itself does, and keeps it as an event.
func (d *Director) tell(text string) {
	d.log.Info(text, "director", d.cfg.Director)
	d.event("director", d.cfg.Director, text)
}
