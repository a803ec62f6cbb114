package director

import (
	"errors"
	"fmt"
	"slices"

	"lvsha/vrrp"
)

// Holdings are what virtual routers put into the kernel while they are active.
type Holdings struct {
	// Addresses are with the interface that they are installed on.
	Addresses []vrrp.Address `json:"addresses"`
	// Refused are those of Addresses to which packets are dropped.
	Refused  []vrrp.Address `json:"refused,omitempty"`
	Virtuals []vrrp.Virtual `json:"virtuals,omitempty"`
	Routes   []vrrp.Route   `json:"routes,omitempty"`
	Rules    []vrrp.Rule    `json:"rules,omitempty"`
}

// holdings are those of virtual routers that are to go with them, each thing once.
func holdings(routers []vrrp.Config) Holdings { return holdingsOf(routers, vrrp.Config.Borrowed) }

// named are holdings with the machine's own addresses, which an owner leaves there.
func named(routers []vrrp.Config) Holdings { return holdingsOf(routers, vrrp.Config.Placed) }

func holdingsOf(routers []vrrp.Config, addresses func(vrrp.Config) []vrrp.Address) (h Holdings) {
	for _, r := range routers {
		placed := addresses(r)
		h.Addresses = addTo(h.Addresses, placed)
		if r.Refuses() {
			h.Refused = addTo(h.Refused, placed)
		}
		if v, ok := r.VirtualInterface(); ok {
			h.Virtuals = addTo(h.Virtuals, []vrrp.Virtual{v})
		}
		h.Routes = addTo(h.Routes, r.Routes)
		h.Rules = addTo(h.Rules, r.Rules)
	}
	return h
}

// addTo appends what is not in a list yet.
func addTo[T comparable](list, more []T) []T {
	in := make(map[T]bool, len(list)+len(more))
	for _, x := range list {
		in[x] = true
	}
	for _, x := range more {
		if !in[x] {
			in[x] = true
			list = append(list, x)
		}
	}
	return list
}

// without is what others do not hold. An address that is there with another
// label or scope is held.
func (h Holdings) without(others Holdings) Holdings {
	return Holdings{
		Addresses: subtract(h.Addresses, others.Addresses, place), Refused: subtract(h.Refused, others.Refused, place),
		Virtuals: subtract(h.Virtuals, others.Virtuals, same), Routes: subtract(h.Routes, others.Routes, same), Rules: subtract(h.Rules, others.Rules, same),
	}
}

// place is what tells an address from others in the kernel.
func place(a vrrp.Address) vrrp.Address {
	return vrrp.Address{Prefix: a.Prefix, Interface: a.Interface}
}

func same[T any](x T) T { return x }

func subtract[T any, K comparable](list, others []T, key func(T) K) []T {
	in := make(map[K]bool, len(others))
	for _, x := range others {
		in[key(x)] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return in[key(x)] })
}

// with are holdings and others, each thing once.
func (h Holdings) with(others Holdings) Holdings {
	return Holdings{
		Addresses: addTo(slices.Clone(h.Addresses), others.Addresses), Refused: addTo(slices.Clone(h.Refused), others.Refused),
		Virtuals: addTo(slices.Clone(h.Virtuals), others.Virtuals), Routes: addTo(slices.Clone(h.Routes), others.Routes), Rules: addTo(slices.Clone(h.Rules), others.Rules),
	}
}

// none reports whether nothing is held.
func (h Holdings) none() bool {
	return len(h.Addresses)+len(h.Refused)+len(h.Virtuals)+len(h.Routes)+len(h.Rules) == 0
}

// release removes holdings in the reverse order of how they were put in place:
// packets are refused for as long as the address is there. It goes on after an
// error, and returns what it did, a sentence each, and what is left.
func (h Holdings) release(links vrrp.Links) (done []string, left Holdings, err error) {
	var errs []error
	removed := func(what string, err error) bool {
		if err != nil {
			errs = append(errs, err)
			return false
		}
		done = append(done, what)
		return true
	}
	for _, r := range slices.Backward(h.Rules) {
		if !removed(fmt.Sprintf("removed rule %s", r), links.RemoveRule(r)) {
			left.Rules = append(left.Rules, r)
		}
	}
	for _, r := range slices.Backward(h.Routes) {
		if !removed(fmt.Sprintf("removed route %s", r), links.RemoveRoute(r)) {
			left.Routes = append(left.Routes, r)
		}
	}
	slices.Reverse(left.Rules)
	slices.Reverse(left.Routes)
	for _, a := range h.Addresses {
		if !removed(fmt.Sprintf("removed address %s", a), links.Remove(a.Interface, a.Prefix)) {
			left.Addresses = append(left.Addresses, a)
		}
	}
	for _, a := range h.Refused {
		if !removed(fmt.Sprintf("packets to %s are no longer refused", a.Prefix.Addr()), links.Permit(a.Interface, a.Prefix.Addr())) {
			left.Refused = append(left.Refused, a)
		}
	}
	for _, v := range h.Virtuals {
		if !removed(fmt.Sprintf("removed interface %s", v.Name), links.RemoveVirtual(v)) {
			left.Virtuals = append(left.Virtuals, v)
		}
	}
	return done, left, errors.Join(errs...)
}
