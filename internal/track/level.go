package track

import "time"

// level is what is known of one condition, with its delays. It has no clock.
type level struct {
	report Report
	// raw is what was last seen, and rawSince since when without a break.
	raw      Report
	rawSince time.Time
}

// see takes in an observation and reports whether what is known changed.
func (l *level) see(now time.Time, c Condition, seen Report) (changed bool) {
	if !l.raw.Known || l.raw.Holds != seen.Holds {
		l.rawSince = now
	}
	seen.Known = true
	l.raw = seen
	return l.settle(now, c)
}

// settle applies what was seen once its delay is over.
func (l *level) settle(now time.Time, c Condition) (changed bool) {
	if at := l.deadline(c); !l.raw.Known || (!at.IsZero() && now.Before(at)) {
		return false
	}
	before := l.report
	l.report.Known, l.report.Holds, l.report.Value, l.report.Reason = true, l.raw.Holds, l.raw.Value, l.raw.Reason
	if !before.Known || before.Holds != l.report.Holds {
		l.report.Since = now
	}
	l.report.Name = c.Name
	return before.Known != l.report.Known || before.Holds != l.report.Holds || before.Value != l.report.Value
}

// deadline is when something seen is to be applied; zero is now or never. What is
// seen first is applied at once.
func (l *level) deadline(c Condition) time.Time {
	if !l.report.Known || l.raw.Holds == l.report.Holds {
		return time.Time{}
	}
	if l.raw.Holds {
		return l.rawSince.Add(c.UpDelay)
	}
	return l.rawSince.Add(c.DownDelay)
}
