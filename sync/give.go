package connsync

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// give answers the pulls of a session.
func (e *Exchange) give(s *session) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.asks:
			e.answer(s, m)
		}
	}
}

// answer sends the whole table. An error of a send is the session's end, which is
// dealt with elsewhere.
func (e *Exchange) answer(s *session, m pullMessage) {
	ctx := s.ctx
	e.mu.Lock()
	serves := e.serves // before the table is read
	e.mu.Unlock()
	working := beat(func() { s.say(say(sayWorking, workingMessage{ID: m.ID})) })
	first, err := e.table(ctx, m.Token != 0, working)
	if err != nil {
		_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Problem: err.Error()}))
		return
	}
	e.mu.Lock()
	begin := beginMessage{ID: m.ID, Total: len(first.records)}
	e.unknown = first.unknown
	if first.listed && emptied(e.conns, len(first.records)+len(first.over)+first.unknown+first.spared) {
		e.lost() // before the counters show it
	}
	if len(serves) <= maxServes {
		begin.Serves = serves
	}
	if first.unknown == 0 {
		begin.Complete = s.partner.complete(begin.Serves)
	}
	e.mu.Unlock()
	if s.link.Send(ctx, say(sayBegin, begin)) != nil {
		return
	}
	total, unknown := len(first.records), first.unknown
	if stream(ctx, s, m.ID, first.records) != nil {
		return
	}
	if first.listed {
		// What has changed meanwhile has come to the other director before the records
		// above, which were older.
		again, err := e.table(ctx, true, working)
		if err != nil {
			_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Total: total, Problem: err.Error()}))
			return
		}
		changed := since(first.records, again.records, again.over)
		total += len(changed)
		if stream(ctx, s, m.ID, changed) != nil {
			return
		}
	}
	_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Total: total, Unknown: unknown}))
}

func stream(ctx context.Context, s *session, id uint32, records []Record) error {
	for len(records) > 0 {
		var payload []byte
		payload, records = sayRecordsOf(id, records)
		if err := s.link.Send(ctx, payload); err != nil {
			return err
		}
	}
	return nil
}

const (
	// smallTable is how many entries are always read from the kernel's listing, which
	// has the youngest too. The shadow is up to three seconds behind.
	smallTable = 5000
	// listings is how often the kernel is asked for its listing if it seems to have
	// passed entries over.
	listings = 4
)

// wholeTable is what a director has to hand over.
type wholeTable struct {
	// records are in the order of their worth: templates, which connections to come depend
	// on, then what is established, then the rest.
	records []Record
	// over are entries that are over in a moment, or have just begun, and listed says that
	// the table is from the kernel's listing, which alone has them.
	over   map[ConnKey]Conn
	listed bool
	// unknown counts entries that cannot be handed over, because their service is not
	// known.
	unknown int
	// spared counts connections that are left out.
	spared int
}

// table is the whole table: from the kernel's listing where that is short, or the youngest
// are asked for, or the shadow does not have everything, and otherwise from the shadow.
// working is called now and then.
func (e *Exchange) table(ctx context.Context, youngest bool, working func()) (*wholeTable, error) {
	t := &wholeTable{}
	e.mu.Lock()
	shadowed := e.shadow != nil && e.warm && e.cfg.Refresh > 0 && e.shadow.Len() > smallTable
	if shadowed && (!youngest || e.shadow.Len() > listLimit) {
		now := time.Now()
		e.shadow.Refit(now, e.pool)
		t.records = make([]Record, 0, e.shadow.Len())
		for r := range e.shadow.Left(now) {
			t.records = append(t.records, r)
		}
		t.unknown = e.shadow.Unfit(now)
		e.mu.Unlock()
		order(t.records)
		return t, nil
	}
	e.mu.Unlock()
	if err := e.list(ctx, t, working); err != nil {
		return nil, err
	}
	order(t.records)
	return t, nil
}

// list reads the table from the kernel's listing.
func (e *Exchange) list(ctx context.Context, t *wholeTable, working func()) error {
	e.mu.Lock()
	refresh := e.cfg.Refresh
	e.mu.Unlock()
	t.listed, t.over = true, make(map[ConnKey]Conn)
	seen, want := make(map[ConnKey]bool), 0
	for range listings {
		// What vanishes while the kernel lists moves others out of sight, those of
		// other network namespaces too. What was counted before is to be seen.
		pool, err := e.opts.Pool(ctx, true)
		if err != nil {
			return err
		}
		want = max(want, pool.conns())
		for c, err := range e.opts.System.Conns(false) {
			if err != nil {
				return fmt.Errorf("reading the connection table: %w", err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			working()
			if seen[c.Key] {
				continue
			}
			seen[c.Key] = true
			r, why := e.record(c)
			switch why {
			case passing:
				t.over[c.Key] = c
				continue
			case unknown:
				t.unknown++
				continue
			case spared:
				t.spared++
				continue
			}
			r.withLeft(c.Expires)
			if refresh > 0 && !r.Key.Template {
				// The kernel tells of what goes on, so that what does not need not live
				// longer there than here.
				r.Timeout = c.Expires + 1
				if !r.Key.ending(r.State) {
					r.Timeout += uint32(refresh / time.Second)
				}
			}
			t.records = append(t.records, r)
		}
		if len(seen) >= want {
			break
		}
	}
	return nil
}

// record is Pool.Record with all that is known.
func (e *Exchange) record(c Conn) (Record, unfit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var told *Record
	if e.shadow != nil {
		told = e.shadow.Told(time.Now(), c.Key)
	}
	return e.pool.Record(c, told)
}

func order(records []Record) {
	worth := func(r Record) int {
		switch {
		case r.Key.Template:
			return 0
		case r.Flags&Inactive == 0:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(records, func(a, b Record) int { return worth(a) - worth(b) })
}

// since is what has come, changed or come to its end between two looks at the table. What
// the second look does not show may be there: a listing may pass a living entry over, and the
// receiver removes nothing that it has not missed twice.
func since(before, after []Record, over map[ConnKey]Conn) (changed []Record) {
	old := make(map[ConnKey]Record, len(before))
	for _, r := range before {
		old[r.Key] = r
		if c, passes := over[r.Key]; passes {
			changed = append(changed, r.becomes(&c))
		}
	}
	for _, r := range after {
		if was, known := old[r.Key]; !known || !was.same(&r) {
			changed = append(changed, r)
		}
	}
	return changed
}
