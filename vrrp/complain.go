package vrrp

import (
	"net/netip"
	"time"
)

// complaints limits log lines about bad packets, which anybody can send.
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

// complain logs a dropped packet.
func (e *Engine) complain(p *Packet, vrid uint8, reason Reason) {
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
	e.log.Warn("packet dropped", "interface", p.Interface, "vrid", vrid, "source", p.Source, "reason", reason.String())
}
