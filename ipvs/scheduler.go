package ipvs

import "slices"

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
