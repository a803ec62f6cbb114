package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"lvsha/internal/director"
	"lvsha/ipvs"
)

// save prints the kernel's table, whoever made it.
func save(_ context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "as JSON, with what was counted")
	if err := c.parse(); err != nil {
		return err
	}
	kernel, err := ipvs.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	rules, err := ipvs.Rules(kernel)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, savedServices(rules))
	}
	_, err = io.WriteString(c.stdout, ipvs.FormatRules(rules))
	return err
}

// savedService is a service in JSON. Fields are only ever added.
type savedService struct {
	Service         string        `json:"service"`
	Scheduler       string        `json:"scheduler"`
	SchedulerFlags  []string      `json:"scheduler_flags,omitempty"`
	OnePacket       bool          `json:"one_packet,omitempty"`
	Persistence     string        `json:"persistence,omitempty"`
	PersistenceMask uint8         `json:"persistence_mask,omitempty"`
	Engine          string        `json:"persistence_engine,omitempty"`
	Traffic         ipvs.Traffic  `json:"traffic"`
	Servers         []savedServer `json:"servers"`
}

type savedServer struct {
	Address        string       `json:"address"`
	Forward        string       `json:"forward"`
	Tunnel         string       `json:"tunnel,omitempty"`
	Weight         int          `json:"weight"`
	UpperThreshold int          `json:"upper_threshold,omitempty"`
	LowerThreshold int          `json:"lower_threshold,omitempty"`
	Active         int          `json:"active"`
	Inactive       int          `json:"inactive"`
	Traffic        ipvs.Traffic `json:"traffic"`
}

func savedServices(rules []ipvs.Rule) []savedService {
	out := []savedService{}
	for _, r := range rules {
		s := savedService{
			Service: r.Key.String(), Scheduler: r.Scheduler, SchedulerFlags: r.Flags.Names(r.Scheduler), OnePacket: r.OnePacket,
			PersistenceMask: r.PersistenceMask, Engine: r.Engine, Traffic: r.Traffic, Servers: []savedServer{},
		}
		if r.Persistence > 0 {
			s.Persistence = r.Persistence.String()
		}
		for _, d := range r.Destinations {
			server := savedServer{
				Address: d.Addr.String(), Forward: d.Forward.String(), Weight: d.Weight, UpperThreshold: d.UpperThreshold, LowerThreshold: d.LowerThreshold,
				Active: d.Active, Inactive: d.Inactive, Traffic: d.Traffic,
			}
			if d.Forward == ipvs.TUN {
				server.Tunnel = d.Tunnel.String()
			}
			s.Servers = append(s.Servers, server)
		}
		out = append(out, s)
	}
	return out
}

// restore has the services of a file in the kernel.
func restore(_ context.Context, c *call) error {
	dry := c.flags.Bool("dry-run", false, "say what would be done, and do nothing")
	asJSON := c.flags.Bool("json", false, "say it as JSON")
	socket := c.socketFlag()
	file, err := c.word()
	if err != nil {
		return err
	}
	name, text, err := readRules(file)
	if err != nil {
		return err
	}
	rules, problems := ipvs.ParseRules(text)
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintf(c.stderr, "%s:%d: %s\n", name, p.Line, p.Message)
		}
		fmt.Fprintln(c.stderr, "lvsha restore: nothing was changed")
		return errSilent
	}
	kernel, err := ipvs.Open()
	if err != nil {
		return err
	}
	defer kernel.Close()
	have, err := ipvs.Rules(kernel)
	if err != nil {
		return err
	}
	plan := ipvs.PlanRestore(have, rules)
	if err := refuseOwned(plan, runDir(*socket)); err != nil {
		return err
	}
	if !*dry {
		err := plan.Do(kernel)
		if errors.Is(err, ipvs.ErrNotUndone) {
			return err
		}
		if err != nil {
			return fmt.Errorf("nothing is changed: %w", err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(plan.String(), "\n"), "\n")
	if len(plan.Changes) == 0 {
		lines = nil
	}
	if *asJSON {
		return printJSON(c.stdout, struct {
			Done    bool     `json:"done"`
			Changes []string `json:"changes"`
			Same    int      `json:"same"`
		}{!*dry, append([]string{}, lines...), plan.Same})
	}
	for _, line := range lines {
		fmt.Fprintln(c.stdout, line)
	}
	fmt.Fprintf(c.stdout, "%s as they were\n", count(plan.Same, "service"))
	return nil
}

// readRules reads a file, or standard input without one or with "-".
func readRules(file string) (name, text string, err error) {
	if file == "" || file == "-" {
		b, err := io.ReadAll(os.Stdin)
		if err != nil {
			return "", "", fmt.Errorf("reading standard input: %w", err)
		}
		return "standard input", string(b), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("reading the rules: %w", err)
	}
	return file, string(b), nil
}

// refuseOwned refuses a change of what is the daemon's, which would put it back.
func refuseOwned(plan ipvs.Restore, dir string) error {
	owned, err := director.Owned(dir)
	if err != nil {
		return err
	}
	var errs []error
	seen := make(map[ipvs.ServiceKey]bool)
	for _, change := range plan.Changes {
		key := change.Service.Key
		if owned[key] && !seen[key] {
			seen[key] = true
			errs = append(errs, fmt.Errorf("service %s is lvsha's, whose file decides about it (%s): change the file and lvsha reload, or take it out of the rules", key, change))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was changed: %w", errors.Join(errs...))
	}
	return nil
}
