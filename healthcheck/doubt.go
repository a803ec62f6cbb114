package healthcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Evidence is what is known of one server host, over all its checks.
type Evidence struct {
	Host netip.Addr
	// Alive is whether something was heard from it when it was last probed, or it is
	// not given up yet: a check that is up, or one that fails by what the server says,
	// such as a refusal.
	Alive bool
	// Heard is when the last probe began that heard something.
	Heard time.Time
	// Lost is when a check of it went from up to down; zero when none did, or is not
	// down. Silence is when the first probe of that began.
	Lost, Silence time.Time
	// Window is how long its checks take to find a death, or the end of it.
	Window time.Duration
}

// Opinion is what another director knows of the hosts that were lost here.
type Opinion struct {
	Director string
	// Alive and Dead count the hosts that it hears and those that it does not; one
	// that it knows nothing of is neither.
	Alive, Dead int
}

// Doubt decides whether this director or the servers are at fault when nothing is
// heard from any of them: their deaths at once, in silence, are less likely than
// that of our own link. The zero value is ready.
type Doubt struct {
	since time.Time // of the doubt; zero is none
	// healed is when something was heard again; zero is not yet.
	healed time.Time
	// settled says that the doubt was resolved against the servers: it does not
	// come back before one of them is heard.
	settled bool
	from    time.Time // losses since then are doubted
}

// Doubted is what a Doubt decided.
type Doubted struct {
	// Now is whether there is doubt.
	Now bool
	// Keep is whether servers that were lost in silence since From are kept: in doubt,
	// before it as long as nothing is heard that would rule it out, and after it until
	// they had the time to be heard again.
	Keep bool
	From time.Time
	// Hasten is whether it would help to probe the other servers at once.
	Hasten bool
	// Why words the doubt; empty without.
	Why string
	// Next is when to look again although nothing happened; zero is never.
	Next time.Time
}

// suspicionStep is how soon to look again at what servers say that were asked at once.
const suspicionStep = 50 * time.Millisecond

// recent are the hosts that were lost at about the same time as the last one that
// was, while nothing is heard from any; none while something is. Those lost long
// before were dead by themselves.
func recent(hosts []Evidence) (lost []Evidence) {
	var last time.Time
	var window time.Duration
	for _, h := range hosts {
		switch {
		case h.Alive:
			return nil
		case !h.Lost.IsZero():
			window = max(window, h.Window)
			if h.Lost.After(last) {
				last = h.Lost
			}
		}
	}
	for _, h := range hosts {
		if !h.Lost.IsZero() && last.Sub(h.Lost) <= window {
			lost = append(lost, h)
		}
	}
	return lost
}

// Judge decides. limit is how long a doubt may last unless another director sees
// servers alive; 0 never doubts. others, which may be nil, is asked in doubt what
// other directors know of the hosts that were lost.
func (d *Doubt) Judge(now time.Time, limit time.Duration, hosts []Evidence, others func(lost []Evidence) []Opinion) Doubted {
	if limit <= 0 || len(hosts) == 0 {
		*d = Doubt{}
		return Doubted{}
	}
	if slices.ContainsFunc(hosts, func(h Evidence) bool { return h.Alive }) {
		if d.since.IsZero() {
			d.settled = false
			return suspect(now, hosts)
		}
		return d.heal(now, hosts)
	}
	d.healed = time.Time{}
	lost := recent(hosts)
	if d.since.IsZero() && (d.settled || len(lost) < 2) {
		return Doubted{}
	}
	if d.since.IsZero() {
		d.since = now
		d.from = slices.MinFunc(lost, func(a, b Evidence) int { return a.Lost.Compare(b.Lost) }).Lost
	}
	why := fmt.Sprintf("nothing is heard from any of %d servers: is it this director?", len(lost))
	var opinions []Opinion
	if others != nil {
		opinions = others(lost)
	}
	dead := false
	for _, o := range opinions {
		if o.Alive > 0 {
			return Doubted{Now: true, Keep: true, From: d.from, Why: fmt.Sprintf("%s %s hears %d of them.", why, o.Director, o.Alive)}
		}
		dead = dead || o.Dead > 0
	}
	// Two that see the same are not both cut off.
	if dead || now.Sub(d.since) >= limit {
		*d = Doubt{settled: true}
		return Doubted{}
	}
	return Doubted{Now: true, Keep: true, From: d.from, Why: why, Next: d.since.Add(limit)}
}

// suspect keeps what was lost first when everything may be about to be: nothing has
// been heard from any other host since it fell silent.
func suspect(now time.Time, hosts []Evidence) (out Doubted) {
	var heard time.Time
	var window time.Duration
	for _, h := range hosts {
		if h.Heard.After(heard) {
			heard = h.Heard
		}
		window = max(window, h.Window)
	}
	for _, h := range hosts {
		if h.Alive || h.Lost.IsZero() || heard.After(h.Silence) || now.Sub(h.Lost) >= window {
			continue
		}
		if !out.Keep || h.Lost.Before(out.From) {
			out = Doubted{Keep: true, From: h.Lost, Hasten: true, Next: now.Add(suspicionStep)}
		}
	}
	return out
}

// heal ends a doubt: what is heard again first does not have the others taken out.
func (d *Doubt) heal(now time.Time, hosts []Evidence) Doubted {
	if d.healed.IsZero() {
		d.healed = now
	}
	var window time.Duration
	waiting := false
	for _, h := range hosts {
		window = max(window, h.Window)
		waiting = waiting || !h.Lost.IsZero() && !h.Lost.Before(d.from)
	}
	if end := d.healed.Add(window); waiting && now.Before(end) {
		return Doubted{Keep: true, From: d.from, Next: end}
	}
	*d = Doubt{}
	return Doubted{}
}
