package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"lvsha/internal/control"
)

// plan shows what applying a file would change.
func plan(ctx context.Context, c *call) error {
	file := c.flags.String("c", "", "the configuration `file`, instead of the daemon's own as it is now")
	asJSON := c.flags.Bool("json", false, "print JSON")
	socket := c.socketFlag()
	if err := c.parse(); err != nil {
		return err
	}
	var ask control.PlanRequest
	if *file != "" {
		text, err := os.ReadFile(*file)
		if err != nil {
			return fmt.Errorf("reading the file: %w", err)
		}
		if ask.File, err = filepath.Abs(*file); err != nil {
			return fmt.Errorf("naming the file: %w", err)
		}
		ask.Text = string(text)
		if ask.Text == "" {
			ask.Text = "\n" // no text is the daemon's own file
		}
	}
	p, err := control.NewClient(*socket).Plan(ctx, ask)
	if err != nil {
		return err
	}
	if *asJSON {
		out := json.NewEncoder(c.stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(p)
	}
	return printPlan(c.stdout, p)
}

// printPlan writes a plan for people.
func printPlan(w io.Writer, p control.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, warning := range p.Warnings {
		fmt.Fprintf(t, "! %s\n", warning)
	}
	for _, c := range p.Changes {
		what := c.Kind
		if c.Name != "" {
			what += " " + c.Name
		}
		fmt.Fprintf(t, "%s: %s\n", what, c.Change)
	}
	if len(p.IPVS) > 0 {
		fmt.Fprintln(t, "IPVS:")
	}
	for _, c := range p.IPVS {
		fmt.Fprintf(t, "  %s", c.Change)
		switch {
		case c.When != "":
			fmt.Fprintf(t, "\t%s", c.When)
		case c.Connections+c.Templates > 0:
			fmt.Fprintf(t, "\tcuts %s, %s", count(c.Connections, "connection"), count(c.Templates, "template"))
		}
		fmt.Fprintln(t)
	}
	switch {
	case len(p.Changes)+len(p.IPVS) == 0:
		fmt.Fprintln(t, "nothing to change")
	case p.Connections+p.Templates == 0:
		fmt.Fprintln(t, "no connection is cut")
	default:
		fmt.Fprintf(t, "cuts %s and %s in all\n", count(p.Connections, "connection"), count(p.Templates, "template"))
	}
	return t.Flush()
}
