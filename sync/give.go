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
	records, _, listed, err := e.table(ctx, m.Token != 0)
	if err != nil {
		_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Problem: err.Error()}))
		return
	}
	e.mu.Lock()
	begin := beginMessage{ID: m.ID, Total: len(records)}
	if len(e.serves) <= maxServes {
		begin.Serves = e.serves
	}
	e.mu.Unlock()
	if s.link.Send(ctx, say(sayBegin, begin)) != nil {
		return
	}
	total := len(records)
	if stream(ctx, s, m.ID, records) != nil {
		return
	}
	if listed {
		// What has changed meanwhile has come to the other director before the records
		// above, which were older.
		again, over, _, err := e.table(ctx, true)
		if err != nil {
			_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Total: total, Problem: err.Error()}))
			return
		}
		changed := since(records, again, over)
		total += len(changed)
		if stream(ctx, s, m.ID, changed) != nil {
			return
		}
	}
	_ = s.link.Send(ctx, say(sayEnd, endMessage{ID: m.ID, Total: total}))
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

// table is the whole table in the order of its worth: templates, which connections
// to come depend on, then what is established, then the rest. It is from the kernel's
// listing where that is short, or the youngest are asked for, or the shadow does not
// have everything, and otherwise from the shadow. A listing also has what is over in a
// moment.
func (e *Exchange) table(ctx context.Context, youngest bool) (records []Record, over map[ConnKey]bool, listed bool, err error) {
	e.mu.Lock()
	shadowed := e.shadow != nil && e.warm && e.cfg.Refresh > 0 && e.shadow.Len() > smallTable
	if shadowed && (!youngest || e.shadow.Len() > listLimit) {
		records = make([]Record, 0, e.shadow.Len())
		for r := range e.shadow.Left(time.Now()) {
			records = append(records, r)
		}
		e.mu.Unlock()
		order(records)
		return records, nil, false, nil
	}
	refresh := e.cfg.Refresh
	e.mu.Unlock()
	seen, want := make(map[ConnKey]bool), 0
	over = make(map[ConnKey]bool)
	for range listings {
		// What vanishes while the kernel lists moves others out of sight, those of
		// other network namespaces too. What was counted before is to be seen.
		pool, err := e.opts.Pool(ctx, true)
		if err != nil {
			return nil, nil, false, err
		}
		want = max(want, pool.conns())
		for c, err := range e.opts.System.Conns(false) {
			if err != nil {
				return nil, nil, false, fmt.Errorf("reading the connection table: %w", err)
			}
			if ctx.Err() != nil {
				return nil, nil, false, context.Cause(ctx)
			}
			if seen[c.Key] {
				continue
			}
			seen[c.Key] = true
			e.mu.Lock()
			r, ok := e.pool.Record(c)
			e.mu.Unlock()
			if !ok {
				over[c.Key] = true
				continue
			}
			if refresh > 0 && !r.Key.Template {
				// The kernel tells of what goes on, so that what does not need not live
				// longer there than here.
				r.Timeout = c.Expires + 1
				if !r.Key.ending(r.State) {
					r.Timeout += uint32(refresh / time.Second)
				}
			}
			records = append(records, r)
		}
		if len(seen) >= want {
			break
		}
	}
	order(records)
	return records, over, true, nil
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
func since(before, after []Record, over map[ConnKey]bool) (changed []Record) {
	old := make(map[ConnKey]Record, len(before))
	for _, r := range before {
		old[r.Key] = r
		if over[r.Key] {
			changed = append(changed, r.gone())
		}
	}
	for _, r := range after {
		if was, known := old[r.Key]; !known || !was.same(&r) {
			changed = append(changed, r)
		}
	}
	return changed
}
