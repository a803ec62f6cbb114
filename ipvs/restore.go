package ipvs

import (
	"errors"
	"fmt"
	"slices"
)

// Rules returns the table of a kernel, sorted by key.
func Rules(k Kernel) ([]Rule, error) {
	table, err := k.List()
	if err != nil {
		return nil, err
	}
	rules := make([]Rule, len(table))
	for i, s := range table {
		rules[i].Service = s
	}
	return rules, nil
}

// Restore is what restoring rules does to a table.
type Restore struct {
	// Changes are in the order in which they are made.
	Changes Plan
	// Same counts the services that are there as the rules have them.
	Same int
}

// PlanRestore returns what makes the services of a table that the rules have as the
// rules have them, servers included. Other services are left alone.
func PlanRestore(have, rules []Rule) (r Restore) {
	services := func(rules []Rule) (out []Service) {
		for _, r := range rules {
			out = append(out, r.Service)
		}
		return out
	}
	r.Changes = Diff(services(have), services(rules), nil)
	for _, w := range rules {
		if !slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Service.Key == w.Key }) {
			r.Same++
		}
	}
	return r
}

// ErrNotUndone is that a table stays changed in part: a change failed, and then undoing
// those before it did.
var ErrNotUndone = errors.New("some changes were made and could not be undone")

// Do makes the changes. When one fails those that were made are undone, and the error
// says what failed. It wraps ErrNotUndone if the table is not what it was, and says what
// could not be undone.
func (r Restore) Do(k Kernel) error {
	before, err := k.List()
	if err != nil {
		return err
	}
	touched := make(map[ServiceKey]bool)
	for _, c := range r.Changes {
		touched[c.Service.Key] = true
		if err := c.Do(k); err != nil {
			if undone := undo(k, before, touched); undone != nil {
				return fmt.Errorf("%w: %w", ErrNotUndone, errors.Join(err, undone))
			}
			return err
		}
	}
	return nil
}

// undo makes the services that were touched what they were.
func undo(k Kernel, before []Service, touched map[ServiceKey]bool) error {
	now, err := k.List()
	if err != nil {
		return fmt.Errorf("undoing: %w", err)
	}
	mine := func(s Service) bool { return !touched[s.Key] }
	back := Diff(slices.DeleteFunc(now, mine), slices.DeleteFunc(slices.Clone(before), mine), func(ServiceKey) bool { return true })
	var errs []error
	for _, c := range back {
		if err := c.Do(k); err != nil {
			errs = append(errs, fmt.Errorf("undoing: %w", err))
		}
	}
	return errors.Join(errs...)
}

// String is the changes.
func (r Restore) String() string { return r.Changes.String() }
