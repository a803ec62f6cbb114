package doctor

import (
	"fmt"
	"strings"
)

// Kind says what sort of fault was found.
type Kind string

// The kinds of faults.
const (
	// Sysctl is a kernel parameter of this machine.
	Sysctl Kind = "sysctl"
	// ARP is a machine that answers for a virtual address and is not the director that
	// has it.
	ARP Kind = "arp"
	// VIP is a real server that does not take packets for a virtual address.
	VIP Kind = "vip"
	// Gateway is a real server whose answers under NAT do not come back here.
	Gateway Kind = "gateway"
	// MTU is a path on which large packets are lost.
	MTU Kind = "mtu"
	// Multicast is advertisements that do not arrive.
	Multicast Kind = "multicast"
	// Kernel is a kernel without IPVS, or an interface that is not there.
	Kernel Kind = "kernel"
	// Status is what the running daemon says is the matter.
	Status Kind = "status"
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind `json:"kind"`
	// Object is what it is about: an address, an interface, a parameter.
	Object string `json:"object"`
	// Text says what is wrong, Evidence what was seen, and Remedy what to do.
	Text     string `json:"text"`
	Evidence string `json:"evidence,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// String is the finding for people.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Text)
	if f.Evidence != "" {
		fmt.Fprintf(&b, "\n  seen: %s", f.Evidence)
	}
	if f.Remedy != "" {
		fmt.Fprintf(&b, "\n  do:   %s", f.Remedy)
	}
	return b.String()
}

// Report is what an examination found.
type Report struct {
	// Findings are faults, and Advice what works and could be better.
	Findings []Finding `json:"findings"`
	Advice   []Finding `json:"advice"`
	// Looked says what was looked at, and Skipped what could not be, and why; a sentence
	// each.
	Looked  []string `json:"looked"`
	Skipped []string `json:"skipped"`
}
