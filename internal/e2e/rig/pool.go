package rig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/lab"
)

// Server is the status of a server of a service.
func Server(s control.Status, service, address string) control.Server {
	i := slices.IndexFunc(s.Services, func(v control.Service) bool { return v.Name == service })
	if i < 0 {
		return control.Server{}
	}
	for _, v := range s.Services[i].Servers {
		if v.Address == address {
			return v
		}
	}
	return control.Server{}
}

// ServerIs waits until a server has a state for a reason that has a text.
func (r *Rig) ServerIs(d *lab.Daemon, service, address, state, reason string) {
	r.Helper()
	var last control.Server
	if _, err := lab.Eventually("", 30*time.Second, func() bool {
		s, err := d.Status()
		last = Server(s, service, address)
		return err == nil && last.State == state && strings.Contains(last.Reason, reason)
	}); err != nil {
		r.Fatalf("server %s of %s is %s (%s), want %s with %q", address, service, last.State, last.Reason, state, reason)
	}
}

// KernelLog is where the changes of the table in memory are logged, by --kernel-log.
const KernelLog = "/run/kernel.log"

// KernelLines are what was changed in the kernel's table, oldest first, of the
// changes that have a text.
func (r *Rig) KernelLines(h *lab.Host, text string) (out []string) {
	r.Helper()
	log, _ := h.ReadFile(KernelLog) // there is none before the daemon has begun
	for line := range strings.Lines(string(log)) {
		if _, change, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.Contains(change, text) {
			out = append(out, change)
		}
	}
	return out
}

// PoolIs waits until the kernel has these servers with their weights, "10.0.0.21:80=1".
func (r *Rig) PoolIs(h *lab.Host, service string, want ...string) {
	r.Helper()
	slices.Sort(want)
	var got []string
	if _, err := lab.Eventually("", 30*time.Second, func() bool {
		got = r.poolNow(h, service)
		return slices.Equal(got, want)
	}); err != nil {
		r.Fatalf("the kernel has %q of %s, want %q", got, service, want)
	}
}

// poolNow replays the log.
func (r *Rig) poolNow(h *lab.Host, service string) []string {
	r.Helper()
	pool := make(map[string]string)
	for _, line := range r.KernelLines(h, "server ") {
		var server, of, from, to, forward string
		switch {
		case Scan(line, "add server %s to %s weight %s forward %s", &server, &of, &to, &forward) && of == service:
			pool[server] = to
		case Scan(line, "set weight of server %s of %s from %s to %s", &server, &of, &from, &to) && of == service:
			pool[server] = to
		case Scan(line, "remove server %s from %s", &server, &of) && of == service:
			delete(pool, server)
		}
	}
	out := []string{}
	for server, weight := range pool {
		out = append(out, server+"="+weight)
	}
	slices.Sort(out)
	return out
}

// Scan reports whether a line has the format of fmt.Sscanf, all of it.
func Scan(line, format string, to ...any) bool {
	n, err := fmt.Sscanf(line, format, to...)
	return err == nil && n == len(to)
}

// ServersFile lists servers of a service.
func ServersFile(service string, addresses ...string) string {
	var b strings.Builder
	for _, a := range addresses {
		fmt.Fprintf(&b, "[[service.%s.server]]\naddress = %q\n", service, a)
	}
	return b.String()
}

// Server is a server of a service, "NAME" or "NAME/NUMBER", as a daemon sees it.
func (r *Rig) Server(d *lab.Daemon, service string) control.Server {
	s, err := d.Status()
	if err != nil {
		return control.Server{Reason: err.Error()}
	}
	name, number, _ := strings.Cut(service, "/")
	n, _ := strconv.Atoi(number)
	i := slices.IndexFunc(s.Services, func(s control.Service) bool { return s.Name == name })
	if i < 0 || len(s.Services[i].Servers) <= n {
		return control.Server{Reason: "no such server"}
	}
	return s.Services[i].Servers[n]
}
