// Package checks tests that a pair of directors knows which servers are up, from real
// servers of every kind to what is in the table in memory.
package checks
