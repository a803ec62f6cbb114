package director

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// sourceOf is the address of this director that probes of a way come from: the
// one that the file gives it, or else the kernel's choice towards the server. An
// address of a service is none: answers to it go to whoever has it.
func sourceOf(cfg *config.Config, n Routing) func(way) netip.Addr {
	var own []netip.Addr
	if i := slices.IndexFunc(cfg.Directors, func(d config.Director) bool { return d.Name == cfg.Director }); i >= 0 {
		own = cfg.Directors[i].Addresses
	}
	virtual := make(map[netip.Addr]bool)
	for _, r := range cfg.Routers {
		for _, a := range slices.Concat(r.Addresses, r.Excluded) {
			virtual[a.Prefix.Addr()] = true
		}
	}
	for _, s := range cfg.Services {
		for _, l := range s.Listen {
			virtual[l.Addr.Addr()] = true
		}
		for _, c := range s.Covers {
			// Of many these are enough: the others are of a virtual router, or nobody's here.
			virtual[c.From], virtual[c.To] = true, true
		}
	}
	return func(w way) netip.Addr {
		server := w.server.Addr()
		for _, a := range own {
			if a.Is6() == w.ipv6 && !virtual[a] {
				return a
			}
		}
		if n == nil || w.mixed() {
			return netip.Addr{}
		}
		if to, err := routeTo(n, server); err == nil && !virtual[to.source] {
			return to.source
		}
		return netip.Addr{}
	}
}

// excuses are the marks whose checks have learned nothing of late because of this
// machine, with the reasons.
type excuses struct {
	mu  sync.Mutex // guards why: probes are many
	why map[uint32]string
}

// set notes an excuse or its end, and reports whether that is news.
func (e *excuses) set(mark uint32, why error) (news bool, text string) {
	if why != nil {
		text = why.Error()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.why[mark] == text {
		return false, text
	}
	if e.why == nil {
		e.why = make(map[uint32]string)
	}
	e.why[mark] = text
	return true, text
}

func (e *excuses) of(mark uint32) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.why[mark]
}

// excused is what the inbox gets when there is a new excuse, or an end of one.
type excused struct {
	way way
	why string
}

// steered is how checks get through their services now.
func (d *Director) steered() steering {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steering
}

// pathReady is the monitor's: whether a path leads to its server.
func (d *Director) pathReady(p healthcheck.Path) error {
	if d.opts.InMemory {
		return errors.New("IPVS is in memory and leads nowhere")
	}
	return d.steered().missing(p.Mark, d.table.Snapshot())
}

// pathExcuse is the monitor's: why a failure along a path may not be the server's.
func (d *Director) pathExcuse(p healthcheck.Path) error {
	w, ok := d.steered().ways[p.Mark]
	if !ok || d.opts.Routing == nil {
		return nil
	}
	why := excuse(d.opts.Routing, p, w)
	news, text := d.excuses.set(p.Mark, why)
	if news {
		d.inbox.add(excused{w, text})
	}
	if news && why == nil {
		// While this probe was under way.
		return errors.New("what kept answers away has only just gone")
	}
	return why
}

// pathLearned is the monitor's: what was in a path's way is gone.
func (d *Director) pathLearned(p healthcheck.Path) {
	if news, _ := d.excuses.set(p.Mark, nil); news {
		d.inbox.add(excused{d.steered().ways[p.Mark], ""})
	}
}

// excuse returns what of this machine keeps the answers of a server from coming
// back along a path, as things are now.
func excuse(n Routing, p healthcheck.Path, w way) error {
	to, err := routeTo(n, p.VIP.Addr())
	if err != nil {
		return fmt.Errorf("this machine has no route to %s, without which nothing can be sent to it: %w", p.VIP.Addr(), err)
	}
	if p.Source.IsValid() {
		if own, err := routeTo(n, p.Source); err != nil || !own.local {
			return fmt.Errorf("this machine does not have the address %s, which the file gives this director", p.Source)
		}
	}
	if to.local && w.forward != ipvs.NAT && !p.Source.IsValid() {
		return fmt.Errorf("this director has no address of its own towards %s for its probes: give it one in [director.NAME]", w.server.Addr())
	}
	if w.ipv6 {
		return nil // which hears answers from its own addresses
	}
	back, err := routeTo(n, w.server.Addr())
	if err != nil {
		return nil // of which a client would be told the same
	}
	switch {
	case to.local && w.forward != ipvs.NAT:
		return deaf(n, back.ifname)
	case !to.local && w.forward == ipvs.NAT && to.ifname != back.ifname:
		if strict, err := n.Setting(to.ifname, "rp_filter"); err == nil && strict == 1 {
			return fmt.Errorf("net.ipv4.conf.%s.rp_filter = 1 drops answers of %s that come by way of the active director; right is: sysctl -w net.ipv4.conf.%[1]s.rp_filter=2, or manage_sysctls = true in the file", to.ifname, w.server.Addr())
		}
	}
	return nil
}

// deaf returns why answers that come from an address of this machine are dropped on
// an interface, as those of direct routing and tunnels are that come from the
// service's address while this director has it; nil when they are not.
func deaf(n Routing, ifname string) error {
	if accepts, err := n.Setting(ifname, "accept_local"); err != nil || accepts != 0 {
		return nil
	}
	return fmt.Errorf("net.ipv4.conf.%s.accept_local = 0 drops answers that come from the service's address while this director has it; right is: sysctl -w net.ipv4.conf.%[1]s.accept_local=1, or manage_sysctls = true in the file", ifname)
}

// pathProblems are what a person should know of the checks through a service.
func pathProblems(s config.Service, st steering, n Routing) (out []string) {
	if n == nil {
		return nil
	}
	told := make(map[string]bool)
	add := func(err error) {
		if err == nil || told[err.Error()] {
			return
		}
		told[err.Error()] = true
		if len(told) <= shown {
			out = append(out, fmt.Sprintf("checks through service %s: %v", s.Name, err))
		}
	}
	for _, listen := range s.Listen {
		for _, server := range s.Servers {
			for _, check := range server.Checks {
				if !check.Through {
					continue
				}
				w, _ := wayOf(server, listen, check)
				add(excuse(n, st.target(server, listen, check).Path, w))
				// In good time, on a backup too.
				if back, err := routeTo(n, w.server.Addr()); err == nil && !w.ipv6 && w.forward != ipvs.NAT {
					add(deaf(n, back.ifname))
				}
			}
		}
	}
	if n := len(told); n > shown {
		out = append(out, fmt.Sprintf("checks through service %s: and %d more of its kind", s.Name, n-shown))
	}
	return out
}

// judgments are what the monitor knows of targets. A check through the service that
// this machine lets nothing be learned by decides nothing: without it a director
// with a wrong setting would start with no server at all.
func (d *Director) judgments(targets []healthcheck.Target) []healthcheck.Judgment {
	out := d.monitor.Judgments(targets)
	d.channel.vouch(time.Now(), targets, out)
	for i, t := range targets {
		if out[i].State != healthcheck.Unknown || !t.Check.Through {
			continue
		}
		if why := d.excuses.of(t.Path.Mark); why != "" {
			out[i].Verdict = healthcheck.Verdict{State: healthcheck.Up, Reason: "taken for up, because nothing can be learned: " + why, Since: out[i].Since}
			out[i].Assumed = true
		}
	}
	return out
}
