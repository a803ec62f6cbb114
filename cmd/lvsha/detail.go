package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"lvsha/internal/control"
)

// printService shows how a service comes to what it does.
func printService(w io.Writer, v control.Service, now time.Time) {
	if v.Follows != "" {
		fmt.Fprintf(w, "  follows service %s, whose checks decide\n", v.Follows)
	}
	fmt.Fprintf(w, "  requires %s of a server's checks\n", v.Require)
	whole := "a quorum"
	if !v.Quorum {
		whole = "no quorum"
	}
	fmt.Fprintf(w, "  %s: the weights of the servers that are up add up to %d, want %s\n", whole, v.WeightUp, quorum(v))
	printTraffic(w, "  ", v.Traffic)
	sum := 0
	for _, s := range v.Servers {
		if s.Used {
			sum += s.Share
		}
	}
	if v.Sorry != nil {
		sum += v.Sorry.Share
		sorry := fmt.Sprintf("not used: %s", v.Sorry.Reason)
		if v.Sorry.Share > 0 {
			sorry = "gets all connections"
		}
		fmt.Fprintf(w, "  sorry server %s: %s\n", v.Sorry.Address, sorry)
	}
	for _, s := range v.Servers {
		fmt.Fprintf(w, "\n  server %s: %s for %s: %s\n", s.Address, strings.ToUpper(s.State), age(s.Since, now), s.Reason)
		fmt.Fprintf(w, "    weight %d, %s; %d active and %d inactive connections\n", s.Weight, share(s, sum, max(v.Scale, 1)), s.Active, s.Inactive)
		printTraffic(w, "    ", s.Traffic)
		if s.Tunnel != "" {
			fmt.Fprintf(w, "    tunnel %s\n", s.Tunnel)
		}
		if s.UpperThreshold > 0 {
			fmt.Fprintf(w, "    full with %d connections", s.UpperThreshold)
			if s.LowerThreshold > 0 {
				fmt.Fprintf(w, ", until there are fewer than %d", s.LowerThreshold)
			}
			fmt.Fprintln(w)
		}
		for _, c := range s.Checks {
			printCheck(w, c, now)
		}
		var names []string
		for name := range s.Peers {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			p := s.Peers[name]
			fmt.Fprintf(w, "    %s sees it %s: %s\n", name, p.State, p.Reason)
		}
	}
}

// printTraffic shows what the kernel has counted.
func printTraffic(w io.Writer, indent string, t *control.Traffic) {
	if t == nil {
		return
	}
	fmt.Fprintf(w, "%s%d connections so far, in %d packets and %s, out %d packets and %s\n", indent, t.Connections, t.InPackets, volume(t.InBytes), t.OutPackets, volume(t.OutBytes))
	fmt.Fprintf(w, "%snow %d connections/s, in %d packets/s and %s/s, out %d packets/s and %s/s\n", indent, t.ConnectionRate, t.InPacketRate, volume(t.InByteRate), t.OutPacketRate, volume(t.OutByteRate))
}

// volume is a number of bytes for people.
func volume(n uint64) string {
	if n < 10_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	value := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if value /= 1000; value < 10_000 {
			return fmt.Sprintf("%.4g %s", value, unit)
		}
	}
	return fmt.Sprintf("%.4g PB", value/1000)
}

// quorum is what the servers have to weigh.
func quorum(v control.Service) string {
	if v.Hysteresis == 0 {
		return fmt.Sprint(v.QuorumWeight)
	}
	return fmt.Sprintf("%d to gain it and %d to keep it", v.QuorumWeight+v.Hysteresis, v.QuorumWeight-v.Hysteresis)
}

// share is what a server gets of sum.
func share(s control.Server, sum, scale int) string {
	switch {
	case !s.Used:
		return "gets nothing"
	case s.Share == 0:
		return "gets no new connections"
	}
	return fmt.Sprintf("gets %.4g of %.4g (%.0f %%)", float64(s.Share)/float64(scale), float64(sum)/float64(scale), 100*float64(s.Share)/float64(sum))
}

// printCheck shows one check of a server.
func printCheck(w io.Writer, c control.Check, now time.Time) {
	fmt.Fprintf(w, "    check %s: %s for %s: %s\n", c.Check, strings.ToUpper(c.State), age(c.Since, now), c.Reason)
	fmt.Fprintf(w, "      every %s, timeout %s, rise %d, fall %d\n", c.Interval, c.Timeout, c.Rise, c.Fall)
	switch {
	case c.Last == nil:
		fmt.Fprintf(w, "      not probed yet\n")
	default:
		how := "passed"
		if !c.Last.OK {
			how = "did not pass"
		}
		fmt.Fprintf(w, "      last %s ago, %s after %s: %s\n", age(c.Last.Time, now), how, c.Last.Latency, c.Last.Reason)
	}
	switch {
	case c.Streak > 0 && c.State == "up":
		fmt.Fprintf(w, "      %d of %d failures towards down\n", min(c.Streak, c.Fall), c.Fall)
	case c.Streak > 0 && c.State == "down":
		fmt.Fprintf(w, "      %d of %d successes towards up\n", min(c.Streak, c.Rise), c.Rise)
	}
	if c.Advice != "" {
		fmt.Fprintf(w, "      advises %s\n", c.Advice)
	}
	if c.Warning != "" {
		fmt.Fprintf(w, "      ! %s\n", c.Warning)
	}
	fmt.Fprintf(w, "      %s: %d failed, %d inconclusive, %d late\n", count(int(c.Probes), "probe"), c.Failures, c.Inconclusive, c.Late)
	if c.Panics > 0 {
		fmt.Fprintf(w, "      ! %s of it ended in a fault of lvsha: the log has where, please report it\n", count(int(c.Panics), "probe"))
	}
	if len(c.Latency) > 0 {
		fmt.Fprintf(w, "      latency %s\n", latency(c.Latency))
	}
	for _, h := range c.History {
		fmt.Fprintf(w, "      %s %s -> %s: %s\n", h.Time.Local().Format(time.DateTime), h.From, h.To, h.Reason)
	}
}

// latency is a histogram in a line.
func latency(buckets []control.Bucket) string {
	var out []string
	for _, b := range buckets {
		bound := "≤" + b.UpTo
		if b.UpTo == "inf" {
			bound = "more"
		}
		out = append(out, fmt.Sprintf("%s: %d", bound, b.Count))
	}
	return strings.Join(out, ", ")
}
