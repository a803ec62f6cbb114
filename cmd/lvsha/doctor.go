package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"lvsha/internal/config"
	"lvsha/internal/control"
	"lvsha/internal/doctor"
	"lvsha/internal/netif"
	"lvsha/ipvs"
)

// runDoctor looks for what is wrong around this director, with or without a daemon.
func runDoctor(ctx context.Context, c *call) error {
	file, as := c.fileFlags()
	socket := c.socketFlag()
	client := c.flags.String("client", "", "an `address` that clients of nat have (default: one that nobody has)")
	verbose := c.flags.Bool("v", false, "say what was looked at")
	asJSON := c.flags.Bool("json", false, "as JSON")
	if err := c.parse(); err != nil {
		return err
	}
	links := netif.New(nil)
	defer links.Close()
	o := doctor.Options{Machine: links, IPVS: ipvs.Open}
	if *client != "" {
		a, err := netip.ParseAddr(*client)
		if err != nil {
			fmt.Fprintf(c.stderr, "lvsha doctor: --client wants an address, got %q\n", *client)
			return errUsage
		}
		o.Client = a
	}
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	status, _, err := control.NewClient(*socket).Status(asked)
	cancel()
	running := err == nil
	switch {
	case running:
		o.Problems = status.Problems
		if !c.given("c") {
			*file = status.File
		}
		if !c.given("as") {
			*as = status.Director
		}
	case !errors.Is(err, control.ErrNotRunning):
		return err
	}
	if o.Config, err = config.Load(*file, *as); err != nil {
		return err
	}
	report, err := doctor.Examine(ctx, o)
	if err != nil {
		return err
	}
	if !running {
		report.Skipped = append(report.Skipped, "what the daemon knows: none is running")
	}
	if *asJSON {
		err = printJSON(c.stdout, report)
	} else {
		printReport(c, report, *verbose)
	}
	if err == nil && len(report.Findings) > 0 {
		return errSilent
	}
	return err
}

// printReport writes a report for people.
func printReport(c *call, r *doctor.Report, verbose bool) {
	for _, f := range r.Findings {
		fmt.Fprintf(c.stdout, "! %s\n", f)
	}
	for _, f := range r.Advice {
		fmt.Fprintf(c.stdout, "- %s\n", f)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(c.stdout, "? not known: %s\n", s)
	}
	if verbose {
		for _, l := range r.Looked {
			fmt.Fprintf(c.stdout, "  looked at: %s\n", l)
		}
	}
	if len(r.Findings) == 0 {
		fmt.Fprintf(c.stdout, "nothing is wrong with what was looked at (%s)\n", count(len(r.Looked), "thing"))
	} else {
		fmt.Fprintf(c.stdout, "%s\n", count(len(r.Findings), "fault"))
	}
}
