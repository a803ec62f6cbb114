package director

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/machine"
)

// sysctlInterval is how often the kernel parameters are looked at again: interfaces and
// the module of IPVS come later, and so may others who set them.
const sysctlInterval = 10 * time.Second

// sysctlShare is how many times longer than a look the time between two is at least.
const sysctlShare = 50

// manyServers is from where on asking for the ways to them is work.
const manyServers = 1000

// keepSysctls looks at the kernel parameters when there is another file, and now and
// then, apart from the director's goroutine: asking for the ways to many servers takes a
// while, and nothing is to wait for it.
func (d *Director) keepSysctls(ctx context.Context) error {
	timer := time.NewTimer(sysctlInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.sysctlsDue:
		}
		start := time.Now()
		d.manageSysctls()
		d.mu.Lock()
		d.exchange.Set(d.exchangeConfig(d.cfg, syncDaemons(d.cfg, d.active))) // which goes by some of them
		many := servers(d.cfg) > manyServers
		d.mu.Unlock()
		rest := sysctlShare * time.Since(start)
		if rest > sysctlInterval && many {
			// One reload after the other is not worth it. Of few servers a look only takes
			// long on a machine that has other work, and somebody may wait for it.
			if pause(ctx, min(rest, time.Minute)) != nil {
				return nil
			}
		}
		timer.Reset(max(sysctlInterval, rest))
	}
}

// servers counts the servers of a file.
func servers(cfg *config.Config) (n int) {
	for _, s := range cfg.Services {
		n += len(s.Servers)
	}
	return n
}

// sysctlsSoon has the kernel parameters looked at.
func (d *Director) sysctlsSoon() {
	select {
	case d.sysctlsDue <- struct{}{}:
	default:
	}
}

// manageSysctls works out which kernel parameters the services need, sets them if the
// file says so, and puts back those that are needed no longer.
func (d *Director) manageSysctls() {
	// Not while a stop puts back what this sets.
	d.sysctls.Lock()
	defer d.sysctls.Unlock()
	d.mu.Lock()
	cfg, flushing := d.cfg, d.flushing
	d.mu.Unlock()
	if d.opts.Routing == nil || flushing {
		return
	}
	before := d.store.read().Sysctls
	settings := machine.Director(cfg, rememberWays(d.opts.Routing, cfg), foundSysctl(d.opts.Routing, before))
	d.mu.Lock()
	d.settings = settings
	d.mu.Unlock()
	if !cfg.ManageSysctls {
		settings = nil
	}
	set, back := machine.Reconcile(settings, machine.Should, before, d.opts.Routing.Sysctl, d.interfaces)
	failed := d.setSysctls(set)
	err := d.putBack(back)
	if err != nil && err.Error() != d.unset[""] {
		d.log.Error("putting sysctls back", "error", err)
	}
	if err != nil {
		failed[""] = err.Error()
	}
	d.mu.Lock()
	d.unset = failed
	d.mu.Unlock()
}

// earlySysctls sets the kernel parameters that a connection keeps for its life from when
// it is made, which a sync daemon may do before any service is there. They need no
// question about ways.
func (d *Director) earlySysctls(cfg *config.Config) {
	if d.opts.Routing == nil || !cfg.ManageSysctls {
		return
	}
	d.sysctls.Lock()
	defer d.sysctls.Unlock()
	if d.earlyOf != cfg {
		d.earlyOf, d.early = cfg, machine.Early(cfg)
	}
	before := d.store.read().Sysctls
	set, _ := machine.Reconcile(d.early, machine.Should, before, d.opts.Routing.Sysctl, d.interfaces)
	d.setSysctls(set) // what fails is tried again, and told, with all others
}

// setSysctls sets parameters, and returns those that could not be set with the reasons.
func (d *Director) setSysctls(set []machine.Changed) (failed map[string]string) {
	if len(set) > 0 {
		// First, so that a crash leaves none behind.
		if err := d.store.update(func(r *Record) { r.Sysctls = withChanges(r.Sysctls, set) }); err != nil {
			d.log.Error("recording the sysctls that are set", "error", err)
		}
	}
	failed = make(map[string]string)
	for _, c := range set {
		if c.Follows {
			continue
		}
		if err := d.opts.Routing.SetSysctl(c.Name, c.Set); err != nil {
			// Again and again, and told once.
			if failed[c.Name] = err.Error(); failed[c.Name] != d.unset[c.Name] {
				d.log.Error("setting a sysctl", "name", machine.Dotted(c.Name), "error", err)
			}
			continue
		}
		d.log.Info("sysctl set", "name", machine.Dotted(c.Name), "value", c.Set, "was", c.Found)
		d.event("sysctl", machine.Dotted(c.Name), fmt.Sprintf("%s, which was %s", c, c.Found))
	}
	return failed
}

// interfaces are the names of the machine's.
func (d *Director) interfaces() (names []string) {
	links, err := d.opts.Routing.List()
	if err != nil {
		d.log.Warn("listing the interfaces whose forwarding is to be put back later", "error", err)
	}
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

// foundSysctl reads what a parameter was before lvsha set it.
func foundSysctl(n Routing, before []machine.Changed) machine.Read {
	return func(name string) (string, error) {
		for _, c := range before {
			if c.Name == name {
				return c.Found, nil
			}
		}
		return n.Sysctl(name)
	}
}

// withChanges adds changes to a record of them; one that was recorded before keeps its
// place.
func withChanges(list, more []machine.Changed) []machine.Changed {
	list = slices.Clone(list)
	for _, c := range more {
		if i := slices.IndexFunc(list, func(b machine.Changed) bool { return b.Name == c.Name }); i >= 0 {
			list[i] = c
		} else {
			list = append(list, c)
		}
	}
	return list
}

// sysctlProblems are the parameters without which services do not work.
func (d *Director) sysctlProblems() (out []string) {
	d.mu.Lock()
	settings, unset, managed := d.settings, d.unset, d.cfg.ManageSysctls
	d.mu.Unlock()
	if d.opts.Routing == nil {
		return nil
	}
	for _, w := range machine.Assess(settings, d.opts.Routing.Sysctl) {
		if w.Level < machine.Must {
			continue
		}
		text := w.String()
		switch {
		case !managed:
			text += ", or manage_sysctls = true in the file"
		case unset[w.Name] != "":
			text += " (lvsha could not: " + unset[w.Name] + ")"
		}
		out = append(out, text)
	}
	return out
}

// giveUpSysctls puts back all that manageSysctls set, for a stop.
func (d *Director) giveUpSysctls() error {
	d.sysctls.Lock()
	defer d.sysctls.Unlock()
	return d.putBack(lastFirst(d.store.read().Sysctls))
}

// lastFirst is a record of changes in the order in which they are undone.
func lastFirst(changes []machine.Changed) []machine.Changed {
	changes = slices.Clone(changes)
	slices.Reverse(changes)
	return changes
}

// putBack puts parameters back in the order given.
func (d *Director) putBack(changes []machine.Changed) error {
	if len(changes) == 0 || d.opts.Routing == nil {
		return nil
	}
	done, over, err := restoreSysctls(d.opts.Routing, changes)
	for _, what := range done {
		d.log.Info(what)
		d.event("sysctl", "", what)
	}
	if len(over) == 0 {
		return err
	}
	return errors.Join(err, d.store.update(func(r *Record) {
		r.Sysctls = subtract(r.Sysctls, over, func(c machine.Changed) string { return c.Name })
	}))
}

// restoreSysctls puts parameters back in the order given and goes on after an error. It
// returns what it did, a sentence each, and those that need no more care. A parameter
// that somebody else has set since, and one whose interface is gone, is left.
func restoreSysctls(n Routing, changes []machine.Changed) (done []string, over []machine.Changed, err error) {
	var errs []error
	for _, c := range changes {
		have, err := n.Sysctl(c.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil && have == c.Found: // it never was set, or has been put back
		case err == nil && c.Stale(have):
			done = append(done, fmt.Sprintf("left %s at %s, which somebody else has set", machine.Dotted(c.Name), have))
		case err == nil:
			err = n.SetSysctl(c.Name, c.Found)
			if err == nil {
				done = append(done, fmt.Sprintf("set %s to %s again", machine.Dotted(c.Name), c.Found))
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("putting %s back to %s: %w", machine.Dotted(c.Name), c.Found, err))
			continue
		}
		if c.Follows && len(errs) > 0 {
			continue // what it follows may be put back later, and take it along
		}
		over = append(over, c)
	}
	return done, over, errors.Join(errs...)
}
