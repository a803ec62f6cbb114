package rig

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"lvsha/internal/lab"
)

// Backends are servers on one machine that do as they are told.
type Backends struct {
	*Rig
	Host *lab.Host
	Port *lab.Port

	all     sync.WaitGroup
	mu      sync.Mutex // guards servers
	servers map[string]*Backend
}

// Backend is one of them: HTTP, or an agent that says a line.
type Backend struct {
	// Accepted counts connections. Status is the HTTP status that it answers with, Line
	// what an agent says.
	Accepted atomic.Int64
	Status   atomic.Int64
	Line     atomic.Pointer[string]
	listener net.Listener
	close    func()
}

// Backends makes a machine on a segment; addresses are those of its interface.
func (r *Rig) Backends(segment *lab.Segment, addresses ...string) *Backends {
	r.Helper()
	b := &Backends{Rig: r, servers: make(map[string]*Backend)}
	var err error
	b.Host, err = r.Net.Host("servers")
	r.Check(err)
	b.Port, err = segment.Attach(b.Host, "eth0", addresses...)
	r.Check(err)
	r.Life.Cleanup(func() {
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
func (b *Backends) listen(at string) *Backend {
	b.Helper()
	s := &Backend{}
	s.Status.Store(http.StatusOK)
	b.Check(b.Host.Do(func() (err error) {
		s.listener, err = net.Listen("tcp4", at)
		return err
	}))
	b.mu.Lock()
	b.servers[at] = s
	b.mu.Unlock()
	return s
}

// Serve starts HTTP servers, each at its address and port.
func (b *Backends) Serve(at ...string) {
	b.Helper()
	for _, a := range at {
		s := b.listen(a)
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(int(s.Status.Load()))
				io.WriteString(w, "ok")
			}),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					s.Accepted.Add(1)
				}
			},
		}
		s.close = func() { server.Close() }
		b.all.Go(func() { server.Serve(s.listener) })
	}
}

// Agent starts an agent.
func (b *Backends) Agent(at, line string) {
	b.Helper()
	s := b.listen(at)
	s.Line.Store(&line)
	s.close = func() { s.listener.Close() }
	b.all.Go(func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, *s.Line.Load()+"\n")
			c.Close()
		}
	})
}

// At is a server.
func (b *Backends) At(address string) *Backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[address]
}

// Kill has servers refuse connections, as those of a process that is gone.
func (b *Backends) Kill(at ...string) {
	for _, a := range at {
		b.At(a).close()
	}
}
