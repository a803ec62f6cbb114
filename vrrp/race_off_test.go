//go:build !race

package vrrp_test

// simulatedSeeds is how many seeds TestSimulation runs. Each simulates 86.4
// seconds, so that together they are 24 hours.
const simulatedSeeds = 1000
