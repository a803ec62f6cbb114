package main

import (
	"context"
	"fmt"

	"lvsha/internal/control"
)

func reload(ctx context.Context, c *call) error {
	socket := c.socketFlag()
	if err := c.parse(); err != nil {
		return err
	}
	done, err := control.NewClient(*socket).Reload(ctx)
	if err != nil {
		return err
	}
	for _, w := range done.Warnings {
		fmt.Fprintf(c.stderr, "applied, but %s\n", w)
	}
	fmt.Fprintf(c.stdout, "applied, generation %d\n", done.Generation)
	return nil
}
