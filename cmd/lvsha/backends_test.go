package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/lab"
)

// backends are servers on one machine that do as they are told.
type backends struct {
	*rig
	host *lab.Host
	port *lab.Port

	all     sync.WaitGroup
	mu      sync.Mutex // guards servers
	servers map[string]*backend
}

// backend is one of them: HTTP, or an agent that says a line.
type backend struct {
	accepted atomic.Int64
	status   atomic.Int64
	line     atomic.Pointer[string]
	listener net.Listener
	close    func()
}

// backends makes a machine on a segment; addresses are those of its interface.
func (r *rig) backends(segment *lab.Segment, addresses ...string) *backends {
	r.Helper()
	b := &backends{rig: r, servers: make(map[string]*backend)}
	var err error
	b.host, err = r.net.Host("servers")
	r.check(err)
	b.port, err = segment.Attach(b.host, "eth0", addresses...)
	r.check(err)
	r.life.Cleanup(func() {
		b.mu.Lock()
		for _, s := range b.servers {
			s.close()
		}
		b.mu.Unlock()
		b.all.Wait()
	})
	return b
}

// listen opens a server's socket.
func (b *backends) listen(at string) *backend {
	b.Helper()
	s := &backend{}
	s.status.Store(http.StatusOK)
	b.check(b.host.Do(func() (err error) {
		s.listener, err = net.Listen("tcp4", at)
		return err
	}))
	b.mu.Lock()
	b.servers[at] = s
	b.mu.Unlock()
	return s
}

// serve starts HTTP servers, each at its address and port.
func (b *backends) serve(at ...string) {
	b.Helper()
	for _, a := range at {
		s := b.listen(a)
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(int(s.status.Load()))
				io.WriteString(w, "ok")
			}),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					s.accepted.Add(1)
				}
			},
		}
		s.close = func() { server.Close() }
		b.all.Go(func() { server.Serve(s.listener) })
	}
}

// agent starts an agent.
func (b *backends) agent(at, line string) {
	b.Helper()
	s := b.listen(at)
	s.line.Store(&line)
	s.close = func() { s.listener.Close() }
	b.all.Go(func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, *s.line.Load()+"\n")
			c.Close()
		}
	})
}

// at is a server.
func (b *backends) at(address string) *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[address]
}

// kill has servers refuse connections, as those of a process that is gone.
func (b *backends) kill(at ...string) {
	for _, a := range at {
		b.at(a).close()
	}
}

// server is the status of a server of a service.
func server(s control.Status, service, address string) control.Server {
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

// serverIs waits until a server has a state for a reason that has a text.
func (r *rig) serverIs(d *lab.Daemon, service, address, state, reason string) {
	r.Helper()
	var last control.Server
	if _, err := lab.Eventually("", 10*time.Second, func() bool {
		s, err := d.Status()
		last = server(s, service, address)
		return err == nil && last.State == state && strings.Contains(last.Reason, reason)
	}); err != nil {
		r.Fatalf("server %s of %s is %s (%s), want %s with %q", address, service, last.State, last.Reason, state, reason)
	}
}

const kernelLog = "/run/kernel.log"

// kernelLines are what was changed in the kernel's table, oldest first, of the
// changes that have a text.
func (r *rig) kernelLines(h *lab.Host, text string) (out []string) {
	r.Helper()
	log, _ := h.ReadFile(kernelLog) // there is none before the daemon has begun
	for line := range strings.Lines(string(log)) {
		if _, change, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.Contains(change, text) {
			out = append(out, change)
		}
	}
	return out
}

// poolIs waits until the kernel has these servers with their weights, "10.0.0.21:80=1".
func (r *rig) poolIs(h *lab.Host, service string, want ...string) {
	r.Helper()
	slices.Sort(want)
	var got []string
	if _, err := lab.Eventually("", 10*time.Second, func() bool {
		got = r.poolNow(h, service)
		return slices.Equal(got, want)
	}); err != nil {
		r.Fatalf("the kernel has %q of %s, want %q", got, service, want)
	}
}

// poolNow replays the log.
func (r *rig) poolNow(h *lab.Host, service string) []string {
	r.Helper()
	pool := make(map[string]string)
	for _, line := range r.kernelLines(h, "server ") {
		var server, of, from, to, forward string
		switch {
		case scan(line, "add server %s to %s weight %s forward %s", &server, &of, &to, &forward) && of == service:
			pool[server] = to
		case scan(line, "set weight of server %s of %s from %s to %s", &server, &of, &from, &to) && of == service:
			pool[server] = to
		case scan(line, "remove server %s from %s", &server, &of) && of == service:
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

func scan(line, format string, to ...any) bool {
	n, err := fmt.Sscanf(line, format, to...)
	return err == nil && n == len(to)
}

// serversFile lists servers of a service.
func serversFile(service string, addresses ...string) string {
	var b strings.Builder
	for _, a := range addresses {
		fmt.Fprintf(&b, "[[service.%s.server]]\naddress = %q\n", service, a)
	}
	return b.String()
}
