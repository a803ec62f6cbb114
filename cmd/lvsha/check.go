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
	cfg, err := config.Load(*file, *as)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s is valid: director %s, %d virtual routers, %d services\n",
		cfg.File, cfg.Director, len(cfg.Routers), len(cfg.Services))
	return nil
}
