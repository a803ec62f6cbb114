package failover_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// match is one row of the matrix: a rig with lvsha on one director and another
// program on the other. lvs1 is the better one; faults come one after the other.
type match struct {
	*rig.Rig
	programs  [2]string // of lvs1 and lvs2
	version   int
	advertise time.Duration
	unicast   bool
	running   [2]rig.Director
}

// TestInterop holds lvsha beside keepalived 2.2.7 and FRR's vrrpd 8.4, which is
// IOP-01 to IOP-04 and IOP-07, in either role: no time without an active director
// beyond the bound, and none with two beyond one delivery. keepalived leaves IPv6's
// checksums to the kernel: they are ours (V3-CSUM-07).
func TestInterop(t *testing.T) {
	t.Parallel()
	type row struct {
		peer          string
		version       int
		ipv6, unicast bool
		role          int // of lvsha: 0 is the better director
	}
	// Matches mostly wait, so several run at once, whatever the number of cores: IPv4 in
	// four lanes and IPv6 in two, as the kernel's work on IPv6 addresses waits for a
	// lock that all namespaces share.
	ipv4, ipv6 := make(chan row, 20), make(chan row, 20)
	lanes := []<-chan row{ipv4, ipv4, ipv4, ipv4, ipv6, ipv6}
	for role := range 2 {
		// The whole seconds of version 2 take long: they begin.
		for _, unicast := range []bool{false, true} {
			ipv4 <- row{"keepalived", 2, false, unicast, role}
		}
	}
	for role := range 2 {
		for _, unicast := range []bool{false, true} {
			ipv4 <- row{"keepalived", 3, false, unicast, role}
			ipv6 <- row{"keepalived", 3, true, unicast, role}
		}
		ipv4 <- row{"FRR", 3, false, false, role}
		ipv6 <- row{"FRR", 3, true, false, role}
	}
	close(ipv4)
	close(ipv6)
	var running sync.WaitGroup
	for _, lane := range lanes {
		running.Go(func() {
			for c := range lane {
				name := fmt.Sprintf("%s v%d %s %s, %s is active", c.peer, c.version, rig.FamilyName(c.ipv6),
					map[bool]string{false: "multicast", true: "unicast"}[c.unicast],
					[]string{"lvsha", c.peer}[c.role])
				t.Run(name, func(t *testing.T) {
					m := &match{version: c.version, advertise: rig.Fast, unicast: c.unicast}
					if c.version == 2 {
						m.advertise = time.Second
					}
					m.programs[c.role], m.programs[1-c.role] = "lvsha", c.peer
					m.Rig = rig.NewOf(t, c.ipv6)
					m.play(t)
				})
			}
		})
	}
	running.Wait()
}

// play is the sequence of faults. Each begins where the one before ended.
func (m *match) play(t *testing.T) {
	if m.unicast {
		for i := range m.Ports {
			m.Check(m.Ports[i].Hub())
			m.Source[i] = m.own(i)
		}
	}
	for i := range m.programs {
		m.start(i, []int{150, 100}[i])
		m.Holds(0, 15*time.Second)
	}
	m.Settle(rig.Bound(m.advertise) + 500*time.Millisecond)
	m.Holds(0, time.Second) // the backup has joined and stays backup
	for _, c := range []struct {
		name string
		act  func(m *match)
	}{
		{"crash", (*match).crash},
		{"preempt back", (*match).preempt},
		{"heal after split", (*match).heal},
		{"stop", (*match).stop},
		{"equal priority", (*match).equal},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			inside, r := *m, *m.Rig
			r.TB, inside.Rig = t, &r
			c.act(&inside)
			inside.agree()
			m.running = inside.running
		}) {
			return
		}
	}
}

// crash kills the active director with its link cut.
func (m *match) crash() {
	since := time.Now()
	took, silence, stall := m.Failover(m.running[0])
	m.Logf("last advertisement to first answer %v (bound %v), silence %v", took, rig.Bound(m.advertise), silence)
	if limit := rig.Bound(m.advertise) + slack + stall; took > limit {
		m.Errorf("failover took %v, at most %v", took, limit)
	}
	m.yields(0, since)
}

// preempt boots the better director, which takes over from the living one.
func (m *match) preempt() {
	m.boot(0)
	since := time.Now()
	m.while(func() {
		m.start(0, 150)
		m.Holds(0, 15*time.Second)
	}, m.handover(1))
	m.yields(1, since)
}

// heal cuts lvsha off, so that both are active, and brings it back. Where it wins,
// it finds the hosts with the other one; where it loses, it does not draw them.
func (m *match) heal() {
	m.split(slices.Index(m.programs[:], "lvsha"))
	// The loser that hears of the winner first leaves without a word, so that the
	// winner cannot know: the next refresh tells the hosts.
	most := m.handover(1)
	if m.programs[0] == "lvsha" {
		most += refresh
	}
	m.joins(0, most)
}

// split cuts a director off until both are active.
func (m *match) split(i int) {
	m.Helper()
	m.Check(m.Ports[i].Cut())
	m.Eventually("both are active", 30*time.Second, func() bool { return m.Has(m.LVS[0], m.VIP) && m.Has(m.LVS[1], m.VIP) })
}

// joins ends a split, and a director wins.
func (m *match) joins(winner int, most time.Duration) {
	m.Helper()
	var since time.Time
	m.while(func() {
		since = time.Now()
		for _, p := range m.Ports {
			m.Check(p.Mend())
		}
		m.Holds(winner, 15*time.Second)
	}, most)
	m.yields(1-winner, since)
}

// stop ends the active director in the ordinary way.
func (m *match) stop() {
	since := time.Now()
	most := m.handover(0)
	if m.programs[0] != "lvsha" {
		// The others send priority 0 and take their addresses away: the skew is lost.
		most = rig.Bound(m.advertise) - 3*m.advertise + slack
	}
	m.while(func() {
		m.Check(m.running[0].Stop())
		m.Holds(1, 15*time.Second)
	}, most)
	m.yields(0, since)
}

// equal starts the other director with the same priority: it does not disturb the
// active one, and after a split the higher address wins. Here it is the loser that
// is cut off.
func (m *match) equal() {
	m.boot(0)
	since := time.Now()
	m.while(func() {
		m.start(0, 100)
		m.Settle(rig.Bound(m.advertise) + 500*time.Millisecond)
		m.Holds(1, time.Second)
	}, 0)
	if a, ok := m.Sniffer.Last(m.Source[0], time.Now()); ok && a.At.After(since) {
		m.Errorf("lvs1 advertised: %+v", a)
	}
	winner := 0
	if m.Source[1].Compare(m.Source[0]) > 0 {
		winner = 1
	}
	m.split(1 - winner)
	m.joins(winner, m.handover(1-winner))
}

const (
	// slack is for a machine on which several matches run, and what else CI does:
	// TestFailover has the exact bound.
	slack = 500 * time.Millisecond
	// refresh is how often the better director tells the hosts of its addresses
	// where that is lvsha; 10 s if not told.
	refresh = 500 * time.Millisecond
)

// handover is how long nobody may answer when a living director gives the address
// up to the other one: nobody need, but for these programs.
func (m *match) handover(from int) time.Duration {
	switch loser, winner := m.programs[from], m.programs[1-from]; {
	case winner == "FRR" && m.VIP.Is6():
		// Its only neighbour advertisement may leave before zebra has the interface up.
		return time.Second
	case m.VIP.Is6():
		// keepalived announces before its kernel's work queue has made the addresses
		// local; that work waits for other matches. TestStop and TestPreempt have no such
		// company.
		return slack
	case loser != "lvsha":
		// It takes its addresses away before ours are announced.
		return 50 * time.Millisecond
	}
	return 0
}

// while acts, and fails the test if nobody answered for longer than most. One probe
// of 1 ms may be lost in any case.
func (m *match) while(act func(), most time.Duration) {
	m.Helper()
	var begin time.Time // of a row of lost probes
	var longest time.Duration
	lost := 0
	probes, stall := m.ProbesWhile(act)
	most += stall
	for _, p := range probes {
		if !p.Answered.IsZero() {
			begin = time.Time{}
			continue
		}
		lost++
		if begin.IsZero() {
			begin = p.Sent
		}
		longest = max(longest, p.Sent.Sub(begin)+time.Millisecond)
	}
	m.Logf("%d of %d probes lost, nobody answered for %v", lost, len(probes), longest.Round(time.Millisecond/10))
	if lost > 1 && longest > most {
		m.Errorf("%d probes lost and nobody answered for %v, at most 1 and %v", lost, longest, most)
	}
}

// agree fails the test unless lvsha, where it runs, says of itself what its addresses
// do, and has found nothing wrong with what it heard.
func (m *match) agree() {
	m.Helper()
	i := slices.Index(m.programs[:], "lvsha")
	d := m.running[i].Lvsha
	select {
	case <-d.Done():
		return
	default:
	}
	state := "backup"
	if m.Has(m.LVS[i], m.VIP) {
		state = "active"
	}
	m.Becomes(d, state)
	for name, n := range d.Router("web").Counters {
		if n > 0 && strings.HasSuffix(name, "_errors") {
			m.Errorf("%s is %d", name, n)
		}
	}
}

// yields fails the test unless the winner advertised since a time, and the loser
// at most once more after that: what was on the way.
func (m *match) yields(loser int, since time.Time) {
	m.Helper()
	var first time.Time
	var late []time.Duration
	for _, a := range m.Sniffer.Seen() {
		switch {
		case a.At.Before(since) || a.Priority == 0:
		case a.Source == m.Source[1-loser] && first.IsZero():
			first = a.At
		case a.Source == m.Source[loser] && !first.IsZero():
			late = append(late, a.At.Sub(first))
		}
	}
	if first.IsZero() {
		m.Errorf("%s has not advertised from %s", m.LVS[1-loser].Name, m.Source[1-loser])
	}
	if len(late) > 1 {
		m.Errorf("%s advertised %v after the first advertisement of %s", m.LVS[loser].Name, late, m.LVS[1-loser].Name)
	}
}
