package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// complaints limits notices about bad packets, which anybody can send.
type complaints struct {
	last map[complaint]time.Time
}

// complaint is what is told at most once a minute.
type complaint struct {
	iface  string
	vrid   uint8
	source netip.Addr
	reason Reason
}

// The limits of complaints: how often one is repeated, and how many are
// remembered.
const (
	complainEvery = time.Minute
	maxComplaints = 256
)

// limited says whether something was told within the last minute, or cannot be
// remembered.
func (c *complaints) limited(what complaint, now time.Time) bool {
	if last, ok := c.last[what]; ok && now.Sub(last) < complainEvery {
		return true
	}
	if len(c.last) >= maxComplaints {
		for old, at := range c.last {
			if now.Sub(at) >= complainEvery {
				delete(c.last, old)
			}
		}
		if len(c.last) >= maxComplaints {
			return true
		}
	}
	if c.last == nil {
		c.last = make(map[complaint]time.Time)
	}
	c.last[what] = now
	return false
}

// complain tells of a dropped packet; m is the virtual router it was for, or
// nil, and detail is what there is to say beyond the reason.
func (e *Engine) complain(m *member, p *Packet, vrid uint8, reason Reason, detail string) {
	now := time.Now()
	if e.complaints.limited(complaint{p.Interface, vrid, p.Source, reason}, now) {
		return
	}
	n := Notice{
		Key: Key{Interface: p.Interface, VRID: vrid}, Kind: NoticeDropped, At: now,
		Text: fmt.Sprintf("dropped a packet from %s on %s for VRID %d: %s%s", p.Source, p.Interface, vrid, reason, detail),
	}
	if m != nil {
		n.Router, n.Key = m.router.cfg.Name, m.router.key
	}
	e.notice(n)
}

// complainOfClock tells of a peer whose clock will soon be outside the window,
// when each would refuse the other and both be Active (KA-HMAC-09).
func (e *Engine) complainOfClock(m *member, p *Packet, offset time.Duration) {
	now, r := time.Now(), m.router
	if e.complaints.limited(complaint{p.Interface, r.key.VRID, p.Source, Accepted}, now) {
		return
	}
	e.notice(Notice{
		Router: r.cfg.Name, Key: r.key, Kind: NoticeClock, At: now,
		Text: fmt.Sprintf("the clock of %s is %s; beyond %s each refuses the other's advertisements and both become active",
			r.name(p.Source), apart(offset), m.auth.window),
	})
}

// apart says how far a sender's clock is behind ours, or ahead.
func apart(offset time.Duration) string {
	if offset < 0 {
		return (-offset).Round(100*time.Millisecond).String() + " ahead of ours"
	}
	return offset.Round(100*time.Millisecond).String() + " behind ours"
}
