package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// Status is what operators see of a virtual router.
type Status struct {
	Name  string
	Key   Key
	State State
	// Priority is the one in force, Configured the file's. Tracking says what makes
	// the difference; empty when there is none.
	Priority, Configured uint8
	Tracking             string
	// Group is the sync group; empty outside one.
	Group string
	// Yielding says that an operator gave the addresses away, and YieldUntil when
	// that ends by itself; zero is never.
	Yielding   bool
	YieldUntil time.Time
	// Alarms are conditions that operators should know of now.
	Alarms []Alarm
	// Version is 2 or 3.
	Version uint8
	// Interval is the configured Advertisement_Interval.
	Interval time.Duration
	// Since is when the state began.
	Since time.Time
	// Reason says in a sentence why, and does not repeat the state.
	Reason string
	// Source is the address advertisements are sent from; not valid when the
	// interface has none.
	Source netip.Addr
	// Addresses are the virtual addresses, each with its interface.
	Addresses []Address
	// Peers are the other directors of the file, then whoever else was heard.
	Peers []PeerStatus
	// Problems are operations on the kernel that fail and are tried again.
	Problems []string
	Counters Counters
	// Jitter is how late advertisements were sent since the router is there.
	Jitter Jitter
}

// PeerStatus is another director.
type PeerStatus struct {
	// Name is empty for one that is not in the file.
	Name    string
	Address netip.Addr
	// Priority is what was last heard, or the file's.
	Priority uint8
	// Source says where the priority comes from: "file" or "vrrp".
	Source string
	// LastSeen is when its last advertisement arrived that counted; zero is never.
	LastSeen time.Time
	// Refused says why what arrived last did not count; empty when it did.
	Refused string
}

// peer is a sender that was heard.
type peer struct {
	address  netip.Addr
	priority uint8
	at       time.Time
	// mismatched is when the sender's last mismatch was told.
	mismatched time.Time
	// refused is why a packet of it did not count that arrived at refusedAt.
	refused   string
	refusedAt time.Time
}

// last is when anything of the sender arrived.
func (p *peer) last() time.Time {
	if p.refusedAt.After(p.at) {
		return p.refusedAt
	}
	return p.at
}

// maxPeers bounds what a flood of forged sources can make us remember.
const maxPeers = 16

// hear counts a valid advertisement and remembers its sender.
func (r *Router) hear(ev *Received) {
	adv := &ev.Advertisement
	r.counters.AdvertisementsReceived++
	if adv.Priority == 0 {
		r.counters.PriorityZeroReceived++
	}
	p := r.peer(ev.Source, func(*peer) bool { return true })
	p.priority, p.at = adv.Priority, ev.At
	r.compare(p, ev)
}

// refuse remembers why a packet of a sender did not count. It takes no place from one whose
// packets did.
func (r *Router) refuse(source netip.Addr, why string, at time.Time) {
	if p := r.peer(source, func(p *peer) bool { return p.at.IsZero() }); p != nil {
		p.refused, p.refusedAt = why, at
	}
}

// peer is what is known of a sender. When there are too many it takes the place of the one
// that was silent longest among those that may go; nil if none may.
func (r *Router) peer(source netip.Addr, mayGo func(*peer) bool) *peer {
	oldest := -1
	for i := range r.peers {
		switch p := &r.peers[i]; {
		case p.address == source:
			return p
		case mayGo(p) && (oldest < 0 || p.last().Before(r.peers[oldest].last())):
			oldest = i
		}
	}
	if len(r.peers) < maxPeers {
		r.peers = append(r.peers, peer{address: source})
		return &r.peers[len(r.peers)-1]
	}
	if oldest < 0 {
		return nil
	}
	r.peers[oldest] = peer{address: source}
	return &r.peers[oldest]
}

// mismatchEvery limits notices about one sender's configuration.
const mismatchEvery = 10 * time.Minute

// compare counts what differs from the configuration; the packet is used
// nevertheless (V3-RX-11, V3-RX-12).
func (r *Router) compare(p *peer, ev *Received) {
	adv := &ev.Advertisement
	interval, list := adv.Interval != r.cfg.Interval, !adv.sameAddresses(&r.cfg)
	if interval {
		r.counters.IntervalMismatches++
	}
	if list {
		r.counters.AddressListMismatches++
	}
	if (!interval && !list) || (!p.mismatched.IsZero() && ev.At.Sub(p.mismatched) < mismatchEvery) {
		return
	}
	if !r.knows(ev.Source) {
		if !r.strangerTold.IsZero() && ev.At.Sub(r.strangerTold) < strangerEvery {
			return
		}
		r.strangerTold = ev.At
	}
	p.mismatched = ev.At
	if interval {
		r.notice(ev.At, NoticeMismatch, "%s advertises every %s, we do every %s", r.name(ev.Source), adv.Interval, r.cfg.Interval)
	}
	if list {
		r.notice(ev.At, NoticeMismatch, "%s advertises the addresses %v, we have %v", r.name(ev.Source), adv.Addresses, addrs(r.cfg.Addresses))
	}
}

// Status is the router as operators see it.
func (r *Router) Status() Status {
	s := Status{
		Name:       r.cfg.Name,
		Key:        r.key,
		State:      r.state,
		Priority:   r.Priority(),
		Configured: r.cfg.Priority, Tracking: r.tracked.Why, Group: r.group.name,
		Yielding: r.yield.on, YieldUntil: r.yield.until, Alarms: slices.Clone(r.alarms),
		Version:   r.cfg.Version,
		Interval:  r.cfg.Interval,
		Since:     r.since,
		Reason:    r.Reason(),
		Source:    r.link.Source,
		Addresses: slices.Clone(r.all),
		Counters:  r.counters,
	}
	for _, p := range r.cfg.Peers {
		s.Peers = append(s.Peers, PeerStatus{Name: p.Name, Address: p.Address, Priority: p.Priority, Source: "file"})
	}
	for _, h := range r.peers {
		i := slices.IndexFunc(s.Peers, func(p PeerStatus) bool { return p.Address == h.address })
		if i < 0 {
			i = len(s.Peers)
			s.Peers = append(s.Peers, PeerStatus{Address: h.address})
		}
		s.Peers[i].LastSeen = h.at
		if h.refusedAt.After(h.at) {
			s.Peers[i].Refused = h.refused
		}
		if !h.at.IsZero() && (h.priority != 0 || s.Peers[i].Source == "") {
			// A release is not the priority it runs with.
			s.Peers[i].Priority, s.Peers[i].Source = h.priority, "vrrp"
		}
	}
	return s
}
