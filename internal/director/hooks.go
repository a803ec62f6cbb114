package director

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/notify"
	"lvsha/vrrp"
)

// hooks tell programs and the FIFO what becomes of routers and groups. They belong
// to the director's goroutine.
type hooks struct {
	notifier *notify.Notifier
	// states are the virtual routers', and names what they were told under.
	states map[vrrp.Key]notify.State
	names  map[vrrp.Key]string
	// groups and services are what was told of sync groups, and of services.
	groups, services map[string]notify.State
}

func (d *Director) newHooks() hooks {
	return hooks{
		notifier: notify.New(notify.Options{
			Logger:    d.log,
			OnResult:  func(r notify.Result) { d.inbox.add(r) },
			OnProblem: func(text string) { d.inbox.add(notifyProblem(text)) },
		}),
		states: make(map[vrrp.Key]notify.State), names: make(map[vrrp.Key]string),
		groups: make(map[string]notify.State), services: make(map[string]notify.State),
	}
}

// notifyProblem is what is wrong with the FIFO.
type notifyProblem string

// setHooks takes a new file over. A router that has another name now, and a group
// that is new, is told as what it is; a group that is gone as stopped.
func (d *Director) setHooks(cfg *config.Config) {
	d.hooks.notifier.Set(cfg.Notify)
	now := time.Now()
	for key, state := range d.hooks.states {
		if state == notify.Stopped {
			// It was told. One of the same key begins anew.
			delete(d.hooks.states, key)
			delete(d.hooks.names, key)
		}
	}
	for _, r := range cfg.Routers {
		key := r.Key()
		state := d.hooks.states[key]
		if old, known := d.hooks.names[key]; known && old != r.Name {
			d.hooks.names[key] = r.Name
			d.notifyRouter(cfg, r, state, "renamed from "+old, r.Priority, now)
		}
	}
	for name, state := range d.hooks.groups {
		if !slices.ContainsFunc(cfg.Groups, func(g vrrp.GroupConfig) bool { return g.Name == name }) {
			delete(d.hooks.groups, name)
			if state != notify.Stopped {
				d.hooks.notifier.Tell(notify.Event{
					Object: notify.Object{Kind: notify.Group, Name: name}, To: notify.Stopped, Reason: "no longer in the file",
					Time: now, Director: cfg.Director,
				})
			}
		}
	}
	maps.DeleteFunc(d.hooks.services, func(name string, _ notify.State) bool {
		_, there := d.judging.first[name]
		return !there
	})
	d.notifyGroups(cfg, "the file was changed", now)
}

// notifyTransition tells a change of state on. A router that is leaving has come to
// no state yet.
func (d *Director) notifyTransition(t vrrp.Transition) {
	state, ok := map[vrrp.State]notify.State{
		vrrp.Active: notify.Active, vrrp.Backup: notify.Backup, vrrp.Fault: notify.Fault, vrrp.Initialize: notify.Stopped,
	}[t.To]
	if !ok {
		return
	}
	d.hooks.states[t.Key], d.hooks.names[t.Key] = state, t.Name
	router := vrrp.Config{Name: t.Name}
	if i := slices.IndexFunc(d.cfg.Routers, func(r vrrp.Config) bool { return r.Key() == t.Key }); i >= 0 {
		router = d.cfg.Routers[i]
	}
	d.notifyRouter(d.cfg, router, state, t.Reason, t.Priority, t.At)
	d.notifyGroups(d.cfg, fmt.Sprintf("%s: %s", t.Name, t.Reason), t.At)
}

func (d *Director) notifyRouter(cfg *config.Config, r vrrp.Config, state notify.State, reason string, priority uint8, at time.Time) {
	e := notify.Event{
		Object: notify.Object{Kind: notify.Router, Name: r.Name}, To: state, Reason: reason, Priority: priority,
		Time: at, Director: cfg.Director,
	}
	for _, a := range r.Addresses {
		e.Addresses = append(e.Addresses, a.String())
	}
	d.hooks.notifier.Tell(e)
}

// notifyGroups tells what has become of sync groups: in fault when one member is,
// else what all members are, and nothing while they are on their way.
func (d *Director) notifyGroups(cfg *config.Config, reason string, at time.Time) {
	for _, g := range cfg.Groups {
		state := d.groupState(g)
		if state == 0 || state == d.hooks.groups[g.Name] {
			continue
		}
		d.hooks.groups[g.Name] = state
		e := notify.Event{
			Object: notify.Object{Kind: notify.Group, Name: g.Name}, To: state, Reason: reason, Time: at, Director: cfg.Director,
		}
		for _, r := range cfg.Routers {
			if slices.Contains(g.Members, r.Key()) {
				for _, a := range r.Addresses {
					e.Addresses = append(e.Addresses, a.String())
				}
			}
		}
		d.hooks.notifier.Tell(e)
	}
}

func (d *Director) groupState(g vrrp.GroupConfig) notify.State {
	var all notify.State
	for i, key := range g.Members {
		switch state := d.hooks.states[key]; {
		case state == notify.Fault:
			return notify.Fault
		case i == 0:
			all = state
		case state != all:
			all = 0
		}
	}
	return all
}

// notifyQuorums tells of services that gained or lost their quorum.
func (d *Director) notifyQuorums(quorums map[string]bool, at time.Time) {
	for _, s := range d.cfg.Services {
		whole, decided := quorums[s.Name]
		to, text := notify.Down, "quorum lost: "
		if whole {
			to, text = notify.Up, "quorum gained: "
		}
		if !decided || d.hooks.services[s.Name] == to {
			continue
		}
		d.hooks.services[s.Name] = to
		d.mu.Lock()
		rows := d.judging.of(s.Name)
		reason := fmt.Sprintf("%d of %d servers up, their weights add up to %d", rows[0].outcome.Up, len(rows[0].servers), rows[0].outcome.Sum)
		d.mu.Unlock()
		e := notify.Event{
			Object: notify.Object{Kind: notify.Service, Name: s.Name}, To: to, Reason: reason, Time: at, Director: d.cfg.Director,
		}
		for _, l := range s.Listen {
			e.Addresses = append(e.Addresses, fmt.Sprintf("[%s]:%s:%d", l.Addr.Addr(), l.Protocol, l.Addr.Port()))
		}
		d.event("service", s.Name, text+reason)
		d.hooks.notifier.Tell(e)
	}
}

// notified keeps how a program ended as an event.
func (d *Director) notified(r notify.Result) {
	text := fmt.Sprintf("%s: told %s by %s in %s", r.Event.Object, r.Event.To, r.Command[0], r.Took.Round(time.Millisecond))
	if r.Again {
		text = fmt.Sprintf("%s: not told %s by %s yet, which is tried again", r.Event.Object, r.Event.To, r.Command[0])
	}
	if r.Skipped > 0 {
		text += fmt.Sprintf(", %d states before it were overtaken", r.Skipped)
	}
	var more []string
	if r.Err != nil {
		more = append(more, r.Err.Error())
	}
	if r.Output != "" {
		more = append(more, r.Output)
	}
	if len(more) > 0 {
		text += ": " + strings.Join(more, ": ")
	}
	if r.Err != nil {
		d.log.Warn("notify program failed", "object", r.Event.Object.String(), "command", r.Command[0], "error", r.Err, "output", r.Output)
	}
	d.event("notify", r.Event.Object.Name, text)
}

// notifyFailed keeps a problem of the FIFO as an event.
func (d *Director) notifyFailed(p notifyProblem) {
	d.log.Warn("notify: " + string(p))
	d.event("notify", "", string(p))
}

// toldAll closes a channel when all programs have been told of the end, or their
// time is over, or somebody is in a hurry.
func (d *Director) toldAll(ctx context.Context, hurry <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	timeout := d.cfg.Notify.Timeout
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		go func() {
			select {
			case <-hurry:
				cancel()
			case <-ctx.Done():
			}
		}()
		d.hooks.notifier.Wait(ctx)
	}()
	return done
}
