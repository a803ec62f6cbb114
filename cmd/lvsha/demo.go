package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"lvsha/internal/demo"
)

// hidden are the commands that the demo runs itself.
func hidden() map[string]func(context.Context, *call) error {
	return map[string]func(context.Context, *call) error{
		demo.InsideCommand: func(ctx context.Context, c *call) error { return tell(ctx, c, demo.Inside) },
		demo.ServerCommand: serveDemo,
	}
}

func runDemo(ctx context.Context, c *call) error { return tell(ctx, c, demo.Run) }

// tell runs a demo, which Ctrl-C ends.
func tell(ctx context.Context, c *call, story func(context.Context, io.Writer) error) error {
	if err := c.parse(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := story(ctx, c.stdout)
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is left behind")
	}
	return err
}

// serveDemo is one of the demo's real servers; its name is the only argument.
func serveDemo(ctx context.Context, c *call) error {
	if len(c.args) != 1 {
		fmt.Fprintln(c.stderr, "a server of the demo takes its name")
		return errUsage
	}
	return demo.Serve(ctx, c.args[0])
}
