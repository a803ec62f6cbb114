package vrrp

import (
	"fmt"
	"slices"
	"time"
)

// place is where an item is.
type place struct {
	iface string
	item  item
}

// problem is an operation that fails.
type problem struct {
	text string
	// missing says that the item is not there.
	missing bool
}

// reported takes in what a worker found out.
func (e *Engine) reported(r report) {
	if r.item == (item{}) {
		// A worker has nothing left to do; the loop looks whether it can end.
		return
	}
	now := time.Now()
	for _, key := range r.owners {
		m := e.find(key)
		if m == nil {
			continue
		}
		switch {
		case r.lost:
			if a, ok := m.address(r.iface, r.item); ok {
				e.step(m, now, AddressLost{Address: a})
			}
		case r.restored:
			e.notice(Notice{
				Router: m.router.cfg.Name, Key: key, Kind: NoticeRestored, At: now,
				Text: r.item.on(r.iface) + " was removed by somebody, put back",
			})
		default:
			e.problem(m, now, r)
		}
	}
	if len(r.owners) == 0 && r.err != nil {
		e.notice(Notice{
			Key: Key{Interface: r.iface}, Kind: NoticeOperation, At: now, Text: fmt.Sprintf("removing %s: %v", r.item.on(r.iface), r.err),
		})
	}
}

// address is the address of the configuration that an item is.
func (m *member) address(iface string, it item) (Address, bool) {
	cfg := &m.router.cfg
	for _, a := range cfg.held() {
		if itemOf(a) == it && cfg.carrier(a) == iface {
			return a, true
		}
	}
	return Address{}, false
}

// problem notes that an operation fails, or works again.
func (e *Engine) problem(m *member, now time.Time, r report) {
	at := place{r.iface, r.item}
	old, had := m.problems[at]
	notice := func(text string) {
		e.notice(Notice{Router: m.router.cfg.Name, Key: m.router.key, Kind: NoticeOperation, Text: text, At: now})
	}
	if r.err == nil {
		if had {
			delete(m.problems, at)
			notice(r.item.on(r.iface) + " works again")
		}
		return
	}
	m.problems[at] = problem{r.err.Error(), !r.installed}
	if old.text != r.err.Error() {
		notice(r.err.Error())
	}
	patience := max(time.Second, 3*m.router.cfg.Interval)
	if r.item.prefix.IsValid() && m.router.State() == Active && m.bare() && now.Sub(m.router.since) >= patience {
		e.step(m, now, InstallFailed{Err: r.err})
	}
}

// bare says that not one of the advertised addresses is there.
func (m *member) bare() bool {
	cfg := &m.router.cfg
	return !slices.ContainsFunc(cfg.Addresses, func(a Address) bool {
		return !m.problems[place{cfg.carrier(a), itemOf(a)}].missing
	})
}

// troubles are the problems in words, in the order in which things are put in
// place; those of one cause once.
func (m *member) troubles() []string {
	places := make([]place, 0, len(m.problems))
	for at := range m.problems {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b place) int { return compareItems(a.item, b.item) })
	var out []string
	for _, at := range places {
		if text := m.problems[at].text; !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}
