package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"lvsha/internal/control"
)

// syncCommand shows how connections are handed over, compares them with another
// director's, or takes those over.
func syncCommand(ctx context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "print JSON")
	from := c.flags.String("from", "", "the `director`, instead of whoever serves")
	socket := c.socketFlag()
	what, err := c.word()
	if err != nil {
		return err
	}
	client := control.NewClient(*socket)
	print := func(v any, text func(io.Writer) error) error {
		if !*asJSON {
			return text(c.stdout)
		}
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	switch what {
	case "", "status":
		s, _, err := client.Status(ctx)
		switch {
		case err != nil:
			return err
		case s.Sync == nil:
			return fmt.Errorf("the file of the daemon has no [sync]")
		}
		if err := print(s.Sync, func(w io.Writer) error { return printSync(w, s.Sync, time.Now()) }); err != nil {
			return err
		}
		if s.Sync.State != "in sync" && !strings.HasPrefix(s.Sync.State, "running") {
			return errSilent
		}
		return nil
	case "verify", "resync":
		done, err := client.Resync(ctx, control.ResyncRequest{From: *from, Compare: what == "verify"})
		if err != nil {
			return err
		}
		if err := print(done, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, done.Text)
			return err
		}); err != nil {
			return err
		}
		if done.Missing > 0 || done.Wrong > 0 {
			return errSilent
		}
		return nil
	default:
		fmt.Fprintf(c.stderr, "lvsha sync: want status, verify or resync, got %q\n", what)
		return errUsage
	}
}

// printSync shows the synchronisation of connections.
func printSync(w io.Writer, s *control.Sync, now time.Time) error {
	where := "on " + s.Interface
	if s.Transport == "channel" {
		where = "over the channel"
	}
	if _, err := fmt.Fprintf(w, "connection sync %s, id %d: %s\n", where, s.ID, s.State); err != nil {
		return err
	}
	for _, p := range s.Partners {
		line := "not connected"
		if p.Connected && !p.Heard {
			line = "connected, has not told of itself yet"
		} else if p.Connected {
			line = fmt.Sprintf("%d connections there", p.Conns)
			if !p.SameServices {
				line += ", other services than here"
			}
		}
		if p.Verified != nil {
			line += fmt.Sprintf(", verified %s ago", age(*p.Verified, now))
		}
		fmt.Fprintf(w, "  %s: %s\n", p.Name, line)
		if p.Last != nil {
			fmt.Fprintf(w, "    %s ago: %s\n", age(p.Last.Began, now), p.Last.Text)
		}
	}
	return nil
}
