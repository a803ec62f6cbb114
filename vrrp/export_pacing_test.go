package vrrp

import "time"

// Pacer is the limiter of announcements for tests.
type Pacer struct{ p *pacer }

// NewPacer makes one.
func NewPacer(gap time.Duration) Pacer {
	p := newPacer()
	p.setGap(gap)
	return Pacer{p}
}

// Turn asks for a turn.
func (p Pacer) Turn(now time.Time, iface string, rank, packets int) (bool, time.Time) {
	return p.p.turn(now, iface, rank, packets)
}

// Leave wants no turn any more.
func (p Pacer) Leave(iface string) { p.p.leave(iface) }
