package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"lvsha/internal/control"
)

// drainPoll is how often the daemon is asked whether a drain is done.
const drainPoll = 500 * time.Millisecond

// drain takes servers out as their connections end.
func drain(ctx context.Context, c *call) error {
	duration := c.flags.Duration("for", 0, "take it out after this `time`, such as 30m, whatever connections it has, which stay where servers that fail stay at weight 0 (on_fail = \"quiesced\", mh, sh); otherwise when it has none")
	wait := c.flags.Bool("wait", false, "return when it is out")
	force := c.forceFlag()
	ask, more, socket, err := c.servers(control.DoDrain)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		c.flags.Usage()
		return errUsage
	}
	if *duration < 0 {
		fmt.Fprintln(c.stderr, "lvsha drain: --for is a positive time")
		return errUsage
	}
	ask.For, ask.Force = *duration, *force
	client := control.NewClient(socket)
	if err := c.changeServers(ctx, client, ask); err != nil || !*wait {
		return err
	}
	return c.awaitDrain(ctx, client, ask)
}

// undrain has servers take connections again.
func undrain(ctx context.Context, c *call) error {
	ask, more, socket, err := c.servers(control.DoUndrain)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		c.flags.Usage()
		return errUsage
	}
	return c.changeServers(ctx, control.NewClient(socket), ask)
}

// weigh puts a weight in place of the file's.
func weigh(ctx context.Context, c *call) error {
	duration := c.flags.Duration("for", 0, "go back to the file's weight after this `time`, such as 30m; otherwise not before --back")
	back := c.flags.Bool("back", false, "go back to the file's weight")
	force := c.forceFlag()
	ask, weights, socket, err := c.servers(control.DoWeight)
	if err != nil {
		return err
	}
	switch {
	case *back && len(weights) == 0:
		ask.Do = control.DoUnweight
	case *back || len(weights) != 1:
		c.flags.Usage()
		return errUsage
	default:
		if ask.Weight, err = strconv.Atoi(weights[0]); err != nil {
			fmt.Fprintf(c.stderr, "lvsha weight: want a weight such as 2, got %q\n", weights[0])
			return errUsage
		}
	}
	if *duration < 0 || *back && *duration != 0 {
		fmt.Fprintln(c.stderr, "lvsha weight: --for is a positive time, and --back goes without --for")
		return errUsage
	}
	ask.For, ask.Force = *duration, *force
	return c.changeServers(ctx, control.NewClient(socket), ask)
}

// forceFlag is of what may take the last server of a service out of use.
func (c *call) forceFlag() *bool {
	return c.flags.Bool("force", false, "also when no server of a service is in use then")
}

// servers reads SERVICE SERVER, or SERVER with --all-services. more are the words behind.
func (c *call) servers(do string) (ask control.ServersRequest, more []string, socket string, err error) {
	all := c.flags.Bool("all-services", false, "in every service that has the server")
	s := c.socketFlag()
	words, err := c.words()
	if err != nil {
		return ask, nil, "", err
	}
	ask.Do = do
	if !*all && len(words) > 0 {
		ask.Service, words = words[0], words[1:]
	}
	if len(words) == 0 {
		c.flags.Usage()
		return ask, nil, "", errUsage
	}
	ask.Server = words[0]
	return ask, words[1:], *s, nil
}

// changeServers asks the daemon, and prints what the servers are now.
func (c *call) changeServers(ctx context.Context, client *control.Client, ask control.ServersRequest) error {
	done, err := client.Servers(ctx, ask)
	if err != nil {
		return err
	}
	for _, w := range done.Warnings {
		fmt.Fprintf(c.stderr, "kept, but %s\n", w)
	}
	for _, s := range done.Servers {
		c.printServerOf(s)
	}
	return unkept(done.Unkept)
}

// unkept is the error of a request that holds and will not outlive the daemon.
func unkept(why string) error {
	if why == "" {
		return nil
	}
	return errors.New("done, but " + why)
}

func (c *call) printServerOf(s control.ServerOf) {
	fmt.Fprintf(c.stdout, "%s of %s is %s, weight %s, %d active, %d inactive, %d templates: %s\n",
		s.Address, s.Service, s.State, weight(s.Server, s.Scale), s.Active, s.Inactive, s.Templates, s.Reason)
}

// awaitDrain waits until no server that was asked for drains any more.
func (c *call) awaitDrain(ctx context.Context, client *control.Client, ask control.ServersRequest) error {
	ask.Do = control.DoShow
	for {
		now, err := client.Servers(ctx, ask)
		if err != nil {
			return err
		}
		drains := false
		for _, s := range now.Servers {
			if s.State != "draining" && s.State != "disabled" {
				return errors.New("the drain was ended: " + s.Address + " of " + s.Service + " is " + s.State)
			}
			drains = drains || s.State == "draining"
		}
		if !drains {
			for _, s := range now.Servers {
				c.printServerOf(s)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainPoll):
		}
	}
}
