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

// complain tells of a dropped packet; m is the virtual router it was for, or nil.
func (e *Engine) complain(m *member, p *Packet, vrid uint8, reason Reason) {
	c := complaint{p.Interface, vrid, p.Source, reason}
	now := time.Now()
	if last, ok := e.complaints.last[c]; ok && now.Sub(last) < complainEvery {
		return
	}
	if len(e.complaints.last) >= maxComplaints {
		for old, at := range e.complaints.last {
			if now.Sub(at) >= complainEvery {
				delete(e.complaints.last, old)
			}
		}
		if len(e.complaints.last) >= maxComplaints {
			return
		}
	}
	if e.complaints.last == nil {
		e.complaints.last = make(map[complaint]time.Time)
	}
	e.complaints.last[c] = now
	n := Notice{
		Key: Key{Interface: p.Interface, VRID: vrid}, Kind: NoticeDropped, At: now,
		Text: fmt.Sprintf("dropped a packet from %s on %s for VRID %d: %s", p.Source, p.Interface, vrid, reason),
	}
	if m != nil {
		n.Router, n.Key = m.router.cfg.Name, m.router.key
	}
	e.notice(n)
}
