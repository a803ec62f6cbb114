package vrrp

import "net/netip"

// addressOn is an address on an interface.
type addressOn struct {
	iface string
	addr  netip.Addr
}

// holders are the virtual routers by what they have, made anew when their
// configurations have changed.
type holders struct {
	on map[addressOn][]*member
	// anywhere are addresses that are nobody's own on any interface: a link-local
	// one says nothing about another interface.
	anywhere map[netip.Addr]struct{}
	// interfaces are the virtual routers' own.
	interfaces map[string]struct{}
}

// holders are those of the present members.
func (e *Engine) holders() *holders {
	if e.held != nil {
		return e.held
	}
	h := &holders{
		on: make(map[addressOn][]*member), anywhere: make(map[netip.Addr]struct{}), interfaces: make(map[string]struct{}),
	}
	for _, m := range e.members {
		if name := m.router.cfg.Virtual; name != "" {
			h.interfaces[name] = struct{}{}
		}
		for _, a := range m.router.all {
			at := addressOn{a.Interface, a.Prefix.Addr()}
			h.on[at] = append(h.on[at], m)
			if !at.addr.IsLinkLocalUnicast() {
				h.anywhere[at.addr] = struct{}{}
			}
		}
	}
	e.held = h
	return h
}

// reconfigured says that members or their configurations have changed.
func (e *Engine) reconfigured() {
	e.held = nil
	for _, l := range e.links.links {
		l.own = nil
	}
}

// virtual reports whether an address of an interface is a virtual router's.
func (h *holders) virtual(iface string, a netip.Addr) bool {
	if _, ok := h.anywhere[a]; ok {
		return true
	}
	return len(h.on[addressOn{iface, a}]) > 0
}

// router reports whether an interface is a virtual router's own.
func (h *holders) router(iface string) bool {
	_, ok := h.interfaces[iface]
	return ok
}
