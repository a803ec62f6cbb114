package vrrp

import "net/netip"

// Followed is whose advertisements a virtual router follows.
type Followed struct {
	Key Key
	// Source is the router's own address on its interface, which others see its
	// advertisements come from; not valid while it has none or does not run.
	Source netip.Addr
	// Active is where the last accepted advertisement came from; valid only in
	// Backup, and until that Active gives the addresses up.
	Active netip.Addr
}

// Followed is whose advertisements the router follows now.
func (r *Router) Followed() Followed {
	f := Followed{Key: r.key}
	if r.state != Initialize {
		f.Source = r.link.Source
	}
	if r.state == Backup && !r.released {
		f.Active = r.active.source
	}
	return f
}

// tellFollowed tells with the next flush when it has changed.
func (e *Engine) tellFollowed(m *member) {
	if e.opt.OnFollow == nil {
		return
	}
	if f := m.router.Followed(); f.Source != m.followed.Source || f.Active != m.followed.Active {
		m.followed = f
		e.untold = append(e.untold, func() { e.opt.OnFollow(f) })
	}
}
