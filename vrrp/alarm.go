package vrrp

import (
	"fmt"
	"slices"
	"time"
)

// Alarm is a condition that lasts and that operators should know of. Its
// beginning and its end are Notices.
type Alarm struct {
	Kind NoticeKind
	// Text says what is the matter.
	Text string
	// Since is when it began.
	Since time.Time
	// until is when it ends unless it shows again.
	until time.Time
}

// How long alarms last that have no natural end.
const (
	stallShown     = time.Minute
	conflictShown  = 3 * defendEvery
	contestedShown = time.Minute
)

// raise begins an alarm, or lets it go on with a new text, and says which.
func (r *Router) raise(now time.Time, kind NoticeKind, until time.Time, format string, args ...any) (began bool) {
	text := fmt.Sprintf(format, args...)
	i := slices.IndexFunc(r.alarms, func(a Alarm) bool { return a.Kind == kind })
	if began = i < 0; began {
		r.notice(now, kind, "%s", text)
		i = len(r.alarms)
		r.alarms = append(r.alarms, Alarm{Kind: kind, Since: now})
	}
	r.alarms[i].Text, r.alarms[i].until = text, until
	return began
}

// endAlarms ends those that have not shown again, or all.
func (r *Router) endAlarms(now time.Time, all bool) {
	r.alarms = slices.DeleteFunc(r.alarms, func(a Alarm) bool {
		if !all && !due(a.until, now) {
			return false
		}
		r.notice(now, a.Kind, "over: %s", a.Text)
		return true
	})
}
