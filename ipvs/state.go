package ipvs

import (
	"maps"
	"slices"
	"syscall"
)

// state is a table that changes are applied to one by one, as the kernel does
// it. Destinations are sorted and never written in place, so that they may be
// shared with whoever has asked for a list.
type state map[ServiceKey]Service

// newState returns the state of a table.
func newState(table []Service) state {
	st := make(state, len(table))
	for _, s := range normalTable(table) {
		st[s.Key] = s
	}
	return st
}

// list returns the services sorted by key.
func (st state) list() []Service {
	return slices.SortedFunc(maps.Values(st), compareServices)
}

// apply makes a change, or refuses it as the kernel would.
func (st state) apply(c Change) error {
	key := c.Service.Key
	s, found := st[key]
	switch {
	case c.Op == AddService && found:
		return syscall.EEXIST
	case c.Op == AddService:
		st[key] = c.Service.settings()
		return nil
	case !found:
		return syscall.ESRCH
	case c.Op == RemoveService:
		delete(st, key)
		return nil
	case c.Op == SetService:
		next := c.Service
		next.Destinations, next.Traffic = s.Destinations, s.Traffic
		st[key] = next
		return nil
	}

	i, found := slices.BinarySearchFunc(s.Destinations, c.Destination, compareDestinations)
	switch {
	case c.Op == AddServer && found:
		return syscall.EEXIST
	case c.Op == AddServer:
		d := c.Destination
		d.Place = s.last() + 1
		s.Destinations = slices.Insert(slices.Clone(s.Destinations), i, d)
	case !found:
		return syscall.ENOENT
	case c.Op == RemoveServer:
		s.Destinations = slices.Delete(slices.Clone(s.Destinations), i, i+1)
	default:
		d, was := c.Destination, s.Destinations[i]
		d.Active, d.Inactive, d.Templates, d.Traffic, d.Place = was.Active, was.Inactive, was.Templates, was.Traffic, was.Place
		if c.Op == MoveServer {
			d.Place = s.last() + 1
		}
		s.Destinations = slices.Clone(s.Destinations)
		s.Destinations[i] = d
	}
	st[key] = s
	return nil
}

// last is the place of the server that was added last.
func (s Service) last() (place int) {
	for _, d := range s.Destinations {
		place = max(place, d.Place)
	}
	return place
}
