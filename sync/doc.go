// Package connsync is connection synchronisation between directors: so far, the
// kernel's own sync daemons.
//
// IPVS has two of them for each network namespace. The master multicasts this
// director's connections, the backup takes in the others'. lvsha runs both on
// every director, with one id for the group: nothing has to be started at a
// failover, no connection falls into a gap when the roles change, and keepalived,
// which uses one id for both roles, fits in. A director does not hear its own
// master, because the kernel turns multicast loopback off.
//
// The pure part is [Diff], from the daemons that run to the changes that make
// them the wanted ones. A daemon is only ever touched if it differs, because
// stopping a master throws away what it has not sent yet, up to two seconds of
// connections. The shell is [Reconciler], with the same verbs as that of package
// ipvs. A [Kernel] is the real one ([Open]) or one in memory ([NewMemory]).
//
// Import it as connsync, so that it never hides the standard library's sync.
package connsync
