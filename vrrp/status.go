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
	// LastSeen is when its last advertisement arrived; zero is never.
	LastSeen time.Time
}

// peer is a sender that was heard.
type peer struct {
	address  netip.Addr
	priority uint8
	at       time.Time
	// mismatched is when the sender's last mismatch was told.
	mismatched time.Time
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
	i := slices.IndexFunc(r.peers, func(p peer) bool { return p.address == ev.Source })
	if i < 0 {
		if i = len(r.peers); i < maxPeers {
			r.peers = append(r.peers, peer{})
		} else {
			// The one that was silent longest goes.
			i = 0
			for j := range r.peers {
				if r.peers[j].at.Before(r.peers[i].at) {
					i = j
				}
			}
			r.peers[i] = peer{}
		}
		r.peers[i].address = ev.Source
	}
	p := &r.peers[i]
	p.priority, p.at = adv.Priority, ev.At
	r.compare(p, ev)
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
		if h.priority != 0 || s.Peers[i].Source == "" {
			// A release is not the priority it runs with.
			s.Peers[i].Priority, s.Peers[i].Source = h.priority, "vrrp"
		}
	}
	return s
}
