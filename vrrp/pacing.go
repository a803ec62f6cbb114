package vrrp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Pacing spaces the announcements of addresses on the interfaces of one switch,
// which all virtual routers together would otherwise flood when they become
// active at once (keepalived's garp_group, garp_interval and gna_interval).
type Pacing struct {
	// Name is what operators call it.
	Name string
	// Interfaces are those that share the gap. A virtual router's own interface
	// counts as the one below it.
	Interfaces []string
	// Gap is the least time between two packets, more than 0. The two ARP packets
	// of an IPv4 address go together, and twice the gap follows them.
	Gap time.Duration
}

// Pace makes the pacing of announcements equal to the list. Addresses, and
// interfaces that are not in the list, wait for nothing. What waits already goes on
// at the new pace. An error changes nothing. It may be called before Run.
func (e *Engine) Pace(ctx context.Context, list []Pacing) error {
	var errs []error
	seen := make(map[string]string)
	for _, p := range list {
		if p.Gap <= 0 {
			errs = append(errs, fmt.Errorf("pacing %q: gap %s is not more than 0", p.Name, p.Gap))
		}
		for _, iface := range p.Interfaces {
			if other, ok := seen[iface]; ok {
				errs = append(errs, fmt.Errorf("pacing %q: %s is in %q already", p.Name, iface, other))
			}
			seen[iface] = p.Name
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	list = slices.Clone(list)
	return e.do(ctx, func() {
		before := e.pacers
		e.pacers, e.paced = make(map[string]*pacer, len(list)), make(map[string]*pacer)
		for _, p := range list {
			shared := before[p.Name]
			if shared == nil {
				shared = newPacer()
			}
			shared.setGap(p.Gap)
			e.pacers[p.Name] = shared
			for _, iface := range p.Interfaces {
				e.paced[iface] = shared
			}
		}
		e.repace()
	})
}

// repace tells every worker with whom it shares its pace.
func (e *Engine) repace() {
	for iface, w := range e.workers {
		w.setPacer(e.pacerOf(iface))
	}
}

// pacerOf is the pacer of an interface, nil if it has none.
func (e *Engine) pacerOf(iface string) *pacer {
	for _, m := range e.members {
		if cfg := &m.router.cfg; cfg.Virtual == iface {
			return e.paced[cfg.Interface]
		}
	}
	return e.paced[iface]
}

// pacer decides which of the interfaces that share a pace may send, and when. It
// does not look at the clock.
type pacer struct {
	mu sync.Mutex // guards what follows, which the interfaces' workers share
	// gap follows each packet.
	gap time.Duration
	// next is when the next packet may go.
	next time.Time
	// waiting are the interfaces that were told to wait.
	waiting map[string]waiter
}

// waiter is an interface that has something to send.
type waiter struct {
	// rank is how urgent it is; the lowest goes first.
	rank int
	// since is when it first asked.
	since time.Time
}

func newPacer() *pacer { return &pacer{waiting: make(map[string]waiter)} }

// setGap changes the gap from the next packet on.
func (p *pacer) setGap(gap time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap = gap
}

// turn says whether an interface may send so many packets now. If not, it is to
// ask again at the time returned. A turn that the most urgent one has not taken
// for a whole gap is anybody's: its worker may be busy.
func (p *pacer) turn(now time.Time, iface string, rank, packets int) (ok bool, again time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, is := p.waiting[iface]
	if !is {
		w.since = now
	}
	w.rank = rank
	p.waiting[iface] = w
	if now.Before(p.next) {
		return false, p.next
	}
	if lapse := p.next.Add(p.gap); now.Before(lapse) && p.preceded(iface, w) {
		return false, lapse
	}
	delete(p.waiting, iface)
	p.next = now.Add(p.gap * time.Duration(packets))
	return true, time.Time{}
}

// preceded says whether another interface goes first.
func (p *pacer) preceded(iface string, w waiter) bool {
	for other, o := range p.waiting {
		if other != iface && (o.rank < w.rank || o.rank == w.rank && o.since.Before(w.since)) {
			return true
		}
	}
	return false
}

// leave says that an interface has nothing to send any more.
func (p *pacer) leave(iface string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, iface)
}

// packetsOf is how many packets announce the addresses.
func packetsOf(addrs []netip.Addr) int {
	n := len(addrs)
	for _, a := range addrs {
		if a.Is4() {
			n++
		}
	}
	return n
}
