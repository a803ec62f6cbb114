package ipvs

import (
	"maps"
	"slices"
	"syscall"
)

// state is a table that changes are applied to one by one, as the kernel does
// it. Destinations are sorted and never written in place, so that they may be
// shared with whoever has asked for a list. A nil state is an empty one that takes no
// change.
type state struct {
	services map[ServiceKey]Service
	// sorted is what list returns; nil since a change.
	sorted []Service
}

// newState returns the state of a table.
func newState(table []Service) *state {
	sorted := normalTable(table)
	st := &state{services: make(map[ServiceKey]Service, len(sorted)), sorted: sorted}
	for _, s := range sorted {
		st.services[s.Key] = s
	}
	return st
}

// list returns the services sorted by key. It is shared, and must not be written to.
func (st *state) list() []Service {
	if st == nil {
		return nil
	}
	if st.sorted == nil {
		st.sorted = slices.SortedFunc(maps.Values(st.services), compareServices)
	}
	return st.sorted
}

// get returns the service of a key, if there is one.
func (st *state) get(key ServiceKey) (Service, bool) {
	if st == nil {
		return Service{}, false
	}
	s, found := st.services[key]
	return s, found
}

// has reports whether there is a service of a key.
func (st *state) has(key ServiceKey) bool {
	_, found := st.get(key)
	return found
}

// len counts the services.
func (st *state) len() int {
	if st == nil {
		return 0
	}
	return len(st.services)
}

func (st *state) put(s Service) {
	st.services[s.Key] = s
	st.sorted = nil
}

func (st *state) remove(key ServiceKey) {
	if st.has(key) {
		delete(st.services, key)
		st.sorted = nil
	}
}

// apply makes a change, or refuses it as the kernel would.
func (st *state) apply(c Change) error {
	key := c.Service.Key
	s, found := st.get(key)
	switch {
	case c.Op == AddService && found:
		return syscall.EEXIST
	case c.Op == AddService:
		st.put(c.Service.settings())
		return nil
	case !found:
		return syscall.ESRCH
	case c.Op == RemoveService:
		st.remove(key)
		return nil
	case c.Op == SetService:
		next := c.Service
		next.Destinations, next.Traffic = s.Destinations, s.Traffic
		st.put(next)
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
	st.put(s)
	return nil
}

// last is the place of the server that was added last.
func (s Service) last() (place int) {
	for _, d := range s.Destinations {
		place = max(place, d.Place)
	}
	return place
}
