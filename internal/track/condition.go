package track

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"lvsha/healthcheck"
)

// Kind is what sort of thing a condition is about.
type Kind uint8

const (
	_ Kind = iota
	// Interface holds while a network interface is up and has a carrier.
	Interface
	// Process holds while enough processes of a name run.
	Process
	// File holds a number; keepalived's track_file.
	File
	// Probe holds while a health check succeeds: a server's, a gateway's, or a
	// program's.
	Probe
	// Service holds while enough servers of a virtual service are up.
	Service
)

// Condition is one thing to watch. It is comparable; a changed one starts anew.
type Condition struct {
	// Name is the operator's.
	Name string
	Kind Kind
	// Interface is for Interface.
	Interface string
	// Process is the name of the program as in /proc/PID/comm (15 octets at most
	// are compared) or, with a slash in it, the path of its executable.
	Process string
	// File is for File: the path of a text that begins with an integer. A file
	// that is missing or empty counts as 0.
	File string
	// Server and Check are for Probe.
	Server netip.AddrPort
	Check  healthcheck.Check
	// Service is for Service.
	Service string
	// Minimum is how many processes or servers there have to be, at least 1.
	Minimum int
	// Interval is how often Process and File look, 100 ms to 1 h.
	Interval time.Duration
	// DownDelay and UpDelay are how long Interface, Process and Service have to be
	// so before it counts.
	DownDelay, UpDelay time.Duration
}

// Report is what is known of a condition.
type Report struct {
	Name string
	// Known is false until there was something to go by: then it means nothing.
	Known bool
	// Holds says that it is as it should be.
	Holds bool
	// Value is the number in a File.
	Value int
	// Reason says in words what was seen: "eth1 is down".
	Reason string
	// Since is when Holds last changed.
	Since time.Time
}

// Ref is how a virtual router depends on a condition.
type Ref struct {
	Condition string
	// Fault puts the router into fault while the condition does not hold.
	Fault bool
	// Weight is added to the priority while the condition holds when it is
	// positive, and while it does not when it is negative; -253 to 253. A File's
	// number is multiplied with it.
	Weight int
	// File says that the condition is one.
	File bool
}

// fileFault is the product of a file's number and its weight from which on it
// is a fault, as in keepalived.
const fileFault = -254

// Sum says what conditions mean to a virtual router: what to add to its
// priority, why, and whether they put it into fault.
func Sum(refs []Ref, known func(name string) Report) (adjust int, why, fault string) {
	var words []string
	for _, ref := range refs {
		report := known(ref.Condition)
		if !report.Known {
			continue
		}
		part := 0
		switch {
		case ref.Fault && !report.Holds:
			if fault == "" {
				fault = fmt.Sprintf("%s: %s", ref.Condition, report.Reason)
			}
		case ref.Fault:
		case ref.File:
			// Far beyond what a priority can move, and far from overflow.
			part = min(max(report.Value, -1000), 1000) * ref.Weight
			if part <= fileFault && fault == "" {
				fault = fmt.Sprintf("%s: %s, times %d", ref.Condition, report.Reason, ref.Weight)
			}
		case report.Holds == (ref.Weight > 0):
			part = ref.Weight
		}
		if part != 0 {
			adjust += part
			words = append(words, fmt.Sprintf("%+d because of %s (%s)", part, ref.Condition, report.Reason))
		}
	}
	return adjust, strings.Join(words, ", "), fault
}
