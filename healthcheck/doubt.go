package healthcheck

import (
	"fmt"
	"net/netip"
	"time"
)

// Evidence is what is known of one server host, over all its checks.
type Evidence struct {
	Host netip.Addr
	// Alive is whether anything is heard from it: a check that passes, or one that
	// fails by what the server says, such as a refusal.
	Alive bool
	// Lost is when it went from up to down; zero when it never did, or is not down.
	Lost time.Time
	// Window is how long its checks take to find a death.
	Window time.Duration
}

// Opinion is what another director sees of the same hosts.
type Opinion struct {
	Director string
	// Alive and Dead count the hosts it sees up and down.
	Alive, Dead int
}

// Doubt decides whether this director or the servers are at fault when nothing is
// heard from any of them: their deaths at once, in silence, are less likely than
// that of our own link. The zero value is ready.
type Doubt struct {
	since time.Time // of the doubt; zero is none
	// settled says that the doubt was resolved against the servers: it does not
	// come back before one of them is heard.
	settled bool
	from    time.Time // losses since then are doubted
}

// Doubted is what a Doubt decided.
type Doubted struct {
	// Now is whether there is doubt, From since when losses are doubted.
	Now  bool
	From time.Time
	// Why words it; empty without doubt.
	Why string
	// Next is when to look again although nothing happened; zero is never.
	Next time.Time
}

// Judge decides. limit is how long a doubt may last unless another director sees
// servers alive; 0 never doubts.
func (d *Doubt) Judge(now time.Time, limit time.Duration, hosts []Evidence, others []Opinion) Doubted {
	var lost, alive int
	var first, last time.Time
	var window time.Duration
	for _, h := range hosts {
		switch {
		case h.Alive:
			alive++
		case !h.Lost.IsZero():
			if lost == 0 || h.Lost.After(last) {
				last = h.Lost
			}
			window = max(window, h.Window)
			lost++
		}
	}
	if alive > 0 || limit <= 0 {
		*d = Doubt{}
		return Doubted{}
	}
	// Those that were lost long before the last one were dead by themselves.
	recent := 0
	for _, h := range hosts {
		if !h.Lost.IsZero() && last.Sub(h.Lost) <= window {
			recent++
			if first.IsZero() || h.Lost.Before(first) {
				first = h.Lost
			}
		}
	}
	if d.since.IsZero() && (d.settled || recent < 2) {
		return Doubted{}
	}
	if d.since.IsZero() {
		d.since, d.from = now, first
	}
	why := fmt.Sprintf("nothing is heard from any of %d servers: is it this director?", recent)
	for _, o := range others {
		switch {
		case o.Alive > 0:
			return Doubted{Now: true, From: d.from, Why: fmt.Sprintf("%s %s sees %d of them up.", why, o.Director, o.Alive)}
		case o.Dead > 0:
			// Two that see the same are not both cut off.
			*d = Doubt{settled: true}
			return Doubted{}
		}
	}
	if passed := now.Sub(d.since); passed >= limit {
		*d = Doubt{settled: true}
		return Doubted{}
	}
	return Doubted{Now: true, From: d.from, Why: why, Next: d.since.Add(limit)}
}
