package main

import (
	"context"
	"fmt"

	"lvsha/internal/config"
)

func check(_ context.Context, c *call) error {
	file, as := c.fileFlags()
	if err := c.parse(); err != nil {
		return err
	}
	cfg, advice, err := config.Check(*file, *as)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s is valid: director %s, %s, %s\n",
		cfg.File, orNone(cfg.Director), count(len(cfg.Routers), "virtual router"), count(len(cfg.Services), "service"))
	for _, p := range advice {
		fmt.Fprintf(c.stdout, "advice: %v\n", p)
	}
	return nil
}

// count is a number of things in words.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
