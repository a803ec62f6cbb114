package director

import (
	"fmt"
	"slices"

	"lvsha/internal/config"
	"lvsha/vrrp"
)

// record writes down what cfg is about to put into the kernel, and keeps what
// is still there of the last one.
func (d *Director) record(cfg *config.Config) {
	slots := make(map[vrrp.Key]int)
	err := d.store.update(func(r *Record) {
		// What a stop was giving away is nobody's to resume.
		goesOn := r.Phase == Running || r.Phase == Held
		r.Phase = Running
		old := r.Routers
		r.Routers = nil
		for _, c := range cfg.Routers {
			router := RecordedRouter{Key: c.Key(), Interval: c.Interval, Slot: -1}
			if i := slices.IndexFunc(old, func(o RecordedRouter) bool { return o.Key == router.Key }); i >= 0 {
				router.Active, router.Slot = goesOn && old[i].Active, old[i].Slot
			}
			r.Routers = append(r.Routers, router)
		}
		before := r.Holdings
		r.Holdings = holdings(slices.Concat(cfg.Routers, d.engine.Configs())).with(d.stale)
		if d.engine.Removing() {
			r.Holdings = r.Holdings.with(before)
		}
		d.store.outdated = true
		giveSlots(r.Routers)
		for _, router := range r.Routers {
			slots[router.Key] = router.Slot
		}
	})
	d.beats.assign(slots)
	if err != nil {
		// Serving goes before being able to resume.
		d.log.Error("recording what this director makes; a crash from here on may leave it behind", "error", err)
		d.event("director", cfg.Director, err.Error())
	}
}

// giveSlots gives each router that has none a free slot.
func giveSlots(routers []RecordedRouter) {
	taken := make(map[int]bool)
	for _, r := range routers {
		taken[r.Slot] = true
	}
	next := 0
	for i := range routers {
		if routers[i].Slot >= 0 {
			continue
		}
		for taken[next] {
			next++
		}
		routers[i].Slot = next
		taken[next] = true
	}
}

// unwritten is what the next process would not know, as the disk did not take it.
func (d *Director) unwritten() (out []string) {
	if err := d.store.unwritten(); err != nil {
		out = append(out, fmt.Sprintf("%v: it is tried again each second; a restart or a crash until then may leave behind what lvsha made", err))
	}
	if err := d.overrides.unwritten(); err != nil {
		out = append(out, fmt.Sprintf("%v: %s", err, unkept))
	}
	return out
}

// unkept is what becomes of an operator's request that could not be written.
const unkept = "what operators asked for holds until this process ends, and is not known to the next one; it is tried again each second"

// forget takes out of the record what has left the file and the kernel since: an operator
// may have put it back by now, and the next start would take it away.
func (d *Director) forget() {
	if !d.store.outdated || d.store.read().Phase != Running {
		return
	}
	configs := d.engine.Configs() // first: what a router leaves between the two is being removed
	d.removeStale()
	if d.engine.Removing() {
		return
	}
	err := d.store.update(func(r *Record) { r.Holdings = holdings(slices.Concat(d.cfg.Routers, configs)).with(d.stale) })
	// A router that leaves has its configuration for as long.
	d.store.outdated = err != nil || len(configs) > len(d.cfg.Routers) || !d.stale.none()
}

// removeStale removes what the last process may have left and the file no longer has. What
// cannot be removed stays in the record, and is tried again each second.
func (d *Director) removeStale() {
	done, left, err := d.stale.without(named(d.cfg.Routers)).release(d.opts.Links)
	d.stale = left
	switch {
	case err == nil:
		d.staleTold = ""
	case err.Error() != d.staleTold:
		d.staleTold = err.Error()
		d.log.Error("removing what the last process left; it is tried again each second", "error", err)
	}
	for _, what := range done {
		d.event("vrrp", "", what+": no longer in the file")
	}
}

// rewrite tries again what could not be written.
func (d *Director) rewrite() {
	d.store.retry()
	d.overrides.retry()
}
