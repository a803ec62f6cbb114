package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrNotRunning is returned when no daemon answers on the socket.
var ErrNotRunning = errors.New("no lvsha daemon is running here")

// Client asks the daemon over its control socket.
type Client struct {
	path string
	http http.Client
	// patience is for how long the daemon may be silent.
	patience time.Duration
	// pid is the process that answered last; 0 is none yet.
	pid atomic.Int32
}

// NewClient returns a client of the daemon whose socket is at path. It does
// not connect yet.
func NewClient(path string) *Client {
	c := &Client{path: path, patience: silentAfter}
	c.http.Transport = &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}
	return c
}

// Status asks for the state of everything. raw is the daemon's own text.
func (c *Client) Status(ctx context.Context) (status Status, raw []byte, err error) {
	return c.status(ctx, pathStatus)
}

// StatusOf asks for the state of the virtual routers and services of some names alone. An
// error is also that nothing has one of them.
func (c *Client) StatusOf(ctx context.Context, names ...string) (Status, error) {
	status, _, err := c.status(ctx, pathStatus+"?"+url.Values{queryName: names}.Encode())
	if err != nil {
		return Status{}, err
	}
	return status.Of(names...) // an older daemon tells of everything
}

func (c *Client) status(ctx context.Context, path string) (status Status, raw []byte, err error) {
	body, err := c.do(ctx, lookWithin, http.MethodGet, path, nil)
	if err != nil {
		return Status{}, nil, err
	}
	defer body.Close()
	if raw, err = io.ReadAll(body); err != nil {
		return Status{}, nil, fmt.Errorf("reading the status: %w", err)
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return Status{}, nil, fmt.Errorf("reading the status: %w", err)
	}
	return status, raw, nil
}

// Reload makes the daemon apply its file and returns when that is done.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	var done Reloaded
	if err := c.post(ctx, doWithin, pathReload, nil, &done); err != nil {
		return Reloaded{}, err
	}
	return done, nil
}

// Yield has the daemon give virtual routers away, or take them back.
func (c *Client) Yield(ctx context.Context, ask YieldRequest) (Yielded, error) {
	var done Yielded
	if err := c.post(ctx, doWithin, pathYield, ask, &done); err != nil {
		return Yielded{}, err
	}
	return done, nil
}

// Plan asks what applying a file would change.
func (c *Client) Plan(ctx context.Context, ask PlanRequest) (Plan, error) {
	var plan Plan
	if err := c.post(ctx, doWithin, pathPlan, ask, &plan); err != nil {
		return Plan{}, err
	}
	return plan, nil
}

// Servers has the daemon do something to servers.
func (c *Client) Servers(ctx context.Context, ask ServersRequest) (ServersChanged, error) {
	var done ServersChanged
	if err := c.post(ctx, doWithin, pathServers, ask, &done); err != nil {
		return ServersChanged{}, err
	}
	return done, nil
}

// Resync has the daemon take the connections of another director over, or compare
// them.
func (c *Client) Resync(ctx context.Context, ask ResyncRequest) (SyncResult, error) {
	var done SyncResult
	if err := c.post(ctx, resyncWithin, pathResync, ask, &done); err != nil {
		return SyncResult{}, err
	}
	return done, nil
}

// post asks for something to be done and reads what was.
func (c *Client) post(ctx context.Context, within time.Duration, path string, ask, done any) error {
	// A daemon that runs again finds the request, and cannot know that nobody waits.
	unanswered := func(err error) error {
		if errors.Is(err, errSilent) && path != pathPlan {
			return fmt.Errorf("%w; what was asked for may still be done when it runs again", err)
		}
		return err
	}
	body, err := c.do(ctx, within, http.MethodPost, path, ask)
	if err != nil {
		return unanswered(err)
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(done); err != nil {
		return unanswered(fmt.Errorf("reading the answer to %s: %w", path, err))
	}
	return nil
}

// Events calls fn for each event, and with follow goes on until ctx ends or
// the daemon does.
func (c *Client) Events(ctx context.Context, follow bool, fn func(Event) error) error {
	body, err := c.do(ctx, forEver, http.MethodGet, fmt.Sprintf("%s?follow=%t", pathEvents, follow), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	in := json.NewDecoder(body)
	for {
		var e Event
		switch err := in.Decode(&e); {
		case ctx.Err() != nil, errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading events: %w", err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// do sends a request; ask, unless it is nil, is its body as JSON. It ends with an
// error when the daemon is silent, or has not done it within a limit.
func (c *Client) do(ctx context.Context, within time.Duration, method, path string, ask any) (io.ReadCloser, error) {
	var content io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return nil, fmt.Errorf("asking the daemon: %w", err)
		}
		content = bytes.NewReader(text)
	}
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	done := func() {
		end(nil)
		watching.Wait()
	}
	if within != forEver {
		late := time.AfterFunc(within, func() { end(c.silent(fmt.Sprintf("has not answered within %v", within))) })
		done = func() {
			late.Stop()
			end(nil)
			watching.Wait()
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lvsha"+path, content)
	if err != nil {
		done()
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	watching.Go(func() { c.watch(ctx, end) })
	answer, err := c.http.Do(request)
	if err != nil {
		err = c.explain(because(ctx, err))
		done()
		return nil, err
	}
	body := watched{answer.Body, ctx, done}
	if answer.StatusCode == http.StatusOK {
		return body, nil
	}
	defer body.Close()
	var f failure
	if err := json.NewDecoder(body).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the daemon answered %s", answer.Status)
	}
	return nil, errors.New(f.Error)
}

// explain is the error of a request in words that say what to do.
func (c *Client) explain(err error) error {
	var transport *url.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nobody answers on %s); start it with: systemctl start lvsha", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s: be root or a member of group lvsha", c.path)
	case errors.As(err, &transport):
		return fmt.Errorf("asking the daemon: %w", err)
	}
	return err
}
