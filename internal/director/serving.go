package director

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/internal/control"
)

// serves reports whether a server gets traffic.
func serves(o healthcheck.Outcome) bool {
	return slices.ContainsFunc(o.Shares, func(s healthcheck.Share) bool { return s.Used && s.Weight > 0 })
}

// sorryServes reports whether the sorry server of a service gets the traffic.
func sorryServes(s config.Service, o healthcheck.Outcome) bool {
	return s.Sorry != nil && s.Sorry.Weight > 0 && !o.Quorum
}

// copy is a row that may be judged without a change of this one.
func (row *judgedRow) copy() *judgedRow {
	same := *row
	same.servers, same.members = slices.Clone(row.servers), slices.Clone(row.members)
	return &same
}

// deprived are the services of which no server gets traffic any more when something else is
// kept of some servers, by name, each with what becomes of its traffic.
func (j *judging) deprived(now time.Time, keys []serverKey, kept map[serverKey]keptServer, known judgments) map[string]string {
	of := make(map[string]string)
	asked := make(map[string]bool, len(keys))
	for _, k := range keys {
		asked[k.service.String()] = true
	}
	for _, row := range j.rows {
		if !asked[row.listen.String()] || !serves(row.outcome) {
			continue
		}
		next := row.copy()
		next.judge(now, known(next.targets), j.doubted, kept)
		switch {
		case serves(next.outcome):
		case sorryServes(next.service, next.outcome):
			of[row.service.Name] = "its sorry server gets all of its traffic"
		default:
			of[row.service.Name] = "nobody gets its traffic"
		}
	}
	return of
}

// deprivation words what deprived found.
func deprivation(of map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("no server of service %s is in use then, and %s", name, of[name]))
	}
	if n := len(out); n > 20 {
		out = append(out[:20], fmt.Sprintf("and %d more services", n-20))
	}
	return strings.Join(out, "; ")
}

// takesAway reports whether a request may leave a service with nobody in use.
func takesAway(ask control.ServersRequest) bool {
	return ask.Do == control.DoDrain || ask.Do == control.DoWeight || ask.Do == control.DoUnweight
}

// counted are the servers of a service, each once however many addresses the service has.
type counted struct {
	all, up, used, serving int
	// drained, disabled and weightless are those that are up and get no traffic.
	drained, disabled, weightless int
}

func (c *counted) add(m *healthcheck.Member, share healthcheck.Share) {
	c.all++
	if share.Used {
		c.used++
	}
	if share.Used && share.Weight > 0 {
		c.serving++
	}
	if m.State != healthcheck.Up {
		return
	}
	c.up++
	switch {
	case share.Admin == healthcheck.Drain:
		c.drained++
	case share.Admin == healthcheck.Maint:
		c.disabled++
	case share.Weight == 0:
		c.weightless++
	}
}

// idle words why servers that are up get no traffic.
func (c *counted) idle() string {
	if c.drained+c.disabled+c.weightless == 0 {
		return ""
	}
	var out []string
	for _, part := range []struct {
		n    int
		what string
	}{{c.drained, "drained"}, {c.disabled, "disabled"}, {c.weightless, "of weight 0"}} {
		if part.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(out, ", ")
}

// serviceState is the state of a service and why: who gets its traffic decides, at the
// address that is worst off.
func serviceState(s *config.Service, rows []rowStanding, n counted) (state, reason string) {
	whole := true
	var none []string
	for i := range rows {
		row := &rows[i]
		whole = whole && row.outcome.Quorum
		if !serves(row.outcome) && !sorryServes(*s, row.outcome) {
			none = append(none, row.words)
		}
	}
	some := strconv.Itoa(n.up) + " of " + strconv.Itoa(n.all) + " servers up"
	if idle := n.idle(); idle != "" {
		some += " (" + idle + ")"
	}
	switch {
	case len(none) > 0 && len(none) < len(rows):
		return "down", fmt.Sprintf("nobody gets the traffic of %s; %s", strings.Join(none, ", "), some)
	case len(none) > 0 && n.up > 0:
		return "down", "nobody gets its traffic; " + some
	case len(none) > 0 || len(rows) == 0:
		return "down", "no server is up"
	case !whole && s.Sorry != nil && n.up > 0:
		return "sorry", some + ", which is no quorum: the sorry server answers"
	case !whole && s.Sorry != nil:
		return "sorry", "no server is up: the sorry server answers"
	case whole && n.up > 0:
		return "up", some
	case n.up > 0:
		return "up", some + ", without a quorum"
	}
	return "up", fmt.Sprintf("no server passes its checks, and %d are kept", n.used)
}

// stateProblem is what is the matter with a service in a state, unless told says that a
// person is told already; empty is nothing.
func stateProblem(s *config.Service, shows *control.Service, told bool) string {
	if shows.State == "down" || shows.State == "sorry" && !told && len(s.Servers) > 0 {
		return fmt.Sprintf("service %s: %s: %s", s.Name, strings.ToUpper(shows.State), shows.Reason)
	}
	return ""
}
