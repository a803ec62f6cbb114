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
	"syscall"
)

// ErrNotRunning is returned when no daemon answers on the socket.
var ErrNotRunning = errors.New("no lvsha daemon is running here")

// Client asks the daemon over its control socket.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the daemon whose socket is at path. It does
// not connect yet.
func NewClient(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}}
}

// Status asks for the state of everything. raw is the daemon's own text.
func (c *Client) Status(ctx context.Context) (status Status, raw []byte, err error) {
	body, err := c.do(ctx, http.MethodGet, pathStatus, nil)
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
	if err := c.post(ctx, pathReload, nil, &done); err != nil {
		return Reloaded{}, err
	}
	return done, nil
}

// Yield has the daemon give virtual routers away, or take them back.
func (c *Client) Yield(ctx context.Context, ask YieldRequest) (Yielded, error) {
	var done Yielded
	if err := c.post(ctx, pathYield, ask, &done); err != nil {
		return Yielded{}, err
	}
	return done, nil
}

// Plan asks what applying a file would change.
func (c *Client) Plan(ctx context.Context, ask PlanRequest) (Plan, error) {
	var plan Plan
	if err := c.post(ctx, pathPlan, ask, &plan); err != nil {
		return Plan{}, err
	}
	return plan, nil
}

// Servers has the daemon do something to servers.
func (c *Client) Servers(ctx context.Context, ask ServersRequest) (ServersChanged, error) {
	var done ServersChanged
	if err := c.post(ctx, pathServers, ask, &done); err != nil {
		return ServersChanged{}, err
	}
	return done, nil
}

// Resync has the daemon take the connections of another director over, or compare
// them.
func (c *Client) Resync(ctx context.Context, ask ResyncRequest) (SyncResult, error) {
	var done SyncResult
	if err := c.post(ctx, pathResync, ask, &done); err != nil {
		return SyncResult{}, err
	}
	return done, nil
}

// post asks for something to be done and reads what was.
func (c *Client) post(ctx context.Context, path string, ask, done any) error {
	body, err := c.do(ctx, http.MethodPost, path, ask)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(done); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}

// Events calls fn for each event, and with follow goes on until ctx ends or
// the daemon does.
func (c *Client) Events(ctx context.Context, follow bool, fn func(Event) error) error {
	body, err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?follow=%t", pathEvents, follow), nil)
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

// do sends a request; ask, unless it is nil, is its body as JSON.
func (c *Client) do(ctx context.Context, method, path string, ask any) (io.ReadCloser, error) {
	var content io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return nil, fmt.Errorf("asking the daemon: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lvsha"+path, content)
	if err != nil {
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	answer, err := c.http.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (nobody answers on %s); start it with: systemctl start lvsha", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("no permission to use %s: be root or a member of group lvsha", c.path)
	case err != nil:
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var f failure
	if err := json.NewDecoder(answer.Body).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the daemon answered %s", answer.Status)
	}
	return nil, errors.New(f.Error)
}
