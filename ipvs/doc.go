// Package ipvs makes the kernel's IPVS table equal to the desired one.
//
// The pure part reads in this order: a table is a slice of [Service] (table.go),
// [Validate] says in words what the kernel would refuse or, worse, accept
// silently (validate.go), [Diff] turns two tables into a [Plan] of [Change]
// values (diff.go, change.go), and [Change.Apply] is what one of them does to a
// table.
//
// The shell is [Reconciler]: one goroutine that is given the whole desired
// table, reads the whole real one, and closes the gap, again and again. A lost
// event, a half-applied change or somebody's ipvsadm heals by itself.
//
// A [Kernel] is the real one ([Open]) or one in memory ([NewMemory]) that
// refuses what the real one refuses.
//
// # Order of changes
//
// What is in the kernel is changed in place wherever the kernel can: scheduler and
// flags, persistence, weight, thresholds, forwarding method and tunnel are edits.
// Services and servers are added before others are removed, servers gain weight
// before others lose it, and a server is set to weight 0 before it is removed. So
// no step leaves a service without a server that takes connections when it had one
// before the plan and has one after it.
//
// Under a scheduler that goes by the order of the servers (mh, sh) that order is kept as
// well, so that two directors with different pasts choose the same server: servers are
// added by address, and those that stand in another order are moved one by one, each by
// being removed and added again in one request, which its connections survive.
//
// # Ownership
//
// IPVS has no mark for who made a service. Those in the desired table are
// adopted as they are found, with their servers; servers that the desired table
// does not have are removed from them. A service that is not in the desired
// table is removed if it is ours, and foreign otherwise: left alone and shown.
// What is ours is recorded before it is made ([Options.Record]), so that a crash
// leaves no orphans.
//
// # What this package has no words for yet
//
// What a tunnel of an adopted server has that no tunnel can have is a difference, which
// an edit of the server removes ([Destination.Extra]).
package ipvs
