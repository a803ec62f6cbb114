package director

import (
	"errors"
	"fmt"
	"slices"

	"lvsha/ipvs"
)

// manageSysctls switches accept_local on where checks of the file need it, if the
// file says so, and off again where they no longer do. It is tried again whenever
// a check has learned nothing: interfaces may come later.
func (d *Director) manageSysctls() {
	// Not while a stop puts back what this sets.
	d.sysctls.Lock()
	defer d.sysctls.Unlock()
	d.mu.Lock()
	cfg, st, flushing := d.cfg, d.steering, d.flushing
	d.mu.Unlock()
	if d.opts.Routing == nil || flushing {
		return
	}
	var want []string
	if cfg.ManageSysctls {
		want = hearing(st, d.opts.Routing)
	}
	was := d.store.read().AcceptLocal
	var on, off []string
	for _, ifname := range want {
		if n, err := d.opts.Routing.Setting(ifname, "accept_local"); err == nil && n == 0 {
			on = append(on, ifname)
		}
	}
	for _, ifname := range was {
		if !slices.Contains(want, ifname) {
			off = append(off, ifname)
		}
	}
	if len(on) > 0 {
		// First, so that a crash leaves none behind.
		err := d.store.update(func(r *Record) { r.AcceptLocal = addTo(slices.Clone(r.AcceptLocal), on) })
		if err != nil {
			d.log.Error("recording the sysctls that are set", "error", err)
		}
	}
	for _, ifname := range on {
		if err := d.setAcceptLocal(ifname, true); err != nil {
			d.log.Error("setting sysctls", "error", err)
		}
	}
	if err := d.restoreSysctls(off); err != nil {
		d.log.Error("putting sysctls back", "error", err)
	}
}

// hearing are the interfaces that answers of servers arrive on with the service's
// address, sorted.
func hearing(st steering, n Routing) []string {
	var out []string
	for w := range st.marks {
		if w.forward == ipvs.NAT || w.ipv6 {
			continue
		}
		if back, err := routeTo(n, w.server.Addr()); err == nil && !back.local && !slices.Contains(out, back.ifname) {
			out = append(out, back.ifname)
		}
	}
	slices.Sort(out)
	return out
}

// giveUpSysctls puts back all that manageSysctls set, for a stop.
func (d *Director) giveUpSysctls() error {
	d.sysctls.Lock()
	defer d.sysctls.Unlock()
	return d.restoreSysctls(d.store.read().AcceptLocal)
}

// restoreSysctls puts back what manageSysctls set.
func (d *Director) restoreSysctls(ifnames []string) error {
	if len(ifnames) == 0 || d.opts.Routing == nil {
		return nil
	}
	var errs []error
	for _, ifname := range ifnames {
		errs = append(errs, d.setAcceptLocal(ifname, false))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return d.store.update(func(r *Record) { r.AcceptLocal = subtract(r.AcceptLocal, ifnames, same) })
}

func (d *Director) setAcceptLocal(ifname string, on bool) error {
	if err := d.opts.Routing.AcceptLocal(ifname, on); err != nil {
		return err
	}
	value := map[bool]int{true: 1}[on]
	d.log.Info("sysctl set", "name", fmt.Sprintf("net.ipv4.conf.%s.accept_local", ifname), "value", value)
	d.event("sysctl", ifname, fmt.Sprintf("net.ipv4.conf.%s.accept_local = %d", ifname, value))
	return nil
}
