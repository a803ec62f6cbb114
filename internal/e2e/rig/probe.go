package rig

import (
	"net/netip"
	"time"

	"lvsha/internal/lab"
)

// Ping probes the virtual address every millisecond until stop is called.
func (r *Rig) Ping() (stop func() []lab.Probe) {
	r.Helper()
	p, err := lab.StartPing(r.Client, r.VIP, time.Millisecond)
	r.Check(err)
	return func() []lab.Probe {
		r.Helper()
		probes, err := p.Stop()
		r.Check(err)
		return probes
	}
}

// LostWhile counts the 1 ms probes that were lost while act ran, and for a second after,
// less those that stalls of the machine explain.
func (r *Rig) LostWhile(act func()) int {
	r.Helper()
	probes, stall := r.ProbesWhile(act)
	lost := lab.Lost(probes, time.Time{}, time.Now())
	r.Logf("%d of %d probes lost, stalls explain %v", lost, len(probes), stall)
	return max(0, lost-int(stall.Milliseconds()))
}

// ProbesWhile are the 1 ms probes sent while act ran, and for a second after, and by how
// much stalls of the machine may have delayed what happened meanwhile.
func (r *Rig) ProbesWhile(act func()) (probes []lab.Probe, stall time.Duration) {
	r.Helper()
	stop, measured := r.Ping(), r.Stalls()
	r.Settle(300 * time.Millisecond)
	act()
	r.Settle(time.Second)
	probes = stop()
	if len(probes) < 300 {
		r.Fatalf("only %d probes were sent", len(probes))
	}
	return probes, measured()
}

// OneActive fails the test if two directors advertised at the same time: after
// the first advertisement of a new sender the old one may have one more on
// the way, and a priority 0.
func (r *Rig) OneActive() {
	r.Helper()
	type change struct {
		from, to netip.Addr
		at       time.Time
	}
	changes := make(map[bool][]change) // by family
	last := make(map[bool]lab.Advertisement)
	for _, a := range r.Sniffer.Seen() {
		if a.Priority == 0 {
			continue
		}
		family := a.Source.Is4()
		if before := last[family]; before.Source.IsValid() && a.Source != before.Source {
			changes[family] = append(changes[family], change{before.Source, a.Source, a.At})
		}
		last[family] = a
	}
	for _, changes := range changes {
		for i := 1; i < len(changes); i++ {
			if back := changes[i].at.Sub(changes[i-1].at); changes[i].to == changes[i-1].from && back < 250*time.Millisecond {
				r.Errorf("%s took over from %s, which advertised again %v later", changes[i-1].to, changes[i-1].from, back)
			}
		}
	}
}
