//go:build race

package vrrp_test

// simulatedSeeds is how many seeds TestSimulation runs: the race detector makes
// it slow, and the simulation has no goroutines that share anything.
const simulatedSeeds = 40
