package vrrp

import "slices"

// owns reports whether an address is the machine's own: that of the owner, priority 255,
// if it is advertised (RFC 9568 section 1.7, IPvX Address Owner). Such an address was
// there before the router was and stays when it goes. The owner installs it where it is
// missing, and never removes it. What is on a virtual interface is not the machine's, as
// that interface is not.
func (c *Config) owns(a Address) bool {
	return c.Priority == priorityOwner && c.carrier(a) == a.Interface && slices.Contains(c.Addresses, a)
}

// Borrowed is Placed without what is the machine's own: what has to be removed if the
// process does not come back.
func (c Config) Borrowed() []Address {
	c = c.resolved()
	borrowed := slices.DeleteFunc(c.held(), c.owns)
	for i, a := range borrowed {
		borrowed[i].Interface = c.carrier(a)
	}
	return borrowed
}

// letGo ends what a router does about addresses that it had by a configuration.
func (r *Router) letGo(cfg *Config, addresses []Address) {
	var own, borrowed []Address
	for _, a := range addresses {
		if cfg.owns(a) {
			own = append(own, a)
		} else {
			borrowed = append(borrowed, a)
		}
	}
	if len(own) > 0 {
		r.emit(Disown{Addresses: own})
	}
	if len(borrowed) > 0 {
		r.emit(Remove{Addresses: borrowed})
	}
}
