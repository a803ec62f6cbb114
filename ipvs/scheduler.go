package ipvs

import (
	"fmt"
	"slices"
	"strings"
)

// SchedulerNames returns every scheduler of the kernel (net/netfilter/ipvs,
// Linux 6.1), sorted. A kernel may be built without some of them; each is a
// module of its own, ip_vs_NAME.
func SchedulerNames() []string {
	return []string{
		"dh",    // destination hashing
		"fo",    // weighted failover: the heaviest server gets everything
		"lblc",  // locality-based least-connection
		"lblcr", // the same with replication
		"lc",    // least-connection
		"mh",    // Maglev hashing
		"nq",    // never queue
		"ovf",   // weighted overflow: the heaviest until its weight is reached
		"rr",    // round-robin
		"sed",   // shortest expected delay
		"sh",    // source hashing
		"twos",  // power of two choices
		"wlc",   // weighted least-connection
		"wrr",   // weighted round-robin
	}
}

// ValidScheduler reports whether name is one of SchedulerNames.
func ValidScheduler(name string) bool {
	return slices.Contains(SchedulerNames(), name)
}

// EngineNames returns the persistence engines of the kernel, sorted. Each is a module of
// its own, ip_vs_pe_NAME.
func EngineNames() []string {
	return []string{
		"sip", // the Call-ID of SIP in datagrams (ip_vs_pe_sip.c)
	}
}

// OrderMatters reports whether a scheduler goes by the order in which servers were added:
// two directors then choose the same server for a client only if their lists are in the
// same order. The canonical one is that of the addresses (see Diff).
func OrderMatters(scheduler string) bool { return scheduler == "mh" || scheduler == "sh" }

// SchedulerFlags are what a scheduler may do otherwise. They mean something to mh and
// sh only; a third bit is met in foreign services.
type SchedulerFlags uint8

// The flags, in the order of the kernel's.
const (
	// Fallback chooses another server where the one that the hash points at takes no
	// connections: its weight is 0, or it is above its threshold.
	Fallback SchedulerFlags = 1 << iota
	// HashPort adds the client's port to what is hashed.
	HashPort
)

// SchedulerFlagNames returns the flags that a scheduler has, sorted: "mh-fallback" and
// "mh-port" of mh.
func SchedulerFlagNames(scheduler string) []string {
	if scheduler != "mh" && scheduler != "sh" {
		return nil
	}
	return []string{scheduler + "-fallback", scheduler + "-port"}
}

// ParseSchedulerFlag returns the flag that a name stands for under a scheduler.
func ParseSchedulerFlag(scheduler, name string) (SchedulerFlags, error) {
	names := SchedulerFlagNames(scheduler)
	if i := slices.Index(names, name); i >= 0 {
		return 1 << i, nil
	}
	if names == nil {
		return 0, fmt.Errorf("scheduler %s has no flags, which only mh and sh have", scheduler)
	}
	return 0, fmt.Errorf("%q is no flag of scheduler %s, which has %s", name, scheduler, strings.Join(names, " and "))
}

// Names returns the flags in words: as in SchedulerFlagNames, and "flag-1" to "flag-3"
// where the scheduler has no name for them.
func (f SchedulerFlags) Names(scheduler string) []string {
	names := SchedulerFlagNames(scheduler)
	var out []string
	for i := range 3 {
		switch {
		case f&(1<<i) == 0:
		case i < len(names):
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("flag-%d", i+1))
		}
	}
	return out
}
