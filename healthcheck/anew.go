package healthcheck

import (
	"errors"
	"strings"
	"time"
)

// anewGrace is how long a probe that does not reach its server says nothing, from the time
// at which this machine has other addresses: they are added one after the other, and routes
// and neighbours come with them.
const anewGrace = 500 * time.Millisecond

// Anew asks those at once that could not be reached, because this machine has addresses now
// that it had not when they were asked. The first answer of such a target decides by itself,
// and until then, but not after the returned time, its Judgment is Anew. Many are spread as
// new targets are.
func (m *Monitor) Anew() (until time.Time) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*entry
	for _, e := range m.entries {
		if e.unreached || e.count.Probes == 0 && e.counter.verdict.State == Unknown {
			all = append(all, e)
		}
	}
	for _, e := range all {
		if e.counter.verdict.State != Up {
			e.moved, e.until = now, now.Add(e.check.FirstVerdict(Unknown))
			if e.until.After(until) {
				until = e.until
			}
			if e.cancel != nil {
				e.cancel() // it went out without the addresses
			}
		}
		if due, _ := firstDue(now, Target{Server: e.target.Server, Check: e.check}, len(all), Unknown); e.at >= 0 && e.due.After(due) {
			e.due = due
			m.queue.moved(e)
		}
	}
	m.kick()
	return until
}

// missed reports whether an error of a probe is no answer of the server: it was not reached,
// or nothing can be said of whether it was.
func (e *entry) missed(err error) bool {
	if err == nil {
		return false
	}
	kind := e.check.Kind() // the two that others ask for us
	if silent(err) || errors.Is(err, ErrTimeout) || errors.Is(err, ErrInconclusive) || kind == "exec" || kind == "bfd" {
		return true
	}
	// Some libraries leave nothing but the text.
	for _, errno := range unreachable {
		if strings.Contains(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}

// early reports whether a failure says nothing because the addresses had only just come,
// and when to ask again.
func (e *entry) early(now time.Time, r result) (again time.Time, early bool) {
	switch {
	case e.moved.IsZero() || r.err == nil:
		return time.Time{}, false
	case r.start.Before(e.moved):
		return now, true
	case e.unreached && r.start.Before(e.moved.Add(anewGrace)):
		return now.Add(readyRetry), true
	}
	return time.Time{}, false
}
