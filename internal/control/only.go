package control

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// queryName is the key of the query of a status, once for each name that is asked for.
const queryName = "name"

// Known is the error about the first of the names asked for that is none of those that
// there are; nil when all are.
func Known(names []string, there iter.Seq[string]) error {
	missing := make(map[string]bool, len(names))
	for _, name := range names {
		missing[name] = true
	}
	for name := range there {
		delete(missing, name)
	}
	i := slices.IndexFunc(names, func(name string) bool { return missing[name] })
	if i < 0 {
		return nil
	}
	known := slices.Compact(slices.Sorted(there))
	switch n := len(known); {
	case n == 0:
		return fmt.Errorf("there is no service or virtual router %q, nor any other", names[i])
	case n > maxKnown:
		return fmt.Errorf("there is no service or virtual router %q; there is %s, and %d more", names[i], strings.Join(known[:maxKnown], ", "), n-maxKnown)
	}
	return fmt.Errorf("there is no service or virtual router %q; there is %s", names[i], strings.Join(known, ", "))
}

// maxKnown bounds the names that an error tells.
const maxKnown = 50

// names are those of all virtual routers and services.
func (s Status) names(yield func(string) bool) {
	for _, r := range s.VRRP {
		if !yield(r.Name) {
			return
		}
	}
	for _, v := range s.Services {
		if !yield(v.Name) {
			return
		}
	}
}

// Of is the status with the virtual routers and services of these names alone, and without
// the problems of others. The error is about a name that nothing has.
func (s Status) Of(names ...string) (Status, error) {
	if err := Known(names, s.names); err != nil {
		return s, err
	}
	chosen := make(map[string]bool, len(names))
	for _, name := range names {
		chosen[name] = true
	}
	// others are the routers and services that are not shown, under what their problems
	// begin with.
	others := make(map[string]bool)
	for _, r := range s.VRRP {
		if !chosen[r.Name] {
			others["virtual router "+r.Name] = true
		}
	}
	for _, v := range s.Services {
		if !chosen[v.Name] {
			others["service "+v.Name] = true
		}
	}
	s.VRRP = slices.DeleteFunc(s.VRRP, func(r Router) bool { return !chosen[r.Name] })
	s.Services = slices.DeleteFunc(s.Services, func(v Service) bool { return !chosen[v.Name] })
	s.Problems = slices.DeleteFunc(s.Problems, func(problem string) bool { return others[about(problem)] })
	s.Conditions, s.BFD, s.Channel, s.Sync, s.Foreign = []Condition{}, nil, nil, nil, []string{}
	return s, nil
}

// about is the virtual router or service that a problem is about: its first words, up to
// and with the name.
func about(problem string) string {
	problem = strings.TrimPrefix(problem, "checks through ")
	for _, kind := range []string{"virtual router ", "service "} {
		if rest, is := strings.CutPrefix(problem, kind); is {
			name, _, _ := strings.Cut(rest, " ")
			return kind + strings.TrimSuffix(name, ":")
		}
	}
	return ""
}
