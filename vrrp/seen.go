package vrrp

import "net/netip"

// seen is every interface as Watch saw it, with the sets that the routers ask, which
// are made once and outside the loop: there may be thousands of addresses.
type seen struct {
	links map[string]*seenLink
	// names are the interfaces by index.
	names map[int]string
}

// seenLink is an interface as it is now.
type seenLink struct {
	Link
	// has are its addresses.
	has map[netip.Prefix]struct{}
	// own are those that no virtual router has, by who can send from them; nil
	// until somebody asks.
	own map[senderKind]*ownAddresses
}

// see makes the sets.
func see(links []Link) *seen {
	s := &seen{links: make(map[string]*seenLink, len(links)), names: make(map[int]string, len(links))}
	for _, l := range links {
		has := make(map[netip.Prefix]struct{}, len(l.Addresses))
		for _, p := range l.Addresses {
			has[p] = struct{}{}
		}
		s.links[l.Name] = &seenLink{Link: l, has: has}
		s.names[l.Index] = l.Name
	}
	return s
}

// link is an interface, the zero one if it does not exist.
func (s *seen) link(name string) (l Link, ok bool) {
	if s := s.links[name]; s != nil {
		return s.Link, true
	}
	return Link{}, false
}

// carries reports whether the interface has an address.
func (l *seenLink) carries(p netip.Prefix) bool {
	_, has := l.has[p]
	return has
}

// senderKind is what advertisements may come from: an address of a family, and of
// IPv6 with or without link-local scope.
type senderKind struct {
	family    Family
	linkLocal bool
}

func kindOf(a netip.Addr) senderKind {
	if a.Is4() {
		return senderKind{family: IPv4}
	}
	return senderKind{IPv6, a.IsLinkLocalUnicast()}
}

// senderKind is what a virtual router can send from.
func (c *Config) senderKind() senderKind {
	if c.Family() == IPv4 {
		return senderKind{family: IPv4}
	}
	return senderKind{IPv6, c.linkLocalSource()}
}

// ownAddresses are an interface's addresses of one kind.
type ownAddresses struct {
	// first is the first that no virtual router has, and any of them are in set.
	first netip.Addr
	set   map[netip.Addr]struct{}
	// virtual is the first that a virtual router has.
	virtual netip.Addr
}

// ownOf are the addresses of an interface that a router could send from.
func (e *Engine) ownOf(l *seenLink, kind senderKind) *ownAddresses {
	if l.own == nil {
		l.own = make(map[senderKind]*ownAddresses)
		for _, p := range l.Addresses {
			a := p.Addr()
			own := l.own[kindOf(a)]
			if own == nil {
				own = &ownAddresses{set: make(map[netip.Addr]struct{})}
				l.own[kindOf(a)] = own
			}
			if e.holders().virtual(l.Name, a) {
				if !own.virtual.IsValid() {
					own.virtual = a
				}
				continue
			}
			if !own.first.IsValid() {
				own.first = a
			}
			own.set[a] = struct{}{}
		}
	}
	if own := l.own[kind]; own != nil {
		return own
	}
	return &ownAddresses{}
}
