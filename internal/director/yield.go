package director

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lvsha/internal/control"
	"lvsha/vrrp"
)

// leaveTick is how often a yield is looked at while it is under way.
const leaveTick = 10 * time.Millisecond

// Yield is part of control.Daemon: it gives virtual routers to another director,
// or ends that.
func (d *Director) Yield(ctx context.Context, ask control.YieldRequest) (control.Yielded, error) {
	routers, err := d.yieldable(ask.Router)
	if err != nil {
		return control.Yielded{}, err
	}
	if ask.Back {
		for _, r := range routers {
			if err := d.engine.Unyield(ctx, r.Key); err != nil {
				return control.Yielded{}, fmt.Errorf("ending the yield of %s: %w", r.Name, err)
			}
		}
		d.keepYields()
		d.event("yield", cmp.Or(ask.Router, "all"), "ended by an operator")
		return d.yielded(routers), nil
	}
	active := slices.ContainsFunc(routers, func(s vrrp.Status) bool { return s.State == vrrp.Active })
	if active && !ask.Now {
		d.handOver(ctx, nil)
		if err := ctx.Err(); err != nil {
			return control.Yielded{}, err
		}
	}
	var until time.Time
	if ask.For > 0 {
		until = time.Now().Add(ask.For)
	}
	for _, r := range routers {
		if err := d.engine.Yield(ctx, r.Key, until); err != nil {
			return control.Yielded{}, fmt.Errorf("yielding %s: %w", r.Name, err)
		}
	}
	d.keepYields()
	d.event("yield", cmp.Or(ask.Router, "all"), "asked for by an operator")
	for d.leavingSome(routers) {
		if err := pause(ctx, leaveTick); err != nil {
			return control.Yielded{}, err
		}
	}
	// A yield that nobody answered has ended.
	d.keepYields()
	done := d.yielded(routers)
	var stayed []string
	for _, r := range done.Routers {
		if r.State == vrrp.Active.String() {
			stayed = append(stayed, fmt.Sprintf("%s stays active: %s", r.Name, r.Reason))
		}
	}
	if len(stayed) > 0 {
		return done, errors.New(strings.Join(stayed, "; "))
	}
	return done, nil
}

// yieldable are the virtual routers that a name means: one, or with none all
// that can yield.
func (d *Director) yieldable(name string) ([]vrrp.Status, error) {
	var out []vrrp.Status
	var names []string
	for _, s := range d.engine.Snapshot() {
		names = append(names, s.Name)
		if s.Name == name || (name == "" && s.Priority != 255) {
			out = append(out, s)
		}
	}
	if name != "" && len(out) > 0 && out[0].Group != "" {
		// All of a sync group move.
		group := out[0].Group
		out = slices.DeleteFunc(d.engine.Snapshot(), func(s vrrp.Status) bool { return s.Group != group })
	}
	switch {
	case len(out) > 0:
		return out, nil
	case name == "":
		return nil, errors.New("there is no virtual router that could yield")
	default:
		return nil, fmt.Errorf("there is no virtual router %q; there are: %s", name, strings.Join(names, ", "))
	}
}

// current are the virtual routers as they are now.
func (d *Director) current(routers []vrrp.Status) []vrrp.Status {
	return slices.DeleteFunc(d.engine.Snapshot(), func(s vrrp.Status) bool {
		return !slices.ContainsFunc(routers, func(r vrrp.Status) bool { return r.Key == s.Key })
	})
}

func (d *Director) leavingSome(routers []vrrp.Status) bool {
	return slices.ContainsFunc(d.current(routers), func(s vrrp.Status) bool { return s.State == vrrp.Leaving })
}

func (d *Director) yielded(routers []vrrp.Status) (out control.Yielded) {
	if err := d.overrides.unwritten(); err != nil {
		out.Unkept = fmt.Sprintf("%v: %s", err, unkept)
	}
	for _, s := range d.current(routers) {
		out.Routers = append(out.Routers, routerStatus(s))
	}
	return out
}

// keepYields writes down which virtual routers yield, for the next process.
func (d *Director) keepYields() {
	var yields []keptYield
	for _, s := range d.engine.Snapshot() {
		if s.Yielding {
			yields = append(yields, keptYield{Name: s.Name, Key: s.Key, Until: s.YieldUntil})
		}
	}
	if err := d.overrides.update(func(o *overrides) { o.Yields = yields }); err != nil {
		d.log.Error("keeping the yields for the next process", "error", err)
		d.event("yield", "", err.Error())
	}
}

// resumeYields goes on with the yields of the last process.
func (d *Director) resumeYields(ctx context.Context) {
	now := time.Now()
	for _, y := range d.overrides.read().Yields {
		if !y.Until.IsZero() && y.Until.Before(now) {
			continue
		}
		if err := d.engine.Yield(ctx, y.Key, y.Until); err != nil {
			d.log.Warn("going on with a yield", "router", y.Name, "error", err)
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
