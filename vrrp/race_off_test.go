//go:build !race

package vrrp_test

// simulatedSeeds is how many seeds TestSimulation runs. Each simulates 86.4
// seconds, so that together they are ten days.
const simulatedSeeds = 10_000
