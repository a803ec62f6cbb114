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

// release removes holdings in the reverse order of how they were put in place:
// packets are refused for as long as the address is there. It goes on after an
// error, and returns what it did, a sentence each.
func (h Holdings) release(links vrrp.Links) ([]string, error) {
	var done []string
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		done = append(done, what)
	}
	for _, r := range slices.Backward(h.Rules) {
		note(fmt.Sprintf("removed rule %s", r), links.RemoveRule(r))
	}
	for _, r := range slices.Backward(h.Routes) {
		note(fmt.Sprintf("removed route %s", r), links.RemoveRoute(r))
	}
	for _, a := range h.Addresses {
		note(fmt.Sprintf("removed address %s", a), links.Remove(a.Interface, a.Prefix))
	}
	for _, a := range h.Refused {
		note(fmt.Sprintf("packets to %s are no longer refused", a.Prefix.Addr()), links.Permit(a.Interface, a.Prefix.Addr()))
	}
	for _, v := range h.Virtuals {
		note(fmt.Sprintf("removed interface %s", v.Name), links.RemoveVirtual(v))
	}
	return done, errors.Join(errs...)
}
