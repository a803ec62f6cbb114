package ipvs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// Rules returns the table of a kernel with the engines of its services, sorted by key.
func Rules(k EngineKernel) ([]Rule, error) {
	table, err := k.List()
	if err != nil {
		return nil, err
	}
	rules := make([]Rule, len(table))
	for i, s := range table {
		rules[i].Service = s
		if s.Persistence == 0 {
			continue // an engine needs it
		}
		if rules[i].Engine, err = k.Engine(s.Key); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// Restore is what restoring rules does to a table.
type Restore struct {
	// Changes are in the order in which they are made.
	Changes Plan
	// Engines are those of the services that are added.
	Engines map[ServiceKey]string
	// Same counts the services that are there as the rules have them.
	Same int
}

// PlanRestore returns what makes the services of a table that the rules have as the
// rules have them, servers included. Other services are left alone. A service that would
// need an edit which takes its engine away, or gives it one, is an error.
func PlanRestore(have, rules []Rule) (Restore, error) {
	r := Restore{Engines: make(map[ServiceKey]string)}
	var table, want []Service
	engines := make(map[ServiceKey]string)
	there := make(map[ServiceKey]bool)
	for _, h := range have {
		table = append(table, h.Service)
		there[h.Key], engines[h.Key] = true, h.Engine
	}
	for _, w := range rules {
		want = append(want, w.Service)
		if !there[w.Key] && w.Engine != "" {
			r.Engines[w.Key] = w.Engine
		}
	}
	r.Changes = Diff(table, want, nil)
	var errs []error
	for _, w := range rules {
		edited := slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Op == SetService && c.Service.Key == w.Key })
		if there[w.Key] && (engines[w.Key] != w.Engine || edited && w.Engine != "") {
			errs = append(errs, fmt.Errorf("service %s is in the kernel with persistence engine %s and differs: remove it first, with ipvsadm -D", w.Key, orNone(engines[w.Key])))
		}
		if !slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Service.Key == w.Key }) {
			r.Same++
		}
	}
	return r, errors.Join(errs...)
}

// Do makes the changes. When one fails those that were made are undone: the error says
// what failed, and what could not be undone.
func (r Restore) Do(k EngineKernel) error {
	before, err := k.List()
	if err != nil {
		return err
	}
	touched := make(map[ServiceKey]bool)
	for _, c := range r.Changes {
		touched[c.Service.Key] = true
		if err := r.do(k, c); err != nil {
			return errors.Join(err, undo(k, before, touched))
		}
	}
	return nil
}

func (r Restore) do(k EngineKernel, c Change) error {
	engine := r.Engines[c.Service.Key]
	if c.Op != AddService || engine == "" {
		return c.Do(k)
	}
	err := k.AddServiceWithEngine(c.Service, engine)
	if errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("%s: scheduler %s or persistence engine %s is not in this kernel: modprobe ip_vs_%[2]s ip_vs_pe_%[3]s: %w", c, c.Service.Scheduler, engine, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, c.explain(err))
	}
	return nil
}

// undo makes the services that were touched what they were.
func undo(k EngineKernel, before []Service, touched map[ServiceKey]bool) error {
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

// String is the changes, with the engines of services that are added.
func (r Restore) String() string {
	var b strings.Builder
	for _, c := range r.Changes {
		b.WriteString(c.String())
		if engine := r.Engines[c.Service.Key]; engine != "" && c.Op == AddService {
			b.WriteString(" engine " + engine)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
