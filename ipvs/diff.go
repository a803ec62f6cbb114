package ipvs

import (
	"net/netip"
	"slices"
)

// Diff returns the plan that turns the kernel's table into the wanted one. It
// is empty when they agree, and the same for the same tables in any order.
//
// A service of have that is not wanted is removed if ours says so, and left
// alone otherwise; a nil ours owns nothing. The package documentation has the
// order of the changes. Both tables are taken as valid; of two services with one
// key the first counts.
func Diff(have, want []Service, ours func(ServiceKey) bool) Plan {
	return diff(normalTable(have), normalTable(want), ours)
}

// diff is Diff of two normal tables.
func diff(have, want []Service, ours func(ServiceKey) bool) Plan {
	rows := 0 // of services that are to be added
	for i, k := 0, 0; k < len(want); k++ {
		for i < len(have) && have[i].Key.Compare(want[k].Key) < 0 {
			i++
		}
		if i == len(have) || have[i].Key != want[k].Key {
			rows += 1 + len(want[k].Destinations)
		}
	}
	add := make(Plan, 0, rows)
	var set, remove Plan
	for len(have) > 0 || len(want) > 0 {
		switch {
		case len(want) == 0 || len(have) > 0 && have[0].Key.Compare(want[0].Key) < 0:
			if ours != nil && ours(have[0].Key) {
				remove = append(remove, Change{Op: RemoveService, Service: have[0].settings()})
			}
			have = have[1:]
		case len(have) == 0 || want[0].Key.Compare(have[0].Key) < 0:
			add = addService(add, want[0])
			want = want[1:]
		case agrees(&have[0], &want[0]):
			have, want = have[1:], want[1:]
		default:
			set = append(set, setService(have[0], want[0])...)
			have, want = have[1:], want[1:]
		}
	}
	return append(append(add, set...), remove...)
}

// addService appends what adds a service.
func addService(p Plan, s Service) Plan {
	settings := s.settings()
	p = append(p, Change{Op: AddService, Service: settings})
	for _, d := range s.Destinations {
		p = append(p, Change{Op: AddServer, Service: settings, Destination: d})
	}
	return p
}

// agrees reports whether there is certainly nothing to change of a service that is in
// both tables. Where the order of the servers matters that has to be looked at.
func agrees(have, want *Service) bool {
	return !OrderMatters(want.Scheduler) && have.sameSettings(*want) && slices.EqualFunc(have.Destinations, want.Destinations, func(a, b Destination) bool {
		return a.Addr == b.Addr && a.same(b)
	})
}

// setService returns the changes of one service that is in both tables: its
// settings, then the servers that come or gain weight, those that lose weight,
// those that lose all of it, and the ones that go.
func setService(have, want Service) Plan {
	var settings, add, up, down, zero, remove Plan
	after := want.settings()
	if !have.sameSettings(want) {
		settings = Plan{{Op: SetService, Service: after, OldService: have.settings()}}
	}
	set := func(from, to Destination) {
		c := Change{Op: SetServer, Service: after, Destination: to, OldDestination: from}
		switch {
		case to.Weight == 0 && from.Weight > 0:
			zero = append(zero, c)
		case to.Weight < from.Weight:
			down = append(down, c)
		default:
			up = append(up, c)
		}
	}
	from, to := have.Destinations, want.Destinations
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0 || len(from) > 0 && compareDestinations(from[0], to[0]) < 0:
			gone := from[0]
			// An edit writes all values, and the methods that read as zero
			// cannot be written.
			if gone.Weight > 0 && gone.Forward != 0 {
				quiet := gone
				quiet.Weight, quiet.Extra = 0, ""
				set(gone, quiet)
				gone = quiet
			}
			remove = append(remove, Change{Op: RemoveServer, Service: after, Destination: gone})
			from = from[1:]
		case len(from) == 0 || compareDestinations(to[0], from[0]) < 0:
			add = append(add, Change{Op: AddServer, Service: after, Destination: to[0]})
			to = to[1:]
		default:
			if !from[0].same(to[0]) {
				set(from[0], to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
	if OrderMatters(want.Scheduler) {
		add = inOrder(have, want, add)
	}
	p := settings
	for _, part := range []Plan{add, up, down, zero, remove} {
		p = append(p, part...)
	}
	return p
}

// inOrder puts the servers of a service that stay or come in the order of their
// addresses: add are the changes that add those that come, in that order. What is added
// is the last in the kernel's list, so one that has to stand behind it is moved there, one
// at a time, so that no more than one is ever out of the list. A server that takes
// connections waits for its move until another one does, before and after.
func inOrder(have, want Service, add Plan) Plan {
	places := make(map[netip.AddrPort]int, len(have.Destinations))
	taking := 0 // that may take over for one that is moved
	for _, d := range have.Destinations {
		places[d.Addr] = d.Place
		if d.Weight > 0 {
			taking++
		}
	}
	var out Plan
	last, moving := 0, false
	for _, d := range want.Destinations {
		place, there := places[d.Addr]
		switch {
		case !there:
			out, add, moving = append(out, add[0]), add[1:], true
			if d.Weight > 0 {
				taking++
			}
		case place == 0:
			// Nobody knows.
		case moving || place < last:
			moving = true
			i, _ := slices.BinarySearchFunc(have.Destinations, d, compareDestinations)
			now := have.Destinations[i]
			if now.Forward == 0 || now.Weight > 0 && taking < 2 {
				// Without this move those behind it make no order.
				return append(out, add...)
			}
			now.Extra = ""
			out = append(out, Change{Op: MoveServer, Service: want.settings(), Destination: now})
		default:
			last = place
		}
	}
	return out
}
