package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the Makefile from the tag.
var release = ""

// version is the release, or the commit that this was built from.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel " + s.Value[:12]
			}
		}
	}
	return "devel"
}

func printVersion(_ context.Context, c *call) error {
	if err := c.parse(); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "lvsha %s (%s)\n", version(), runtime.Version())
	return nil
}
