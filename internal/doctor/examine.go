package doctor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/machine"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

const (
	// rounds are how often each question is asked, and pause is between two.
	rounds, pause = 3, 400 * time.Millisecond
	// patience is how long answers are waited for after the last round.
	patience = 700 * time.Millisecond
	// maxListening bounds how long advertisements are listened for.
	maxListening = 6 * time.Second
	// resolving bounds how long hardware addresses are looked up.
	resolving = time.Second
)

// Machine is what is known of this machine; netif.Links is the real one.
type Machine interface {
	List() ([]vrrp.Link, error)
	WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error)
	Sysctl(name string) (string, error)
	// Neighbours are the hardware addresses that the kernel knows, and MTU the size of
	// packets on an interface.
	Neighbours() (map[netip.Addr][6]byte, error)
	MTU(ifname string) (int, error)
}

// Wire sends questions and hears frames; it is made for one examination.
type wire interface {
	// touch has the kernel look up hardware addresses.
	touch(addresses []netip.Addr)
	send(q question) error
	// take returns what was heard since the last time.
	take() []heard
	close() error
}

// Options are what an examination needs.
type Options struct {
	Config  *config.Config
	Machine Machine
	IPVS    func() (ipvs.Kernel, error)
	// Problems are what the running daemon says is the matter.
	Problems []string
	// Client is an address that a client of NAT has; invalid is one that nobody has.
	Client netip.Addr
}

// Examine looks for faults. It takes a few seconds.
func Examine(ctx context.Context, o Options) (*Report, error) {
	links, err := o.Machine.List()
	if err != nil {
		return nil, err
	}
	w, err := openWire(links)
	if err != nil {
		return nil, err
	}
	defer w.close()
	f := facts{links: links, mtu: make(map[string]int), neighbours: make(map[netip.Addr]mac)}
	for _, l := range links {
		if n, err := o.Machine.MTU(l.Name); err == nil {
			f.mtu[l.Name] = n
		}
	}
	ways := make(map[netip.Addr]string)
	f.iface = func(a netip.Addr) string {
		ifname, seen := ways[a]
		if !seen {
			if by, _, local, err := o.Machine.WayTo(a); err == nil && !local {
				ifname = by
			}
			ways[a] = ifname
		}
		return ifname
	}
	if err := resolve(ctx, o, w, &f); err != nil {
		return nil, err
	}
	p := newPlan(o.Config, f, uint16(1+rand.IntN(1<<16-1)), func(ipv6 bool) netip.Addr { return stranger(o.Client, f, ipv6) })
	all, err := ask(ctx, w, p, listening(o.Config))
	if err != nil {
		return nil, err
	}
	report := p.judge(all)
	settle(report, o)
	return report, nil
}

// resolve learns the hardware addresses of servers and directors.
func resolve(ctx context.Context, o Options, w wire, f *facts) error {
	var want []netip.Addr
	seen := make(map[netip.Addr]bool)
	add := func(a netip.Addr) {
		if !seen[a] && f.iface(a) != "" {
			want = append(want, a)
		}
		seen[a] = true
	}
	for _, s := range o.Config.Services {
		for _, server := range s.Servers {
			add(server.Address.Addr())
		}
	}
	for _, d := range o.Config.Directors {
		for _, a := range d.Addresses {
			add(a)
		}
	}
	w.touch(want)
	deadline := time.Now().Add(resolving)
	for {
		known, err := o.Machine.Neighbours()
		if err != nil {
			return err
		}
		missing := false
		for _, a := range want {
			if m, ok := known[a]; ok {
				f.neighbours[a] = mac(m)
			} else {
				missing = true
			}
		}
		if !missing || time.Now().After(deadline) {
			return nil
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// stranger is an address of a client that is on none of this machine's networks: one of
// those that documents use (RFC 5737, RFC 3849) unless one was given.
func stranger(given netip.Addr, f facts, ipv6 bool) netip.Addr {
	if given.IsValid() && given.Is6() == ipv6 {
		return given
	}
	candidates := []string{"198.51.100.1", "203.0.113.1", "192.0.2.1"}
	if ipv6 {
		candidates = []string{"2001:db8:ffff:ffff::1", "2001:db8:eeee:eeee::1"}
	}
	for _, text := range candidates {
		a := netip.MustParseAddr(text)
		near := slices.ContainsFunc(f.links, func(l vrrp.Link) bool {
			return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
		})
		if !near {
			return a
		}
	}
	return netip.MustParseAddr(candidates[0])
}

// listening is how long advertisements have to be listened for.
func listening(cfg *config.Config) time.Duration {
	longest := time.Duration(0)
	for _, r := range cfg.Routers {
		if len(r.Unicast) == 0 && len(cfg.Directors) > 1 {
			longest = max(longest, 3*r.Interval+patience)
		}
	}
	return min(longest, maxListening)
}

// ask asks everything and returns what was heard.
func ask(ctx context.Context, w wire, p *plan, listen time.Duration) (all []heard, err error) {
	begin := time.Now()
	failed := make(map[string]bool)
	for round := range rounds {
		if round > 0 {
			if err := wait(ctx, pause); err != nil {
				return nil, err
			}
		}
		for _, q := range p.questions {
			if err := w.send(q); err != nil && !failed[err.Error()] {
				failed[err.Error()] = true
				p.report.Skipped = append(p.report.Skipped, fmt.Sprintf("a %s was not sent: %v", q, err))
			}
		}
		all = append(all, w.take()...)
	}
	if err := wait(ctx, max(patience, listen-time.Since(begin))); err != nil {
		return nil, err
	}
	return append(all, w.take()...), nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle adds what nobody else has to be asked about.
func settle(r *Report, o Options) {
	settings := machine.Director(o.Config, o.Machine, o.Machine.Sysctl)
	r.Looked = append(r.Looked, fmt.Sprintf("%d kernel parameters", len(settings)))
	var named []string
	otherwise := ", or manage_sysctls = true in the file"
	if o.Config.ManageSysctls {
		otherwise = ", which the daemon does as long as it runs"
	}
	for _, w := range machine.Assess(settings, o.Machine.Sysctl) {
		f := Finding{Sysctl, machine.Dotted(w.Name), fmt.Sprintf("%s is %s: %s", machine.Dotted(w.Name), w.Have, w.Why), "", w.Remedy() + otherwise}
		if w.Level == machine.Must {
			r.Findings = append(r.Findings, f)
		} else {
			r.Advice = append(r.Advice, f)
		}
		named = append(named, w.Remedy())
	}
	if len(o.Config.Services) > 0 {
		r.Looked = append(r.Looked, "whether the kernel has IPVS")
		if err := tryIPVS(o.IPVS); err != nil {
			remedy := ""
			if errors.Is(err, ipvs.ErrNoIPVS) {
				remedy = "modprobe ip_vs"
			}
			r.Findings = append(r.Findings, Finding{Kernel, "ip_vs", "services cannot be balanced: " + err.Error(), "", remedy})
		}
	}
	if s := o.Config.Sync; s != nil {
		if _, err := o.Machine.MTU(s.Interface); err != nil {
			r.Findings = append(r.Findings, Finding{Kernel, s.Interface, "connections are not synchronised: " + err.Error(), "", "interface in [sync]"})
		}
	}
	for _, text := range o.Problems {
		if !slices.ContainsFunc(named, func(remedy string) bool { return strings.Contains(text, remedy) }) {
			r.Findings = append(r.Findings, Finding{Status, "daemon", text, "lvsha status", ""})
		}
	}
}

func tryIPVS(open func() (ipvs.Kernel, error)) error {
	kernel, err := open()
	if err != nil {
		return err
	}
	return kernel.Close()
}
