package control_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/internal/control"
)

// fakeDaemon has a fixed status and two events, the second on demand.
type fakeDaemon struct {
	reloadErr error
	named     []string
	old       bool
	asked     control.YieldRequest
	servers   control.ServersRequest
	second    chan struct{}
}

func (d *fakeDaemon) Status() control.Status { return control.Status{Director: "lvs1", Generation: 7} }

// StatusOf of an old daemon is everything: it does not know the question.
func (d *fakeDaemon) StatusOf(names []string) (control.Status, error) {
	d.named = names
	all := control.Status{
		Director: "lvs1", Services: []control.Service{{Name: "mail"}, {Name: "web"}, {Name: "web2"}}, VRRP: []control.Router{{Name: "gate"}},
		Problems: []string{"service mail: no quorum", "service web2: no quorum", "checks through service web2: deaf", "virtual router gate is in fault", "service web: no quorum", "ipvs: starting"},
	}
	if d.old {
		return all, nil
	}
	return all.Of(names...)
}

func (d *fakeDaemon) Reload(context.Context) (control.Reloaded, error) {
	return control.Reloaded{Generation: 8}, d.reloadErr
}

func (d *fakeDaemon) Resync(_ context.Context, ask control.ResyncRequest) (control.SyncResult, error) {
	if ask.From == "" {
		return control.SyncResult{}, errors.New("no other director is connected")
	}
	return control.SyncResult{From: ask.From, Records: 3}, nil
}

func (d *fakeDaemon) Yield(_ context.Context, ask control.YieldRequest) (control.Yielded, error) {
	d.asked = ask
	if ask.Router == "" {
		return control.Yielded{}, errors.New("web stays active: nobody else took the addresses")
	}
	return control.Yielded{Routers: []control.Router{{Name: ask.Router, State: "backup"}}}, nil
}

func (d *fakeDaemon) Plan(_ context.Context, ask control.PlanRequest) (control.Plan, error) {
	return control.Plan{File: ask.File, Changes: []control.PlannedChange{{Kind: "service", Name: ask.Text[:3], Change: "new"}}}, nil
}

func (d *fakeDaemon) Servers(_ context.Context, ask control.ServersRequest) (control.ServersChanged, error) {
	d.servers = ask
	if ask.Service == "nosuch" {
		return control.ServersChanged{}, errors.New("there is no service \"nosuch\"")
	}
	return control.ServersChanged{Servers: []control.ServerOf{{Service: "web", Server: control.Server{Address: ask.Server, State: "draining"}}}}, nil
}

func (d *fakeDaemon) Events(after uint64) ([]control.Event, <-chan struct{}) {
	all := []control.Event{{Seq: 1, Text: "first"}}
	select {
	case <-d.second:
		all = append(all, control.Event{Seq: 2, Text: "second"})
		if after >= 2 {
			return nil, nil
		}
	default:
	}
	if int(after) >= len(all) {
		return nil, d.second
	}
	return all[after:], d.second
}

func serve(t *testing.T, d control.Daemon) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	s, err := control.Listen(path, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestStatusAndReload(t *testing.T) {
	d := &fakeDaemon{second: make(chan struct{})}
	path := serve(t, d)
	c := control.NewClient(path)
	status, _, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Status(), status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if r, err := c.Reload(t.Context()); err != nil || r.Generation != 8 {
		t.Errorf("reload: %v, %v", r, err)
	}
	d.reloadErr = errors.New("lvsha.toml:3: vrrp.web.vrid: 300 is not between 1 and 255")
	if _, err := c.Reload(t.Context()); err == nil || err.Error() != d.reloadErr.Error() {
		t.Errorf("refused reload: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
}

func TestYield(t *testing.T) {
	d := &fakeDaemon{second: make(chan struct{})}
	c := control.NewClient(serve(t, d))
	ask := control.YieldRequest{Router: "web", For: time.Minute, Now: true}
	done, err := c.Yield(t.Context(), ask)
	if err != nil || len(done.Routers) != 1 || done.Routers[0].State != "backup" {
		t.Errorf("yield: %v, %v", done, err)
	}
	if diff := cmp.Diff(ask, d.asked); diff != "" {
		t.Errorf("the daemon was asked (-want +got):\n%s", diff)
	}
	if _, err := c.Yield(t.Context(), control.YieldRequest{}); err == nil || err.Error() != "web stays active: nobody else took the addresses" {
		t.Errorf("a yield that failed: %v", err)
	}
}

func TestEventsFollow(t *testing.T) {
	d := &fakeDaemon{second: make(chan struct{})}
	c := control.NewClient(serve(t, d))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := c.Events(ctx, true, func(e control.Event) error {
		got = append(got, e.Text)
		if len(got) == 1 {
			close(d.second)
		} else {
			cancel()
		}
		return nil
	})
	if err != nil || strings.Join(got, " ") != "first second" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSocketInUse(t *testing.T) {
	path := serve(t, &fakeDaemon{})
	if _, err := control.Listen(path, &fakeDaemon{}, nil); !errors.Is(err, control.ErrInUse) {
		t.Errorf("listening a second time: %v", err)
	}
}

func TestSocketLeftOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s, err := control.Listen(path, &fakeDaemon{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNoDaemon(t *testing.T) {
	_, _, err := control.NewClient(filepath.Join(t.TempDir(), "control.sock")).Status(t.Context())
	if !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestResync(t *testing.T) {
	c := control.NewClient(serve(t, &fakeDaemon{second: make(chan struct{})}))
	if done, err := c.Resync(t.Context(), control.ResyncRequest{From: "lvs2", Compare: true}); err != nil || done.From != "lvs2" || done.Records != 3 {
		t.Errorf("Resync = %+v, %v", done, err)
	}
	if _, err := c.Resync(t.Context(), control.ResyncRequest{}); err == nil || err.Error() != "no other director is connected" {
		t.Errorf("Resync without a director: %v", err)
	}
}

// TestStatusOfSome: the daemon is asked for what has a name, and one that does not know the
// question, and answers with everything, is understood as well.
func TestStatusOfSome(t *testing.T) {
	for _, old := range []bool{false, true} {
		d := &fakeDaemon{second: make(chan struct{}), old: old}
		c := control.NewClient(serve(t, d))
		got, err := c.StatusOf(t.Context(), "web", "gate")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range got.Services {
			names = append(names, s.Name)
		}
		for _, r := range got.VRRP {
			names = append(names, r.Name)
		}
		want := []string{"web", "gate", "virtual router gate is in fault", "service web: no quorum", "ipvs: starting"}
		if diff := cmp.Diff(want, append(names, got.Problems...)); diff != "" {
			t.Errorf("old %t (-want +got):\n%s", old, diff)
		}
		if _, err := c.StatusOf(t.Context(), "wbe"); err == nil || err.Error() != `there is no service or virtual router "wbe"; there is gate, mail, web, web2` {
			t.Errorf("old %t: a name that there is not: %v", old, err)
		}
		if diff := cmp.Diff([]string{"wbe"}, d.named); diff != "" {
			t.Errorf("the daemon was asked for (-want +got):\n%s", diff)
		}
	}
}
