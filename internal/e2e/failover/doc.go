// Package failover tests that a virtual address goes from one director to another, and
// all that may happen to the directors, their links and their files meanwhile.
package failover
