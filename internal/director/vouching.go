package director

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/peer"
)

// A backup whose only address in the servers' network is the one that it takes over cannot
// reach them before. Until they have answered it is what the director saw that had the
// address before which decides: it told so over the channel.

// pastAge is how long what a director saw counts after its session has ended.
const pastAge = time.Minute

// past is what a director saw whose session has ended.
type past struct {
	sees  map[string]seen
	ended time.Time
}

// keep remembers what a director saw whose session ends.
func (c *comparison) keep(name string, s *peer.Session, now time.Time) {
	maps.DeleteFunc(c.past, func(_ string, p past) bool { return now.Sub(p.ended) > pastAge })
	o := c.others[name]
	if o == nil || o.session != s || len(o.sees) == 0 {
		return
	}
	c.past[name] = past{sees: o.sees, ended: now}
}

// voucher is another director that has a target up, or had until its session ended, with the
// least name; empty is none. One that has told everything anew counts for what it says now.
func (c *comparison) voucher(now time.Time, id string) string {
	for _, name := range slices.Sorted(maps.Keys(c.others)) {
		if c.others[name].sees[id].State == "up" {
			return name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.past)) {
		o, p := c.others[name], c.past[name]
		if now.Sub(p.ended) <= pastAge && (o == nil || !o.whole) && p.sees[id].State == "up" {
			return name
		}
	}
	return ""
}

// vouch takes targets for up that have not answered since the addresses came, and that
// another director has, or had, up.
func (c *channel) vouch(now time.Time, targets []healthcheck.Target, judged []healthcheck.Judgment) {
	for i := range judged {
		if !judged[i].Anew {
			continue
		}
		c.mu.Lock()
		name := c.compare.voucher(now, targetID(targets[i]))
		c.mu.Unlock()
		if name == "" {
			continue
		}
		judged[i].Verdict = healthcheck.Verdict{
			State: healthcheck.Up, Since: judged[i].Since,
			Reason: fmt.Sprintf("taken for up, as %s had it up and it could not be reached before the addresses came", name),
		}
		judged[i].Assumed, judged[i].Open = true, false
	}
}

// addressesCame has those asked at once that could not be reached without them.
func (d *Director) addressesCame() {
	if until := d.monitor.Anew(); until.After(d.vouched) {
		d.vouched = until
	}
	d.want()
}
