// Package reconcile is the shell of a reconciler: the mailbox in front of the one
// goroutine that makes what is there equal to what is wanted, and keeps it so.
//
// What is wanted is set whole, and of several in quick succession the last one counts.
// How it is compared and carried out is a Worker's, which a room has.
package reconcile
