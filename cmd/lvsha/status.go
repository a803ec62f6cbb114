package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"lvsha/internal/control"
)

func status(ctx context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "print the daemon's JSON")
	watch := c.flags.Bool("watch", false, "print it again every second")
	socket := c.socketFlag()
	names, err := c.words()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client := control.NewClient(*socket)
	for {
		var s control.Status
		var raw []byte
		if len(names) > 0 {
			s, err = client.StatusOf(ctx, names...)
		} else {
			s, raw, err = client.Status(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if len(names) > 0 {
			if raw, err = json.MarshalIndent(s, "", "  "); err != nil {
				return fmt.Errorf("encoding the status: %w", err)
			}
			raw = append(raw, '\n')
		}
		if *watch && !*asJSON {
			fmt.Fprint(c.terminal, "\x1b[H\x1b[2J") // to the top left of an empty screen
		}
		if *asJSON {
			_, err = c.stdout.Write(raw)
		} else {
			err = printStatus(c.stdout, s, len(names) > 0, time.Now())
		}
		if err != nil || !*watch {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// printStatus writes a status for people, with the services in detail or not.
func printStatus(w io.Writer, s control.Status, detail bool, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "director %s, up %s, generation %d of %s\n", orNone(s.Director), age(s.Started, now), s.Generation, s.File)
	for _, p := range s.Problems {
		fmt.Fprintf(t, "! %s\n", p)
	}
	for _, r := range s.VRRP {
		fmt.Fprintf(t, "\nvirtual router %s: %s for %s: %s\n", r.Name, strings.ToUpper(r.State), age(r.Since, now), r.Reason)
		fmt.Fprintf(t, "  VRID %d on %s, version %d, priority %d%s, advertises every %s\n", r.VRID, r.Interface, r.Version, r.Priority, tracking(r), r.Interval)
		if r.Group != "" {
			fmt.Fprintf(t, "  moves with sync group %s\n", r.Group)
		}
		printYield(t, r)
		fmt.Fprintf(t, "  addresses %s\n", strings.Join(r.Addresses, ", "))
		for _, p := range r.Peers {
			seen := "not heard in VRRP (a backup is silent)"
			if p.LastSeen != nil {
				seen = fmt.Sprintf("heard %s ago", age(*p.LastSeen, now))
			}
			if p.Refused != "" {
				seen += ", and what it sends now is dropped: " + p.Refused
				if p.LastSeen == nil {
					seen = "heard, and all that it sends is dropped: " + p.Refused
				}
			}
			who := p.Name + " " + p.Address
			switch {
			case p.Name == "":
				who = p.Address + " (no director of the file has this address)"
			case p.Address == "":
				who = p.Name + " (the file has no address of it in this family)"
			}
			priority := ""
			if p.Source != "" {
				priority = fmt.Sprintf("priority %d (%s), ", p.Priority, p.Source)
			}
			fmt.Fprintf(t, "  peer %s, %s%s\n", who, priority, seen)
		}
	}
	if len(s.Conditions) > 0 {
		fmt.Fprintln(t, "\n  CONDITION\tSTATE\tFOR\tREASON")
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", c.Name, c.State, sinceAge(c.Since, now), c.Reason)
	}
	for _, b := range s.BFD {
		fmt.Fprintf(t, "\nBFD with %s on %s: %s for %s: %s\n", b.Peer, b.Interface, strings.ToUpper(b.State), age(b.Since, now), b.Reason)
		if b.Detection == "0s" {
			fmt.Fprintf(t, "  sends every %s, and detects nothing before the peer is heard\n", b.Interval)
		} else {
			fmt.Fprintf(t, "  sends every %s, detects in %s\n", b.Interval, b.Detection)
		}
		if b.Problem != "" {
			fmt.Fprintf(t, "  ! %s\n", b.Problem)
		}
	}
	printChannel(t, s.Channel, now)
	for _, v := range s.Services {
		fmt.Fprintf(t, "\nservice %s: %s: %s\n", v.Name, strings.ToUpper(v.State), v.Reason)
		listen := strings.Join(v.Listen, ", ")
		if len(v.Covers) > 0 {
			listen = fmt.Sprintf("%s by %s", strings.Join(v.Covers, ", "), listen)
		}
		fmt.Fprintf(t, "  %s, scheduler %s, forward %s\n", listen, scheduling(v), v.Forward)
		if detail {
			printService(t, v, now)
			continue
		}
		fmt.Fprintln(t, "  SERVER\tWEIGHT\tSTATE\tFOR\tACTIVE\tINACTIVE\tREASON")
		for _, server := range v.Servers {
			printServer(t, server, "", v.Scale, now)
		}
		if v.Sorry != nil {
			printServer(t, *v.Sorry, " (sorry)", v.Scale, now)
		}
	}
	if detail {
		return t.Flush()
	}
	if len(s.Services) > 0 {
		fmt.Fprintf(t, "\nkernel IPVS: %s, %d changes repaired\n", s.IPVS.State, s.IPVS.Repaired)
	}
	for _, p := range s.IPVS.Checks {
		from := ""
		if p.Source != "" {
			from = " from " + p.Source
		}
		fmt.Fprintf(t, "  checks%s with fwmark %#x get to %s by %s", from, p.Mark, p.Server, strings.TrimSpace(p.Forward+" "+p.Tunnel))
		if p.Problem != "" {
			fmt.Fprintf(t, " (not now: %s)", p.Problem)
		}
		fmt.Fprintln(t)
	}
	if s.Filter != nil {
		fmt.Fprintf(t, "  packet filter: %s, %d changes repaired\n", s.Filter.State, s.Filter.Repaired)
	}
	for _, f := range s.Foreign {
		fmt.Fprintf(t, "  foreign service %s is left alone\n", f)
	}
	if s.Sync != nil {
		fmt.Fprintln(t)
		if err := printSync(t, s.Sync, now); err != nil {
			return err
		}
	}
	return t.Flush()
}

// printChannel shows how the directors speak to each other.
func printChannel(w io.Writer, c *control.Channel, now time.Time) {
	switch {
	case c == nil:
		return
	case c.State != "on":
		fmt.Fprintf(w, "\nno channel to other directors: %s\n", c.Reason)
		return
	}
	fmt.Fprintf(w, "\nchannel to other directors, on %s\n", strings.Join(c.Listening, ", "))
	for _, p := range c.Peers {
		switch p.State {
		case "connected":
			fmt.Fprintf(w, "  %s: connected for %s with %s, version %s", p.Name, age(p.Since, now), p.Remote, p.Version)
			if p.Restarts > 0 {
				fmt.Fprintf(w, ", %s seen", count(int(p.Restarts), "restart"))
			}
			fmt.Fprintf(w, "\n    %s compared, %d different now, %d so far", count(p.Compared, "check"), p.Differences, p.DifferencesTotal)
			if p.NotCompared > 0 {
				fmt.Fprintf(w, "; %d not compared: only one of the two has them", p.NotCompared)
			}
			fmt.Fprintln(w)
		case "no key":
			fmt.Fprintf(w, "  %s: %s\n", p.Name, p.Reason)
		default:
			fmt.Fprintf(w, "  %s: not connected for %s: %s\n", p.Name, age(p.Since, now), p.Reason)
		}
	}
}

// tracking says what made another priority of the configured one.
func tracking(r control.Router) string {
	if r.Tracking == "" {
		return ""
	}
	return fmt.Sprintf(" (%d configured, %s)", r.Configured, r.Tracking)
}

// printYield says that a virtual router yields, and what ends it.
func printYield(w io.Writer, r control.Router) {
	if r.Yielding {
		fmt.Fprintf(w, "  yields to other directors %s; lvsha yield --back %s ends it\n", until(r.YieldUntil), r.Name)
	}
}

// until is when something ends.
func until(t *time.Time) string {
	if t == nil {
		return "until told otherwise"
	}
	return "until " + t.Local().Format(time.DateTime)
}

// scheduling is the scheduler with what it is told besides.
func scheduling(v control.Service) string {
	words := append([]string{v.Scheduler}, v.SchedulerFlags...)
	if v.OnePacket {
		words = append(words, "one-packet")
	}
	return strings.Join(words, " ")
}

func sinceAge(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return age(*t, now)
}

func printServer(w io.Writer, s control.Server, mark string, scale int, now time.Time) {
	fmt.Fprintf(w, "  %s%s\t%s\t%s\t%s\t%d\t%d\t%s\n", s.Address, mark, weight(s, scale), s.State, age(s.Since, now), s.Active, s.Inactive, s.Reason)
}

// weight is the configured weight, and what a server has instead.
func weight(s control.Server, scale int) string {
	scale = max(scale, 1)
	switch {
	case s.Used && s.Share != s.Weight*scale:
		return fmt.Sprintf("%d (now %.4g)", s.Weight, float64(s.Share)/float64(scale))
	case !s.Used && s.State == "up":
		return fmt.Sprintf("%d (not used)", s.Weight)
	}
	return fmt.Sprint(s.Weight)
}

// age is how long ago something was, for people.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
