package ipvs

import (
	"fmt"
	"maps"
	"slices"
)

// respect notes which rows of services whose changes by others stay are not what they
// were when the table was last known.
func (w *worker) respect(before *state) {
	for key := range w.respected {
		was, there := before.get(key)
		now, still := w.known.get(key)
		if !there || !still {
			continue // one that is gone is made again
		}
		note := func(r row) {
			if w.drifted == nil {
				w.drifted = make(map[row]Change)
			}
			w.drifted[r] = Change{}
		}
		if !was.sameSettings(now) {
			note(row{service: key})
		}
		for _, c := range setService(was, now) {
			if c.Op != SetService && c.Op != MoveServer {
				note(c.row())
			}
		}
	}
}

// left takes from a plan what is about rows that others have changed and may.
func (w *worker) left(p Plan) Plan {
	if len(w.drifted) == 0 {
		return p
	}
	still := make(map[row]Change)
	p = slices.DeleteFunc(p, func(c Change) bool {
		_, drifted := w.drifted[c.row()]
		if !drifted || c.Op == AddService || c.Op == RemoveService {
			return false
		}
		if !w.known.has(c.Service.Key) {
			return false
		}
		if c.Op == MoveServer {
			return true
		}
		if first, twice := still[c.row()]; twice && c.Op == RemoveServer {
			c.OldDestination = first.OldDestination // weight 0 comes before it
		}
		still[c.row()] = c
		return true
	})
	// Rows that have come right again are not drifted any more.
	w.drifted = still
	return p
}

// differences words what others have changed and what stays, sorted.
func (w *worker) differences() []string {
	var out []string
	for _, r := range slices.SortedFunc(maps.Keys(w.drifted), compareRows) {
		out = append(out, w.drifted[r].Difference())
	}
	return out
}

// sameRow reports whether a row is wanted in one table as in another.
func sameRow(r row, a, b *state) bool {
	before, _ := a.get(r.service)
	after, _ := b.get(r.service)
	if !r.server.IsValid() {
		return before.sameSettings(after)
	}
	find := func(s Service) (Destination, bool) {
		i, found := slices.BinarySearchFunc(s.Destinations, Destination{Addr: r.server}, compareDestinations)
		if !found {
			return Destination{}, false
		}
		return s.Destinations[i], true
	}
	was, had := find(before)
	is, has := find(after)
	return had == has && was.same(is)
}

// Difference words a change as what is in the kernel and what is wanted instead: "server
// 192.0.2.21:80 of 192.0.2.10:80/tcp: weight 0 in the kernel, 2 wanted".
func (c Change) Difference() string {
	key, server := c.Service.Key, c.Destination.Addr
	switch c.Op {
	case AddService:
		return fmt.Sprintf("service %s: not in the kernel, wanted", key)
	case RemoveService:
		return fmt.Sprintf("service %s: in the kernel, not wanted", key)
	case AddServer:
		return fmt.Sprintf("server %s of %s: not in the kernel, wanted", server, key)
	case RemoveServer:
		return fmt.Sprintf("server %s of %s: in the kernel, not wanted", server, key)
	case MoveServer:
		return fmt.Sprintf("server %s of %s: not in its place in the kernel", server, key)
	case SetService:
		return fmt.Sprintf("service %s: %s", key, differs(c.edits()))
	default:
		return fmt.Sprintf("server %s of %s: %s", server, key, differs(c.edits()))
	}
}

// differs words values that differ.
func differs(parts []edit) (out string) {
	for i, p := range parts {
		if i > 0 {
			out += "; "
		}
		out += fmt.Sprintf("%s %s in the kernel, %s wanted", p.name, p.from, p.to)
	}
	return out
}
