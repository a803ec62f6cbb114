package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// ErrInUse is returned by Listen when a living daemon answers on the socket.
var ErrInUse = errors.New("another lvsha daemon is answering on the control socket")

// Socket answers on the control socket.
type Socket struct {
	listener net.Listener
	daemon   Daemon
	log      *slog.Logger
	// idle is for how long a client may keep a connection between two requests, and how long
	// it may take to send one.
	idle time.Duration
}

// idleTimeout is enough for the largest plan.
const idleTimeout = 30 * time.Second

// Listen takes the socket at path. A socket that nobody answers on is left
// over from a dead daemon and replaced. The socket is open to root and, where
// that group exists, to the group lvsha.
func Listen(path string, daemon Daemon, log *slog.Logger) (*Socket, error) {
	return listen(path, steerers, daemon, log)
}

// listen is Listen for another group.
func listen(path, group string, daemon Daemon, log *slog.Logger) (*Socket, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := clear(path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		listener.Close()
		return nil, fmt.Errorf("setting the mode of the control socket: %w", err)
	}
	if err := permit(path, group); err != nil {
		// Root can use it, and the addresses do not wait for the rest.
		log.Warn("the control socket is not open to group "+group, "error", err)
	}
	return &Socket{listener: listener, daemon: daemon, log: log, idle: idleTimeout}, nil
}

// clear removes a socket that nobody answers on, and nothing else.
func clear(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("there is something else of that name, which is left alone: name another path with -s, or remove it")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return ErrInUse
	case errors.Is(err, os.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		// A daemon that is too busy to accept is a living one.
		return fmt.Errorf("%w, or it cannot be asked: %w", ErrInUse, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replacing what a dead daemon left: %w", err)
	}
	return nil
}

// steerers is the group whose members may use the control socket.
const steerers = "lvsha"

// permit opens the socket to the group, where it exists.
func permit(path, name string) error {
	group, err := user.LookupGroup(name)
	if err != nil {
		return nil // most machines have none
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("group %s has the number %q", name, group.Gid)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("%w; the unit needs SupplementaryGroups=%s, which examples/systemd/lvsha.service.d/groups.conf sets", err, name)
	}
	return nil
}

// Run answers requests until ctx ends. Streams are cut then, other requests
// get a second to finish.
func (s *Socket) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathAlive, func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET "+pathStatus, s.status)
	mux.HandleFunc("GET "+pathEvents, s.events)
	mux.HandleFunc("POST "+pathReload, s.reload)
	mux.HandleFunc("POST "+pathYield, s.yield)
	mux.HandleFunc("POST "+pathServers, s.servers)
	mux.HandleFunc("POST "+pathPlan, s.plan)
	mux.HandleFunc("POST "+pathResync, s.resync)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: min(5*time.Second, s.idle),
		IdleTimeout:       s.idle,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(s.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serving the control socket: %w", err)
	case <-ctx.Done():
	}
	// VRRP has ended by now, and a client that says nothing must not keep the next process
	// from beginning.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	<-done
	return nil
}

// status answers with everything, or with what has one of the names of the query.
func (s *Socket) status(w http.ResponseWriter, r *http.Request) {
	if names := r.URL.Query()[queryName]; len(names) > 0 {
		status, err := s.daemon.StatusOf(names)
		s.outcome(w, status, err)
		return
	}
	s.answer(w, http.StatusOK, s.daemon.Status())
}

// maxRequest bounds the body of a request.
const maxRequest = 64 << 10

// failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

func (s *Socket) reload(w http.ResponseWriter, r *http.Request) {
	done, err := s.daemon.Reload(r.Context())
	s.outcome(w, done, err)
}

func (s *Socket) yield(w http.ResponseWriter, r *http.Request) {
	if ask, ok := read[YieldRequest](s, w, r); ok {
		done, err := s.daemon.Yield(r.Context(), ask)
		s.outcome(w, done, err)
	}
}

func (s *Socket) resync(w http.ResponseWriter, r *http.Request) {
	if ask, ok := read[ResyncRequest](s, w, r); ok {
		done, err := s.daemon.Resync(r.Context(), ask)
		s.outcome(w, done, err)
	}
}

// read decodes a request, or answers that it cannot be.
func read[T any](s *Socket, w http.ResponseWriter, r *http.Request) (ask T, ok bool) {
	return readUpTo[T](s, w, r, maxRequest)
}

func readUpTo[T any](s *Socket, w http.ResponseWriter, r *http.Request, most int64) (ask T, ok bool) {
	// Not for the whole request: a deadline that passes while it is carried out would end it.
	deadline := http.NewResponseController(w)
	err := deadline.SetReadDeadline(time.Now().Add(s.idle))
	if err == nil {
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
		in.DisallowUnknownFields()
		if err = in.Decode(&ask); err == nil {
			err = deadline.SetReadDeadline(time.Time{})
		}
	}
	if err != nil {
		s.answer(w, http.StatusBadRequest, failure{Error: "the request is not what this daemon understands: " + err.Error()})
		return ask, false
	}
	return ask, true
}

func (s *Socket) plan(w http.ResponseWriter, r *http.Request) {
	if ask, ok := readUpTo[PlanRequest](s, w, r, maxPlan); ok {
		done, err := s.daemon.Plan(r.Context(), ask)
		s.outcome(w, done, err)
	}
}

func (s *Socket) servers(w http.ResponseWriter, r *http.Request) {
	if ask, ok := read[ServersRequest](s, w, r); ok {
		done, err := s.daemon.Servers(r.Context(), ask)
		s.outcome(w, done, err)
	}
}

// outcome answers with what the daemon did, or why it did not.
func (s *Socket) outcome(w http.ResponseWriter, done any, err error) {
	if err != nil {
		s.answer(w, http.StatusUnprocessableEntity, failure{Error: err.Error()})
		return
	}
	s.answer(w, http.StatusOK, done)
}

func (s *Socket) answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	if err := out.Encode(body); err != nil {
		s.log.Debug("answering on the control socket", "error", err)
	}
}

// events sends one JSON object a line; with follow=true it goes on as events
// happen.
func (s *Socket) events(w http.ResponseWriter, r *http.Request) {
	follow := r.URL.Query().Get("follow") == "true"
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var last uint64
	for {
		events, newer := s.daemon.Events(last)
		for _, e := range events {
			if out.Encode(e) != nil {
				return // the reader has gone
			}
			last = e.Seq
		}
		if !follow {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-newer:
		case <-r.Context().Done():
			return
		}
	}
}
