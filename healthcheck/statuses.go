package healthcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ First, Last int }

// StatusSet is a set of HTTP status codes.
type StatusSet []StatusRange

// Statuses are status codes as ParseStatus reads them.
type Statuses string

// UnmarshalText reads them into the one form in which equal sets are equal.
func (s *Statuses) UnmarshalText(text []byte) error {
	set, err := ParseStatus(string(text))
	if len(text) == 0 || err != nil {
		return errors.New("want codes and ranges from 100 to 599 such as \"200-299,304\"")
	}
	*s = Statuses(set.String())
	return nil
}

// ParseStatus reads a set of status codes such as "200-299,304": codes from 100
// to 599 and ranges of them, separated by commas. Empty means 200-299.
func ParseStatus(s string) (StatusSet, error) {
	if s == "" {
		s = string(defaultRequest.Status)
	}
	var set StatusSet
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := statusCode(first)
		b, errB := statusCode(last)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("status %q: want codes and ranges from 100 to 599, such as \"200-299,304\"", part)
		}
		set = append(set, StatusRange{a, b})
	}
	return set, nil
}

func statusCode(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err != nil {
		return 0, err
	}
	if n < 100 || n > 599 {
		return 0, strconv.ErrRange
	}
	return int(n), nil
}

// Contains reports whether code is in the set.
func (s StatusSet) Contains(code int) bool {
	for _, r := range s {
		if r.First <= code && code <= r.Last {
			return true
		}
	}
	return false
}

// last is the highest code of the set.
func (s StatusSet) last() (code int) {
	for _, r := range s {
		code = max(code, r.Last)
	}
	return code
}

// String is what ParseStatus reads.
func (s StatusSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = strconv.Itoa(r.First)
		if r.Last != r.First {
			parts[i] += "-" + strconv.Itoa(r.Last)
		}
	}
	return strings.Join(parts, ",")
}
