package main

import (
	"context"
	"fmt"
	"strings"

	"lvsha/internal/control"
)

// yield gives virtual routers to another director, or ends that.
func yield(ctx context.Context, c *call) error {
	duration := c.flags.Duration("for", 0, "take them back after this `time`, such as 30m; otherwise not before --back")
	back := c.flags.Bool("back", false, "end it: take them back as priority and takeover say")
	now := c.flags.Bool("now", false, "do not wait (3s) until the other director knows all connections")
	socket := c.socketFlag()
	router, err := c.word()
	if err != nil {
		return err
	}
	if *duration < 0 || (*back && (*duration != 0 || *now)) {
		fmt.Fprintln(c.stderr, "lvsha yield: --for is a positive time, and --back goes without --for and --now")
		return errUsage
	}
	done, err := control.NewClient(*socket).Yield(ctx, control.YieldRequest{Router: router, For: *duration, Back: *back, Now: *now})
	if err != nil {
		return err
	}
	for _, r := range done.Routers {
		fmt.Fprintf(c.stdout, "%s is %s: %s\n", r.Name, r.State, r.Reason)
		printYield(c.stdout, r)
	}
	return unkept(done.Unkept)
}

// word reads the flags, and one word before or among them that need not be there.
func (c *call) word() (word string, err error) {
	words, err := c.words()
	switch {
	case err != nil || len(words) == 0:
		return "", err
	case len(words) > 1:
		fmt.Fprintf(c.stderr, "%s takes no second argument %q\n", c.flags.Name(), words[1])
		c.flags.Usage()
		return "", errUsage
	}
	return words[0], nil
}

// words reads the flags, and the words before and among them.
func (c *call) words() (words []string, err error) {
	args := c.args
	for {
		if err := c.parseFlags(args); err != nil {
			return nil, err
		}
		if c.flags.NArg() == 0 {
			return words, nil
		}
		if strings.TrimSpace(c.flags.Arg(0)) == "" {
			fmt.Fprintf(c.stderr, "%s takes no argument %q\n", c.flags.Name(), c.flags.Arg(0))
			c.flags.Usage()
			return nil, errUsage
		}
		words, args = append(words, c.flags.Arg(0)), c.flags.Args()[1:]
	}
}
