package bench_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// fault is something that moves the address from one director to the other.
type fault struct {
	name string
	// to is the director that has the address afterwards.
	to int
	// death says that the old director cannot tell anybody.
	death  bool
	strike func(*pair)
}

// faults are what happens to each pair. Every one but the last leads to a state
// in which the next can happen.
func faults() []fault {
	return []fault{
		{"stopped", 1, false, func(p *pair) { p.Check(p.first.Stop()) }},
		{"preempted back", 0, false, func(p *pair) { p.first = p.Start(p.kind, 0, 3, p.advertise) }},
		{"carrier lost", 1, true, func(p *pair) { p.Check(p.Ports[0].Unplug()) }},
		{"plugged back", 0, false, func(p *pair) { p.Check(p.Ports[0].Plug()) }},
		{"killed and cut", 1, true, func(p *pair) {
			p.Check(p.Ports[0].Cut())
			p.Check(p.first.Kill())
		}},
	}
}

// pair is two directors of one kind in a network of their own.
type pair struct {
	*rig.Rig
	kind      string
	advertise time.Duration
	first     rig.Director
	pinging   func() []lab.Probe
	// struck is when the present fault began, and taken the first
	// advertisement of who took over.
	struck time.Time
	taken  lab.Advertisement
}

// measured is one failover.
type measured struct {
	// outage is the longest time between two answers to 1 ms probes.
	outage time.Duration
	lost   int
	// decided and answered are the times from the old director's last
	// advertisement on the wire to the first one of the new director, and to the
	// first answer after that, which is the new director's if the old one is dead.
	decided, answered time.Duration
}

// newPairs starts one pair of each kind.
func newPairs(b *testing.B, advertise time.Duration, kinds []string) []*pair {
	b.Helper()
	var pairs []*pair
	for _, kind := range kinds {
		p := &pair{Rig: rig.New(b), kind: kind, advertise: advertise}
		p.first = p.Start(kind, 0, 3, advertise)
		pairs = append(pairs, p)
	}
	for _, p := range pairs {
		p.Holds(0, 10*time.Second)
		p.Start(p.kind, 1, 3, advertise)
	}
	pairs[0].Settle(rig.Bound(advertise) + 500*time.Millisecond)
	return pairs
}

// suffer lets one fault happen to all pairs, one after the other, and waits for
// the ends together. Nothing else runs here then: what looks for the end costs
// next to nothing.
func suffer(pairs []*pair, f fault) []measured {
	for _, p := range pairs {
		p.pinging = p.Ping()
	}
	pairs[0].Settle(200 * time.Millisecond)
	for _, p := range pairs {
		p.Settle(rand.N(p.advertise)) // any moment between two advertisements
		p.struck = time.Now()
		f.strike(p)
	}
	for _, p := range pairs {
		p.Eventually(fmt.Sprintf("%s advertises after it was %s", p.LVS[f.to].Name, f.name), 30*time.Second, func() (ok bool) {
			p.taken, ok = p.taker(f.to)
			return ok
		})
	}
	pairs[0].Settle(300 * time.Millisecond)
	var out []measured
	for _, p := range pairs {
		probes := p.pinging()
		first := slices.IndexFunc(probes, func(probe lab.Probe) bool { return probe.Answered.After(p.taken.At) })
		if first < 0 {
			p.Fatalf("%s was %s and nobody answers", p.LVS[1-f.to].Name, f.name)
		}
		begin, end := lab.Outage(probes, p.struck.Add(-50*time.Millisecond))
		last, ok := p.Sniffer.Last(p.Source[1-f.to], p.taken.At)
		if !ok {
			p.Fatalf("no advertisement of %s was seen", p.LVS[1-f.to].Name)
		}
		out = append(out, measured{
			outage: end.Sub(begin), lost: lab.Lost(probes, time.Time{}, time.Now()),
			decided: p.taken.At.Sub(last.At), answered: probes[first].Answered.Sub(last.At),
		})
		p.Eventually(p.LVS[f.to].Name+" has the address", 10*time.Second, func() bool { return p.Has(p.LVS[f.to], p.VIP) })
	}
	return out
}

// taker is the first advertisement of a director since the fault.
func (p *pair) taker(i int) (lab.Advertisement, bool) {
	for _, a := range p.Sniffer.Seen() {
		if a.Source == p.Source[i] && a.Priority > 0 && a.At.After(p.struck) {
			return a, true
		}
	}
	return lab.Advertisement{}, false
}

// BenchmarkFailover prints lvsha's failovers beside keepalived's from one run,
// ten of each kind, alternating.
func BenchmarkFailover(b *testing.B) {
	for _, c := range []struct {
		advertise time.Duration
		// beside is how many pairs of each kind wait side by side. Where most of the
		// time is idle they do not disturb one another.
		beside int
	}{{time.Second, 2}, {100 * time.Millisecond, 1}, {10 * time.Millisecond, 1}} {
		// What a pair printed says nothing about a bar that is missed, so the bars
		// are held against the figures out here.
		var all matrix
		b.Run(c.advertise.String(), func(b *testing.B) {
			for b.Loop() {
				all = runMatrix(b, c.advertise, c.beside)
			}
		})
		if all != nil {
			all.print(c.advertise)
			all.judge(b, c.advertise)
		}
	}
}

// matrix are the failovers of one interval by fault and kind of director.
type matrix map[string]map[string][]measured

const failoverRuns = 10

func runMatrix(b *testing.B, advertise time.Duration, beside int) matrix {
	b.Helper()
	all := make(matrix)
	for _, f := range faults() {
		all[f.name] = make(map[string][]measured)
	}
	for range failoverRuns / beside {
		pairs := newPairs(b, advertise, slices.Repeat([]string{"lvsha", "keepalived"}, beside))
		for _, f := range faults() {
			for i, m := range suffer(pairs, f) {
				all[f.name][pairs[i].kind] = append(all[f.name][pairs[i].kind], m)
			}
			pairs[0].Settle(rig.Bound(advertise)) // the timers of a new backup
		}
		for _, p := range pairs {
			p.Check(p.Sniffer.Stop())
			p.Check(p.Net.Close())
		}
	}
	return all
}

func (m measured) inOutage() time.Duration { return m.outage }

func (m measured) untilDecided() time.Duration { return m.decided }

func (m measured) untilAnswer() time.Duration { return m.answered }

func (x matrix) print(advertise time.Duration) {
	fmt.Printf("\nfailover at %v, %d runs each, in ms: median, min, max; 3 A + skew is %.2f\n", advertise, failoverRuns, ms(rig.Bound(advertise)))
	fmt.Printf("%-15s %-11s %-26s  %-4s  %-26s  %s\n", "", "", "outage", "lost", "last advertisement to answer", "to the other's advertisement")
	for _, f := range faults() {
		for _, kind := range []string{"lvsha", "keepalived"} {
			m := x[f.name][kind]
			fmt.Printf("%-15s %-11s%s %5d", f.name, kind, spread(m, measured.inOutage), mostLost(m))
			if f.death {
				fmt.Printf("  %s  %s", spread(m, measured.untilAnswer), spread(m, measured.untilDecided))
			}
			fmt.Println()
		}
	}
}

// judge holds the figures against what lvsha is to reach.
func (x matrix) judge(b *testing.B, advertise time.Duration) {
	b.Helper()
	for _, f := range faults() {
		l, k := x[f.name]["lvsha"], x[f.name]["keepalived"]
		if !f.death {
			if n := mostLost(l); n > 1 {
				b.Errorf("%v, %s: %d probes lost in one run, at most 1", advertise, f.name, n)
			}
			continue
		}
		if t := slices.Max(each(l, measured.untilAnswer)); t > rig.Bound(advertise)+5*time.Millisecond {
			b.Errorf("%v, %s: lvsha's slowest, %v, is over %v by more than 5 ms", advertise, f.name, t, rig.Bound(advertise))
		}
		if t, other := median(each(l, measured.untilAnswer)), median(each(k, measured.untilAnswer)); t > other+2*time.Millisecond {
			b.Errorf("%v, %s: lvsha's median %v is more than 2 ms over keepalived's %v", advertise, f.name, t, other)
		}
	}
}

func each(all []measured, of func(measured) time.Duration) []time.Duration {
	var out []time.Duration
	for _, m := range all {
		out = append(out, of(m))
	}
	return out
}

// spread is the median, the smallest and the greatest.
func spread(all []measured, of func(measured) time.Duration) string {
	d := each(all, of)
	return fmt.Sprintf("%8.2f %8.2f %8.2f", ms(median(d)), ms(slices.Min(d)), ms(slices.Max(d)))
}

func mostLost(all []measured) int {
	most := 0
	for _, m := range all {
		most = max(most, m.lost)
	}
	return most
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return (d[(len(d)-1)/2] + d[len(d)/2]) / 2
}
