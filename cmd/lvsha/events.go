package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"lvsha/internal/control"
)

func events(ctx context.Context, c *call) error {
	follow := c.flags.Bool("f", false, "go on as events happen")
	asJSON := c.flags.Bool("json", false, "one JSON object a line")
	socket := c.socketFlag()
	if err := c.parse(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := json.NewEncoder(c.stdout)
	out.SetEscapeHTML(false) // it is not for browsers
	return control.NewClient(*socket).Events(ctx, *follow, func(e control.Event) error {
		if *asJSON {
			return out.Encode(e)
		}
		_, err := fmt.Fprintf(c.stdout, "%s  %-14s %-14s %s\n", e.Time.Local().Format(time.StampMilli), e.Kind, e.Object, e.Text)
		return err
	})
}
